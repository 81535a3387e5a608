"""Asking the teacher for the blocks of a corpus: counted before, at a time, kept when it stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forethought.errors import GuardRail, InputError
from forethought.hindsight.corpus import branch_trajectory
from forethought.hindsight.records import Label, Labelled
from forethought.hindsight.teacher import TeacherWriter, Wanted
from forethought.progress import say
from forethought.schema import TeacherConfig
from forethought.types import JsonRow


def fetch_blocks(
    items: Sequence[Labelled], writer: TeacherWriter, section: TeacherConfig
) -> tuple[list[Labelled], JsonRow]:
    """The items and branches whose every block came, and counts for the report.

    Raises:
        InputError: the estimate is above `teacher.max_cost`.
        GuardRail: more than `teacher.max_failed_share` of the blocks did not come, or one of every
            trajectory, or a bound of the client is reached.
        MissingError: there is no server, and the cache does not have every reply.
    """
    wanted = [_wanted(item) for item in items]
    flat = [each for mine in wanted for each in mine]
    estimate = writer.estimate(flat)
    say(f"teacher {writer.client.model}: {estimate}")
    if section.max_cost is not None and estimate.cost > section.max_cost:
        raise InputError(
            "teacher.max_cost",
            got=f"{section.max_cost} where the estimate is {estimate.cost:.2f}",
            expected="a bound that lets the run end",
            next_step="raise it, or lower prepare.num_episodes",
        )
    came = dict(zip(map(id, flat), writer.fetch(flat), strict=True))
    failed = sum(not done for done in came.values())
    if failed > max(section.max_failed_share * len(flat), 1.0):
        raise GuardRail(
            f"{failed} of {len(flat)} blocks did not come from the teacher (replies are kept)"
        )
    kept: list[Labelled] = []
    for item, mine in zip(items, wanted, strict=True):
        own, of_branches = mine[: len(mine) - len(item.branches)], mine[-len(item.branches) :]
        if not all(came[id(each)] for each in own):
            continue
        branches = [
            b for b, each in zip(item.branches, of_branches, strict=False) if came[id(each)]
        ]
        labels = _guessed(item, writer) if writer.guesses else item.labels
        kept.append(replace(item, labels=labels, branches=tuple(branches)))
    if items and not kept:
        raise GuardRail(
            f"no trajectory has all its blocks: {failed} of {len(flat)} did not come from the "
            "teacher (replies are kept)"
        )
    report: JsonRow = {
        "model": writer.client.model,
        "requests": len(flat),
        "cached": estimate.cached,
        "failed": failed,
        "trajectories_left_out": len(items) - len(kept),
        "prompt_tokens": writer.client.prompt_tokens,
        "completion_tokens": writer.client.completion_tokens,
        "cost": writer.client.cost,
    }
    return kept, report


def _guessed(item: Labelled, writer: TeacherWriter) -> tuple[Label, ...]:
    """The teacher's estimates in place of measured ones; nothing was run for them."""
    guesses = [writer.guess(item.trajectory, step) for step in range(len(item.labels))]
    return tuple(Label(value=q, source="teacher", s=0, k=0, prior=q) for q in guesses)


def _wanted(item: Labelled) -> list[Wanted]:
    """The blocks of all turns, the blind twins of those that call a tool, then the branches'."""
    trajectory = item.trajectory
    steps = [Wanted(trajectory, step) for step in range(len(trajectory.steps))]
    blind = [Wanted(trajectory, step, blind=True) for step in range(trajectory.num_calls)]
    branches = [Wanted(branch_trajectory(item, b), b.step) for b in item.branches]
    return [*steps, *blind, *branches]
