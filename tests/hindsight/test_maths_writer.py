"""The rules for maths say what a program calculates, not which signs stand in it."""

from __future__ import annotations

import pytest

from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import MathsWriter
from forethought.types import Action, StopReason, Task


def told(code: str) -> str:
    """The first words of the roadmap of a program."""
    steps = (
        Step(think="so", action=Action(kind="python", text=code), observation="12"),
        Step(think="then", action=Action(kind="answer", text="12"), observation=""),
    )
    trajectory = Trajectory(
        task=Task(id="t", question="how many?", answers=("12",), kind="maths"),
        source_policy="recorded",
        steps=steps,
        success=True,
        stop_reason=StopReason.ANSWER,
    )
    return MathsWriter().write(trajectory, 0, 0.5).roadmap.partition(",")[0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print(3*4)", "multiply"),
        ("print(30-2*9)", "subtract and multiply"),
        ("print(24//2)", "divide"),
        ("n = 10\nn += 2\nprint(n)", "add"),
        ('def f():\n    """A half-price item, 3+1 / day."""\n    return 12\nprint(f())', "compute"),
        ("# a - b\nprint(12)", "compute"),
        ("print(-12 + 24)", "add"),
        ("print(3 * 4", "multiply"),
    ],
)
def test_signs_in_texts_comments_and_before_numbers_are_no_operations(
    code: str, words: str
) -> None:
    assert told(code) == words


def test_only_programs_can_be_told() -> None:
    def step(kind: str) -> Step:
        return Step(think="so", action=Action(kind=kind, text="x"), observation="")

    assert MathsWriter().can_tell([step("python"), step("answer")])
    assert not MathsWriter().can_tell([step("search"), step("answer")])
