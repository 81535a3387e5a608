"""Who says whether an answer is right: the grader, or a judge asked where it finds no match.

The grader is `forethought.rewards.grading`: pure, offline, the same for all. A judge
(`forethought.chat.judge`) is asked only about answers that are no exact match, as in the search
reward of arXiv 2606.27483. What the grader said stays beside its word, so that the two never stand
in one column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from forethought.rewards.grading import grade
from forethought.types import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Whether the answer of a rollout is right."""

    right: bool | None  # None = the judge was asked and gave no verdict
    how: str  # a method of `grade`, "no_answer", or the name of the judge
    exact: bool  # what the grader alone says
    f1: float | None = None  # best token F1 over the accepted answers (qa only)
    reason: str = ""  # in the words of the judge; why there is no verdict where `right` is None


class Judge(Protocol):
    """Rules over many rollouts at a time."""

    @property
    def name(self) -> str:
        """What stands in the field `judge` of what it decided, such as llm:MODEL."""
        ...

    def rule(self, rollouts: Sequence[Rollout]) -> list[Ruling | None]:
        """One ruling a rollout, in order; None: the machine ended it, there is nothing to judge."""
        ...


def exact_ruling(rollout: Rollout) -> Ruling:
    """The grader's word; a rollout without an answer is wrong."""
    task = rollout.task
    if rollout.answer is None:
        f1 = 0.0 if task.kind == "qa" else None
        return Ruling(right=False, how="no_answer", exact=False, f1=f1)
    verdict = grade(task.kind, rollout.answer, task.answers, is_answer=True)
    right = verdict.correct
    return Ruling(right=right, how=verdict.method, exact=right, f1=verdict.f1)


def rulings(rollouts: Sequence[Rollout], judge: Judge | None) -> list[Ruling | None]:
    """The rulings of a judge in one batch; without one, None for each: the grader decides."""
    return [None] * len(rollouts) if judge is None else judge.rule(rollouts)
