"""Laws of the one grader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.errors import InputError
from forethought.rewards.grading import grade, squad_normalise, token_f1
from forethought.rewards.maths import equal

ADVERSARIAL = ("flood of boxes", "hedges", "injection", "no answer", "sign", "large")
CASES = json.loads((Path(__file__).parents[1] / "cases/grading.json").read_text("utf-8"))
TEXT = st.text("abc the.,!", max_size=12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case):
    verdict = grade(case["kind"], case["prediction"], case["answers"])
    assert verdict.correct is case["expected"]
    for field in ("extracted", "method"):
        if field in case:
            assert getattr(verdict, field) == case[field]
    if "f1" in case:
        assert verdict.f1 == pytest.approx(case["f1"])


def test_there_are_hundreds_of_maths_cases_of_both_verdicts_and_every_kind():
    maths = [case for case in CASES if case["kind"] == "maths"]
    right = sum(case["expected"] for case in maths)
    assert len(maths) >= 500 and min(right, len(maths) - right) >= 200
    topics = {case["id"].split(":")[0].removeprefix("maths, ") for case in maths}
    assert {*ADVERSARIAL, "units", "intervals", "sets and lists", "outputs of models"} <= topics


def test_normalisation_is_that_of_squad():
    assert squad_normalise("The  (Great) Gatsby, an a-b!") == "great gatsby ab"


@given(TEXT, TEXT)
def test_f1_is_symmetric_and_one_exactly_for_equal_bags(left, right):
    value = token_f1(left, right)
    assert 0 <= value <= 1 and value == pytest.approx(token_f1(right, left))
    if grade("qa", left, [right]).correct:
        assert value == 1.0


@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_more_aliases_never_hurt(prediction, aliases):
    alone = grade("qa", prediction, aliases[:1])
    together = grade("qa", prediction, aliases)
    assert together.correct >= alone.correct
    assert (together.f1 or 0) >= (alone.f1 or 0)


def test_only_the_maths_grader_leaves_out_f1():
    assert grade("maths", "1", ["1"]).f1 is None and grade("qa", "1", ["1"]).f1 == 1.0


def test_an_answer_that_is_given_needs_no_box():
    prose = "the whole of it is 42"
    assert grade("maths", prose, ["42"]).extracted is None
    assert grade("maths", prose, [prose], is_answer=True).correct
    assert grade("maths", "42", ["42"], is_answer=True).method == "given"


@pytest.mark.parametrize(("kind", "answers"), [("code", ["x"]), ("qa", []), ("maths", [])])
def test_an_unknown_kind_or_no_answers_is_the_users_mistake(kind, answers):
    with pytest.raises(InputError):
        grade(kind, "x", answers)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_integers_are_equal_exactly_when_they_are(a, b):
    assert equal(str(a), str(b)).equal is (a == b)
    assert equal(f"{a:,}", str(a)).equal


@pytest.mark.parametrize(
    ("mine", "gold", "same"),
    [
        ("4 2", "42", False),
        ("42", "4 2", False),
        ("4 2", "4  2", True),
        ("4\\,2", "42", False),
        ("4 2 km", "42", False),
        ("1 000", "1000", True),
        ("12\\,345\\,678", "12345678", True),
        ("1 1/2", "3/2", True),
        ("1 1/2", "1 1/2", True),
        ("1 1/2", "11/2", False),
        ("\\frac 1 2", "0.5", True),
        ("3.141 592", "3.141592", True),
        ("1 2 3", "123", False),
    ],
)
def test_numbers_set_apart_are_no_single_number(mine, gold, same):
    assert equal(mine, gold).equal is same
    assert grade("maths", f"Answer: {mine}", [gold]).correct is same


def test_a_percent_sign_may_be_understood_and_changes_no_other_number():
    def same(mine: str, gold: str) -> bool:
        return equal(mine, gold).equal and equal(gold, mine).equal

    assert same("50%", "50") and same("50%", "0.5") and same("50\\%", "50 %")
    assert not any(same(*pair) for pair in (("50", "0.5"), ("50%", "5"), ("5000%", "0.5")))


@pytest.mark.parametrize(
    "text",
    ["\\boxed{\\boxed{42}}", "so \\boxed{ \\boxed{\\boxed{42}} }", "Answer: \\boxed{\\boxed{42}}"],
)
def test_a_box_in_a_box_is_found(text):
    verdict = grade("maths", text, ["42"])
    assert (verdict.correct, verdict.extracted, verdict.method) == (True, "42", "boxed")
    assert grade("maths", "42", ["\\boxed{\\boxed{42}}"]).correct


@pytest.mark.parametrize("module", ["rewards.grading", "foresight.block", "foresight.grounding"])
def test_the_small_tools_start_without_heavy_libraries(module):
    code = (
        f"import sys, forethought.{module}; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'sympy', 'math_verify')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
