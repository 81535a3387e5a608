r"""Copies of problems behind other LaTeX, instructions and tails; templates that are no copies."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought import cli
from forethought.data.decontaminate import COMMON, Asked, TestIndex, tokens_of
from forethought.data.plain_text import plain_maths, split_figures, without_instructions


def found(
    train: Sequence[str], test: Sequence[str], *, learn: bool = False
) -> set[tuple[int, int, str]]:
    index = TestIndex()
    for number, text in enumerate(test):
        index.add(Asked(id=number, text=text, field="problem"))
    asked = [Asked(id=number, text=text, field="problem") for number, text in enumerate(train)]
    for question in asked if learn else ():
        index.learn(question)
    hits = (hit for question in asked for hit in index.hits(question))
    return {(int(hit.train_id), int(hit.test_id), hit.why) for hit in hits}


BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."
DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n{}"
    '\n\nRemember to put your answer on its own line after "Answer:".'
)
VERL = " Let's think step by step and output the final answer within \\boxed{}."


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("Find $x$ if $x+3=5$.", "Find x if x + 3 = 5."),
        ("Find \\(x\\) if \\[x+3=5.\\]", "Find $x$ if $$x + 3 = 5$$"),
        ("What is $\\dfrac{1}{2}+\\tfrac34$?", "What is $\\frac{1}{2} + \\frac{3}{4}$?"),
        ("What is $\\frac1{2}$?", "What is $\\frac{1}{2}$ ?"),
        ("Is $\\left(\\frac{a}{b}\\right)^2\\leq 1$?", "Is $(\\frac{a}{b})^{2} \\le 1$?"),
        ("Is $x \\leqslant y$?", "Is $x \u2264 y$?"),
        ("Is $3\\cdot x\\ne 4$?", "Is $3 \u00d7 x \\neq 4$?"),
        ("Add $1{,}234$ and $1,\\!000$.", "Add 1,234 and 1000."),
        ("How many \\textbf{positive} $n$ are there?", "How many positive $n$ are there?"),
        ("Find $\\sqrt{2}$.", "Find \u221a2."),
        ("Turn by $90^{\\circ}$ twice.", "Turn by 90\u00b0 twice."),
        ("Sum $1, 2, \\ldots, 9$.", "Sum $1,2,...,9$."),
        ("Find $x$.\\\\[2mm] Then $y$.", "Find $x$. Then $y$."),
        ("Find $x^2$.", "Find x\u00b2."),
        ("Compute $2^{10}$.", "Compute 2^10."),
        ("Compute $\\lim\\limits_{x\\to 0} x$.", "Compute $\\lim_{x \\rightarrow 0} x$."),
        ("What is 3+4?" + BOXED, "What is $3 + 4$?"),
        (DAPO.replace("{}", "What is 3+4?"), "What is $3 + 4$?" + VERL),
        ("Question: What is 3+4?\nAnswer:", "What is 3 + 4 ?"),
        ("What is $3+4$?Please reason step by step.", "What is 3+4?"),
    ],
)
def test_spellings_of_one_problem_are_one(mine: str, theirs: str) -> None:
    assert found([mine], [theirs]) == found([theirs], [mine]) == {(0, 0, "question")}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("What is $x+1$?", "What is $x-1$?"),
        ("What is $f(-1)$?", "What is $f(1)$?"),
        ("What is $|-3|$?", "What is $|3|$?"),
        ("What is the square of -3?", "What is the square of 3?"),
        ("What is $\\frac{1}{2}$?", "What is 12?"),
        ("What is $2^{10}$?", "What is $210$?"),
        ("What is $\\sqrt{50}+\\sqrt{18}$?", "What is $\\sqrt{50}-\\sqrt{18}$?"),
        ("What is $xy+z$?", "What is $xy-z$?"),
        ("Is $x<y$?", "Is $x>y$?"),
        ("What is $\\sin 30^\\circ$?", "What is $\\cos 30^\\circ$?"),
        ("Solve it." + BOXED, "Prove it." + BOXED),
        ("How long is $AB$? [asy] draw((0,0)--(3,4)); [/asy]",
         "How long is $AB$? [asy] draw((0,0)--(5,4)); [/asy]"),
        ("What is the value of $x$ in the figure? [asy] draw(a); [/asy]",
         "One. Two. What is the value of $x$ in the figure? [asy] draw(b); [/asy] Three."),
        ("[asy] size(100); draw((0,0)--(10,0)--(10,10)--(0,10)--cycle); [/asy] How large is it?",
         "[asy] size(100); draw((0,0)--(10,0)--(10,10)--(0,10)--cycle); [/asy] Is it small now?"),
    ],
)  # fmt: skip
def test_other_problems_are_not(mine: str, theirs: str) -> None:
    assert found([mine], [theirs]) == found([theirs], [mine]) == set()


BODY = (
    "Flora the frog starts at $0$ on the number line and makes jumps to the right. In any one "
    "jump, independent of the others, she leaps a distance $m$ with probability $\\frac{1}{2^m}$."
)


def test_a_copy_with_another_tail_is_found_by_its_run() -> None:
    mine = f"{BODY} How likely is it that she lands at $10$? The answer is k/m. Give $k+m$."
    theirs = BODY.replace("$0$", "0").replace("\\frac", "\\dfrac") + " Will she land at 10?"
    assert found([mine], [theirs]) == {(0, 0, "13gram")}
    assert found([mine], [BODY]) == found([BODY], [mine]) == {(0, 0, "13gram")}


TAIL = "can be written as $\\frac{m}{n}$, where $m$ and $n$ are relatively prime. Find $m+n$."


def problem(number: int, letters: str = "pqrstuvw") -> str:
    """Other words for every number, and a tail that all of them share."""
    words = " ".join(f"{letter * 3}{chr(97 + number)}" for letter in letters * 3)
    return f"{words} {TAIL}"


def test_a_turn_of_phrase_is_no_copy_and_a_run_of_few_problems_is() -> None:
    test = [problem(0, "abcdefgh")]
    few = [problem(number) for number in range(COMMON - 1)]
    many = [problem(number) for number in range(COMMON)]
    assert len(tokens_of(TAIL)) > 13
    assert {hit[0] for hit in found(few, test, learn=True)} == set(range(COMMON - 1))
    assert found(many, test, learn=True) == set()
    # Where many test problems have it, nothing has to be learned.
    assert found([problem(25, "ijklmnop")], many + test) == set()


def test_what_all_prompts_begin_with_is_no_copy_however_long_it_is() -> None:
    rules = " ".join(f"rule{chr(97 + i)} of it" for i in range(26))
    asked = [f"{rules} {letter * 4} {letter * 5} {letter * 6}?" for letter in "bcdefghijklmno"]
    assert len(asked) > COMMON and len(tokens_of(rules)) > 2 * len(tokens_of(asked[0])) / 3
    for learn in (False, True):
        hits = found(asked, asked, learn=learn)
        assert hits == {(i, i, "question") for i in range(len(asked))}
        other = [f"{text} Now!" for text in asked]
        hits = found(other, asked, learn=learn)
        assert hits == {(i, i, "13gram") for i in range(len(asked))}


def test_many_attempts_at_one_problem_do_not_make_it_a_turn_of_phrase() -> None:
    attempts = [f"{BODY} {'very ' * number}likely?" for number in range(3 * COMMON)]
    same = [BODY] * (3 * COMMON)
    for train, why in ((attempts, "13gram"), (same, "question")):
        hits = found(train, [BODY], learn=True)
        assert hits == {(number, 0, why) for number in range(len(train))}


@given(st.integers(2, 10**6), st.sampled_from(["", BOXED, VERL]), st.booleans(), st.booleans())
def test_a_planted_problem_is_found_and_one_with_another_number_is_not(
    number: int, tail: str, dressed: bool, apart: bool
) -> None:
    asked = f"Find $\\frac{{{number}}}{{7}}+x$ for $x=\\sqrt{{{number + 1}}}$."
    mine = asked.replace("\\frac", "\\dfrac").replace("$", "" if dressed else " $ ")
    other = asked.replace(f"{{{number}}}", f"{{{number - 1}}}")
    train = [f"{mine}{tail}", f"{other}{tail}"]
    assert found(train, [asked]) == {(0, 0, "question")}


@given(st.text(st.sampled_from("ab1 \\{}[]$^-+=.?\n"), max_size=60))
def test_any_text_has_a_plain_form(text: str) -> None:
    words, _ = split_figures(text)
    plain = plain_maths(without_instructions(words))
    assert "\\" not in plain
    assert all(token.strip() == token != "" for token in tokens_of(text))


def test_a_prompt_alone_and_sentences_of_a_problem_stay() -> None:
    assert without_instructions(BOXED) == BOXED
    story = "She climbs step by step. How high is it? Write it as a fraction."
    assert without_instructions(f"{story}{BOXED}").startswith("How high")
    assert without_instructions("What is x: y or z?") == "What is x: y or z?"


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_the_report_counts_each_test_set_and_has_both_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write(
        tmp_path / "mix.jsonl",
        [
            {"problem": "What is $\\dfrac12$ of 8?" + BOXED, "answer": "4"},
            {"problem": BODY + " Give the answer as a number.", "answer": "1"},
            {"problem": "Something else entirely?", "answer": "2"},
        ],
    )
    one = write(tmp_path / "one.jsonl", [{"problem": "What is $\\frac{1}{2}$ of $8$?", "id": "a"}])
    two = write(tmp_path / "two.jsonl", [{"question": BODY, "id": "b"}, {"question": "No?"}])
    clean = tmp_path / "clean.jsonl"
    words = ["decontaminate", "--train", train, "--test", one, "--test", two]
    assert cli.main([*words, "--report", "--clean", str(clean)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"train_id": 1, "test_id": "a", "why": "question"},
        {"train_id": 2, "test_id": "b", "why": "13gram"},
    ]
    report = json.loads((tmp_path / "mix.jsonl.decontamination.json").read_text())
    assert [
        (each["file"], each["rows"], each["hits"], each["train_rows_hit"], each["test_rows_hit"])
        for each in report["tests"]
    ] == [
        (one, 1, {"question": 1, "13gram": 0}, 1, 1),
        (two, 2, {"question": 0, "13gram": 1}, 1, 1),
    ]
    assert report["rows_hit"] == 2 and report["train_ids"] == {"1": ["a"], "2": ["b"]}
    assert [(row["test"], row["why"], row["shared"]) for row in report["rows"]] == [
        (one, "question", 1.0),
        (two, "13gram", 1.0),
    ]
    assert report["rows"][1]["test_text"] == BODY
    assert report["rows"][1]["train_text"].startswith(BODY)
    assert [json.loads(line)["answer"] for line in clean.read_text().splitlines()] == ["2"]


@pytest.mark.parametrize("sign", ["=", "- ", "+x", "\\", "\\\\", "{,}", "[asy]", ": ", "Answer: "])
def test_no_text_takes_long(sign: str) -> None:
    start = time.process_time()
    tokens_of(sign * 20_000)
    assert time.process_time() - start < 2
