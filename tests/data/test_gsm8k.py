"""GSM8K: rows, sources, and trajectories whose observations are what the tool prints."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.config import load_config
from forethought.data.gsm8k import (
    GsmRow,
    GsmTrajectory,
    arithmetic,
    episodes_from_annotations,
    load_gsm8k,
    number_text,
    parse_row,
)
from forethought.domains.gsm8k import Gsm8kDomain
from forethought.errors import InputError, MissingError
from forethought.rewards.grading import grade
from forethought.tools.sandbox import run_python

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl"
ROWS = load_gsm8k("train", FIXTURE)


def everything(share: float = 1.0) -> list[tuple[GsmRow, GsmTrajectory]]:
    return [(row, e) for row in ROWS for e in episodes_from_annotations(row, failure_share=share)]


def row_of(question: str, answer: str) -> GsmRow:
    return parse_row({"question": question, "answer": answer}, split="train", where="x", line=1)


def test_a_row_is_read_with_its_annotations_and_answer() -> None:
    first = ROWS[0]
    assert first.task.id == "gsm8k/train/0" and first.task.kind == "maths"
    assert first.task.answers == ("72",) == (first.answer,)
    assert [(a.expression, a.value) for a in first.annotations] == [
        ("48/2", "24"),
        ("48+24", "72"),
    ]
    assert first.annotations[0].before == "Natalia sold 48/2 ="
    assert "<<" not in first.task.question


def test_thousands_and_currency_signs_are_taken_out_of_answers() -> None:
    row = row_of("Q?", "It is 2*600 = $<<2*600=1,200>>1,200.\n#### $1,200")
    assert row.answer == "1200" and row.annotations[0].value == "1200"


def test_two_calculations_on_a_line_do_not_share_their_words() -> None:
    row = row_of("Q 2 3?", "First 2+3 = <<2+3=5>>5 and then 5*2 = <<5*2=10>>10.\n#### 10")
    assert [a.before for a in row.annotations] == ["First 2+3 =", "and then 5*2 ="]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "Q"}, '"answer"'),
        ({"question": "Q", "answer": "no mark"}, "#### NUMBER"),
        ({"question": "Q", "answer": "#### many"}, "#### NUMBER"),
        ({"question": " ", "answer": "#### 3"}, "a question"),
        ({"question": 3, "answer": "#### 3"}, "question = 3"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(row: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"f.jsonl:7: .*{words}"):
        parse_row(row, split="train", where="f.jsonl", line=7)


def test_observations_are_what_the_sandbox_prints() -> None:
    steps = [step for _, episode in everything() for step in episode.steps]
    result = run_python("\n".join(step.code for step in steps))
    assert result.exit == 0, result.stderr
    assert result.stdout.splitlines() == [step.observation for step in steps]


expressions = st.recursive(
    st.integers(0, 999).map(str) | st.decimals(0, 99, places=2).map(str),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//"]), inner).map(
        lambda parts: f"({parts[0]}){parts[1]}({parts[2]})"
    ),
    max_leaves=4,
)


@given(expressions)
def test_arithmetic_is_that_of_python(expression: str) -> None:
    try:
        expected: Any = eval(expression)
    except ZeroDivisionError:
        expected = None
    assert arithmetic(expression) == expected and str(arithmetic(expression)) == str(expected)


@pytest.mark.parametrize(
    "expression",
    ["", "1/0", "x+1", "2**9", "__import__('os')", "1,2", "05+1", "'a'*9", "True+1", "1<2", "\0"],
)
def test_anything_but_plain_arithmetic_has_no_value(expression: str) -> None:
    assert arithmetic(expression) is None


def test_right_trajectories_end_in_the_answer_and_failures_do_not() -> None:
    found = everything()
    assert sum(e.success for _, e in found) >= 30 and sum(1 - e.success for _, e in found) >= 20
    for row, episode in found:
        assert grade("maths", episode.answer, list(row.task.answers)).correct is bool(
            episode.success
        )
        assert bool(episode.flaw) is (episode.success == 0)
        assert number_text(float(episode.steps[-1].observation)) == number_text(
            float(episode.answer)
        )
        assert all(step.code.startswith("print(") and step.think for step in episode.steps)


def test_thoughts_use_no_number_before_it_is_known() -> None:
    for row, episode in everything():
        known = row.task.question
        for step in episode.steps:
            for number in re.findall(r"\d[\d,]*\.?\d*", step.think + step.code):
                plain = number.replace(",", "").rstrip(".")
                values = {float(n) for n in numbers(known + " " + step.code)}
                assert float(plain) in values, (step, known)
            known += " " + step.observation


def numbers(text: str) -> list[str]:
    return [n.replace(",", "").rstrip(".") for n in re.findall(r"\d[\d,]*\.?\d*", text)]


def test_a_thought_that_tells_the_result_first_is_replaced() -> None:
    solution = "It takes 12 days because 90/7.5 = <<90/7.5=12>>12.\n#### 12"
    (episode,) = episodes_from_annotations(row_of("90 and 7.5?", solution), failure_share=0)
    assert episode.steps[0].think == "Next: 90/7.5."


def test_a_wrong_number_is_carried_into_later_calls_and_thoughts() -> None:
    solution = "She has 7-3 = <<7-3=4>>4 left.\nThen 4*5 = <<4*5=20>>20 in all.\n#### 20"
    row = row_of("7 less 3, times 5?", solution)
    episodes = [episodes_from_annotations(row, seed=s, failure_share=1.0)[1] for s in range(30)]
    flaws = {episode.flaw: episode for episode in episodes}
    assert {"swapped", "misread", "forgotten"} <= set(flaws)
    swapped = flaws["swapped"]
    assert [step.code for step in swapped.steps] == ["print(3-7)", "print((-4)*5)"]
    assert [step.think for step in swapped.steps] == ["She has 3-7.", "Then (-4)*5."]
    assert swapped.answer == "-20"
    assert flaws["forgotten"].answer == "4" and len(flaws["forgotten"].steps) == 1


def test_failures_are_a_function_of_seed_and_problem() -> None:
    assert everything(0.5) == everything(0.5)
    again = [episodes_from_annotations(row, seed=1, failure_share=0.5) for row in reversed(ROWS)]
    there = [episodes_from_annotations(row, seed=1, failure_share=0.5) for row in ROWS]
    assert list(reversed(again)) == there
    assert not any(e.success == 0 for _, e in everything(0.0))


@pytest.mark.parametrize(
    "solution",
    [
        "No calculation.\n#### 3",
        "It is <<5=5>>5.\n#### 5",
        "It is 2+2 = <<2+2=5>>5.\n#### 5",
        "It is 2+2 = <<2+2=4>>4.\n#### 9",
        "It is <<2+x=4>>4.\n#### 4",
        "It is 1/0 = <<1/0=4>>4.\n#### 4",
    ],
)
def test_nothing_comes_of_a_solution_that_does_not_add_up(solution: str) -> None:
    assert episodes_from_annotations(row_of("2 and 2?", solution), failure_share=1.0) == []


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("gsm8k_train.jsonl", False),
        ("gsm8k_train.jsonl.gz", True),
        ("gsm8k/train.jsonl", False),
        ("math/gsm8k_train.jsonl.gz", True),
        ("gsm8k_train_part.jsonl", False),
    ],
)
def test_the_local_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, packed: bool
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    data = FIXTURE.read_bytes()
    path.write_bytes(gzip.compress(data) if packed else data)
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    assert load_gsm8k("train") == ROWS


def test_without_a_file_the_hub_is_asked_and_its_absence_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingError, match=r"FORETHOUGHT_DATA, or pip install"):
        load_gsm8k("test")
    rows = [{"question": "1 and 1?", "answer": "1+1 = <<1+1=2>>2\n#### 2"}]
    asked: list[tuple[str, ...]] = []

    def load_dataset(name: str, part: str, split: str) -> list[dict[str, str]]:
        asked.append((name, part, split))
        if split == "test":
            raise ConnectionError("offline")
        return rows

    monkeypatch.setitem(
        sys.modules,
        "datasets",
        SimpleNamespace(load_dataset=load_dataset, __spec__=SimpleNamespace()),
    )
    assert load_gsm8k("train")[0].answer == "2"
    with pytest.raises(MissingError, match="offline"):
        load_gsm8k("test")
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    with pytest.raises(InputError, match="split 'dev'"):
        load_gsm8k("dev")


def test_a_file_without_a_problem_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    for text in ("", "\n"):
        (tmp_path / "gsm8k_train.jsonl").write_text(text)
        with pytest.raises(InputError, match=r"gsm8k_train\.jsonl: got no rows"):
            load_gsm8k("train")


def test_a_file_with_too_few_problems_is_refused_by_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = Gsm8kDomain.from_config(load_config("maths/gsm8k-smollm2"))
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    row = json.dumps({"question": "1 and 1?", "answer": "It is 2.\n#### 2"})
    (tmp_path / "gsm8k_train.jsonl").write_text(row + "\n")
    for ask in (
        lambda: domain.tasks("train", 3),
        lambda: domain.tasks("val", 3),
        lambda: domain.trajectories(3, None),
        lambda: domain.trajectories(3, None, split="val"),
    ):
        with pytest.raises(InputError, match="no problem that can be used"):
            ask()
