r"""Rows of public maths sets as tasks of kind `maths`.

A task has the problem, its accepted answers as plain texts (12.0 is `12`, 073 of AIME is `73`), and

    benchmark   the name of the set
    group       the set's own kind of problem: the subject (MATH), the operation (SVAMP)
    level       MATH: 1 to 5
    solution    GSM8K: its solution with annotated calculations, which trajectories are made of

each where the set has it. `solution` is hidden from environments. Where a row has no answer beside
its solution, the last `\boxed{}` of the solution is the answer, as MATH is graded (Hendrycks et
al., arXiv 2103.03874).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from forethought.data.benchmark_rows import Place, text_of
from forethought.data.gsm8k_rows import parse_row
from forethought.foresight.contents import boxes
from forethought.jsonl import dumps
from forethought.types import JsonRow, Task

_IDS = ("id", "_id", "ID", "unique_id", "problem_idx")
_PROBLEMS = ("problem", "Problem", "question", "Question", "input")
_ANSWERS = ("answers", "answer", "Answer", "target")
_CHOICES = ("options", "choices")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_AIME = re.compile(r"0*(\d{1,3})\s*(?:\^\{?\\circ\}?|\u00b0)?")


def plain_maths_task(row: JsonRow, place: Place) -> Task | None:
    """A `problem`, `question` or `input` with its `answer`, `answers` or `target`.

    A `context` stands before the problem. A list of answers is one of equally right ones.
    """
    if any(row.get(key) for key in _CHOICES):
        raise place.refuse(
            "a question with choices", "a problem whose answer is a value, not the letter of one"
        )
    return _task(row, place, _answers(row, place), {})


def math_task(row: JsonRow, place: Place) -> Task | None:
    """MATH and MATH-500: by subject and level; the answer is the box of the solution."""
    subject, level = row.get("subject", row.get("type")), row.get("level")
    columns: JsonRow = {"group": subject} if isinstance(subject, str) and subject else {}
    if (digits := re.fullmatch(r"(?:Level )?([1-5])", str(level))) is not None:
        columns["level"] = int(digits[1])
    return _task(row, place, _answers(row, place), columns)


def gsm8k_task(row: JsonRow, place: Place) -> Task | None:
    """GSM8K: the number behind "####", and the solution with its annotations."""
    found = parse_row(row, split=place.split, where=place.where, line=place.line)
    columns = {"benchmark": place.name, "solution": row["answer"]}
    return Task(
        id=found.task.id,
        question=found.task.question,
        answers=found.task.answers,
        kind="maths",
        split=place.split,
        columns=columns,
    )


def aime_task(row: JsonRow, place: Place) -> Task | None:
    """AIME: every answer is a whole number from 0 to 999, published with zeros in front."""
    answers = []
    for answer in _answers(row, place):
        digits = _AIME.fullmatch(answer)
        if digits is None:
            raise place.refuse(f"answer {answer!r}", "a whole number from 0 to 999")
        answers.append(digits[1])
    return _task(row, place, answers, {})


def number_task(row: JsonRow, place: Place) -> Task | None:
    """AMC23 and GSM-Hard: a problem whose answer is one number."""
    return _task(row, place, _numbers(row, place), {})


def svamp_task(row: JsonRow, place: Place) -> Task | None:
    """SVAMP: `Body` and `Question` are one problem, by kind of operation."""
    body, asked = text_of(row, "Body", place).strip(), text_of(row, "Question", place).strip()
    body = body if body[-1] in ".?!," else f"{body}."  # as often as not the full stop is missing
    group = row.get("Type")
    columns = {"group": group} if isinstance(group, str) and group else {}
    answers = _numbers(row, place)
    return _task({**row, "problem": f"{body} {asked}"}, place, answers, columns)


def _task(row: JsonRow, place: Place, answers: Sequence[str], columns: JsonRow) -> Task | None:
    if not answers:
        return None
    own = next(
        (row[key] for key in _IDS if _is_id(row.get(key))), f"{place.split}/{place.line - 1}"
    )
    problem = text_of(row, next((key for key in _PROBLEMS if key in row), "problem"), place).strip()
    context = row.get("context")
    if isinstance(context, str) and context.strip():
        problem = f"{context.strip()}\n{problem}"
    return Task(
        id=f"{place.name}/{own}",
        question=problem,
        answers=tuple(dict.fromkeys(answers)),
        kind="maths",
        split=place.split,
        columns={**columns, "benchmark": place.name},
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _answers(row: JsonRow, place: Place) -> list[str]:
    """The accepted answers in order, blank ones left out; else the last box of the solution."""
    key = next((key for key in _ANSWERS if row.get(key) is not None), None)
    if key is None:
        return _boxed(row, place)
    found = row[key]
    values = found if isinstance(found, list) else [found]
    if not all(
        isinstance(each, str | int | float) and not isinstance(each, bool) for each in values
    ):
        got = f"{key} = {dumps(found)}"
        raise place.refuse(got, "the answer as a text or a number, or a list of equal ones")
    return [text for value in values if (text := answer_text(value))]


def _boxed(row: Mapping[str, Any], place: Place) -> list[str]:
    solution = row.get("solution")
    if not isinstance(solution, str):
        got = f"fields {', '.join(sorted(row))}"
        raise place.refuse(got, 'an "answer", or a "solution" with a box')
    found = [box.text.strip() for box in boxes(solution)]
    return [found[-1]] if found and found[-1] else []


def answer_text(value: str | int | float) -> str:
    """An answer as text; a number without an exponent, and without `.0`."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int):
        return str(value)
    digits = f"{Decimal(repr(value + 0.0)):f}"  # no minus before nothing
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _numbers(row: JsonRow, place: Place) -> list[str]:
    """The answers, each of which is a number, in its plainest spelling."""
    found = []
    for answer in _answers(row, place):
        plain = answer.replace(",", "").strip("$ ")
        if _NUMBER.fullmatch(plain) is None:
            raise place.refuse(f"answer {answer!r}", "a number")
        found.append(answer_text(int(plain) if plain.lstrip("+-").isdigit() else float(plain)))
    return found
