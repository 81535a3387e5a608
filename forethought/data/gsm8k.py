"""GSM8K: its problems, and trajectories with a Python tool from their calculator annotations.

Each annotated calculation becomes one call `print(48/2)`; the thought is the solution's own words
before the result, and the observation is what the tool prints. A failure changes one calculation
the way a careless solver would (operands swapped, a term dropped, the wrong operation, the last
step forgotten), carries the wrong number into the later calls, and ends in a wrong answer.
"""

from __future__ import annotations

import ast
import operator
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forethought.data.gsm8k_rows import Annotation, GsmRow, find_gsm8k, load_gsm8k, parse_row
from forethought.types import Task

__all__ = [
    "Annotation",
    "GsmRow",
    "GsmStep",
    "GsmTrajectory",
    "arithmetic",
    "episodes_from_annotations",
    "find_gsm8k",
    "load_gsm8k",
    "number_text",
    "parse_row",
]

_ROUNDING = 0.006  # annotators round to two decimals
_MAX_THOUGHT = 200  # characters
_NUMBER = re.compile(r"(?<![\w.])(?:\d+\.?\d*|\.\d+)(?![\w.]*\d)")
_IN_WORDS = re.compile(r"\d[\d,]*\.?\d*|\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class GsmStep:
    """One call of the tool."""

    think: str
    code: str
    observation: str  # what the tool prints for `code`, stripped


@dataclass(frozen=True, slots=True, kw_only=True)
class GsmTrajectory:
    """One attempt at a problem, from the first call to the answer."""

    task: Task
    steps: tuple[GsmStep, ...]
    answer: str
    success: int  # 1 | 0
    flaw: str = ""  # what was done wrong; "" in a right one


Number = int | float
_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def arithmetic(expression: str) -> Number | None:
    """The value of numbers joined by + - * / // and brackets, as Python has it.

    `str(arithmetic(e))` is what `print(e)` prints. None: anything else, or a division by zero.
    """
    try:
        return _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return None


def _value(node: ast.expr) -> Number:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        number: Number = node.value  # type: ignore[assignment]
        return number
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else +value
    raise ValueError("not plain arithmetic")


def episodes_from_annotations(
    row: GsmRow, *, seed: int = 0, failure_share: float = 0.35
) -> list[GsmTrajectory]:
    """The right trajectory of a problem and, for a share of problems, a failed one behind it.

    Nothing comes of a problem whose annotations do not lead to its answer in plain arithmetic
    (one in twelve of the official rows); which problems fail depends on `seed` and the id only.

    Args:
        row: the problem.
        seed: of the choice of failures.
        failure_share: probability of a failed trajectory beside the right one.
    """
    marks = [mark for mark in row.annotations if _operators(mark.expression)]
    right = _attempt(row, [mark.expression for mark in marks], marks)
    if right is None or not all(map(_agrees, right.steps, marks)) or not _is_right(right, row):
        return []
    rng = random.Random(f"gsm8k/failure/{seed}/{row.task.id}")
    if rng.random() >= failure_share:
        return [right]
    wrong = _failure(row, marks, rng)
    return [right] if wrong is None else [right, wrong]


def _attempt(
    row: GsmRow, expressions: Sequence[str], marks: Sequence[Annotation], flaw: str = ""
) -> GsmTrajectory | None:
    """The calculations carried out; None if one of them cannot be."""
    steps: list[GsmStep] = []
    for expression, mark in zip(expressions, marks, strict=True):
        value = arithmetic(expression)
        if value is None:
            return None
        known = [row.task.question, expression, *(step.observation for step in steps)]
        steps.append(
            GsmStep(
                think=_thought(mark, expression, known) or f"Next: {expression}.",
                code=f"print({expression})",
                observation=str(value),
            )
        )
    if not steps:
        return None
    answer = number_text(float(steps[-1].observation)) if flaw else row.answer
    return GsmTrajectory(
        task=row.task, steps=tuple(steps), answer=answer, success=int(not flaw), flaw=flaw
    )


def _thought(mark: Annotation, expression: str, known: Sequence[str]) -> str:
    """The words before a mark about `expression`; "" if they hold a number not known yet.

    Where the calculation was changed, it is changed in the words, too: a failure must not be
    recognised by its style.
    """
    words = re.sub(r"\s*=\s*\S?\s*$", "", mark.before).strip()
    words = re.split(r"(?<=[a-z][.;]) +", words)[-1].lstrip(",;. ")
    if expression != mark.expression:
        written = _written(mark.expression).search(words)
        if written is None:
            return ""
        words = words[: written.start()] + expression + words[written.end() :]
    allowed = {_plain(number) for text in known for number in _IN_WORDS.findall(text)}
    numbers = [_plain(number) for number in _IN_WORDS.findall(words)]
    tells = any(number not in allowed for number in numbers)
    # A result that equals a known number may stand as often as the calculation itself needs it.
    own = [_plain(number) for number in _IN_WORDS.findall(expression)]
    result = _plain(mark.value)
    if tells or numbers.count(result) > own.count(result) or len(words) > _MAX_THOUGHT:
        return ""
    return f"{words}." if re.search(r"[A-Za-z]{2}", words) else ""


def _written(expression: str) -> re.Pattern[str]:
    """How a solution may write an expression in its words: spaced, with $ and x."""
    parts = re.findall(r"\d*\.?\d+|[-+*/()]", expression)
    signs = {"*": r"[*xX\u00d7]", "-": r"[-\u2013]", "/": r"[/\u00f7]"}
    pattern = (
        r"\$?" + re.escape(part) if part[-1].isdigit() else signs.get(part, re.escape(part))
        for part in parts
    )
    return re.compile(r"\s*".join(pattern))


def _plain(number: str) -> str:
    """One spelling for equal numbers: `1,000.` -> `1000`."""
    text = number.replace(",", "").rstrip(".")
    try:
        return number_text(float(text))
    except ValueError:
        return text


def number_text(value: float) -> str:
    """A number as an answer: whole ones without a point, others with at most two decimals."""
    if value == int(value):
        return str(int(value))
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _agrees(step: GsmStep, mark: Annotation) -> bool:
    try:
        return abs(float(step.observation) - float(mark.value)) <= _ROUNDING
    except ValueError:
        return False


def _is_right(attempt: GsmTrajectory, row: GsmRow) -> bool:
    return abs(float(attempt.steps[-1].observation) - float(row.answer)) <= _ROUNDING


def _failure(row: GsmRow, marks: Sequence[Annotation], rng: random.Random) -> GsmTrajectory | None:
    """The first flaw, in random order of place and kind, that ends in a wrong answer."""
    places = [(i, kind) for i in range(len(marks)) for kind in _FLAWS]
    rng.shuffle(places)
    if len(marks) > 1:
        places.insert(rng.randrange(len(places)), (len(marks) - 1, "forgotten"))
    for place, kind in places:
        if kind == "forgotten":
            expressions = [mark.expression for mark in marks[:-1]]
        else:
            changed = _FLAWS[kind](marks[place].expression)
            if changed is None or arithmetic(changed) is None:
                continue
            expressions = _carried(marks, place, changed)
        attempt = _attempt(row, expressions, marks[: len(expressions)], flaw=kind)
        if attempt is not None and not _is_right(attempt, row):
            return attempt
    return None


def _carried(marks: Sequence[Annotation], place: int, changed: str) -> list[str]:
    """All expressions, the one at `place` changed and its wrong value used by later ones."""
    expressions = [mark.expression for mark in marks]
    expressions[place] = changed
    wrong: dict[str, str] = {}
    for i in range(place, len(marks)):
        if i > place:
            expressions[i] = _NUMBER.sub(
                lambda match: wrong.get(_plain(match.group()), match.group()), expressions[i]
            )
        value = arithmetic(expressions[i])
        if value is not None and expressions[i] != marks[i].expression:
            text = number_text(value)
            wrong[_plain(marks[i].value)] = f"({text})" if value < 0 else text
    return expressions


def _operators(expression: str) -> int:
    return len(re.findall(r"(?<=[\d.)])[-+*/]", expression))


def _two(expression: str) -> tuple[str, str, str] | None:
    """Left number, operator and right number of the simplest calculation."""
    match = re.fullmatch(r"(\d*\.?\d+)([-+*/])(\d*\.?\d+)", expression)
    return (match[1], match[2], match[3]) if match else None


def _swapped(expression: str) -> str | None:
    parts = _two(expression)
    return f"{parts[2]}{parts[1]}{parts[0]}" if parts and parts[1] in "-/" else None


def _dropped(expression: str) -> str | None:
    cut = re.sub(r"[-+*/]\d*\.?\d+$", "", expression)
    return cut if cut != expression and _operators(cut) else None


def _misread(expression: str) -> str | None:
    parts = _two(expression)
    other = {"+": "*", "-": "+", "*": "+", "/": "*"}
    return f"{parts[0]}{other[parts[1]]}{parts[2]}" if parts else None


_FLAWS: dict[str, Callable[[str], str | None]] = {
    "swapped": _swapped,
    "dropped": _dropped,
    "misread": _misread,
}
