"""Histories that the student wrote itself: its own blocks along recorded trajectories.

A hindsight block knows what came. Where every earlier block of a training episode is of that kind,
the surest way to foretell is to repeat what is left of the block before, whatever the pages since
then say; at test time the earlier blocks are the model's own and often wrong, and the habit makes
it cling to a plan that has failed. So a share of stage 2 trains one turn behind blocks that the
student sampled: it walks along a trajectory for as long as its own action is the recorded one, and
the turn where it stops gets the hindsight block of that trajectory. (The remedy is that of
imitation learning under the learner's own states, DAgger, arXiv 1011.0686; its use on blocks is
ours.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from forethought.hindsight.branch import BranchPoint, Student, next_turns, normalised
from forethought.hindsight.trajectory import Trajectory
from forethought.rollout.author import author
from forethought.types import Turn

_KEYS = 2 * 10**6  # where the noise keys of walks begin, behind those of labels and branches
_TURNS = 64  # bound on the turns of a trajectory in a key


@dataclass(frozen=True, slots=True)
class Walk:
    """The student's turns along one trajectory; the turn behind them is the one to train."""

    texts: tuple[str, ...]  # whole turns, each with its own block and the recorded action


def walks(
    trajectories: Sequence[Trajectory], copies: int, student: Student, rng: random.Random
) -> list[Walk]:
    """One walk along each trajectory.

    The turn to reach is drawn uniformly from those of the trajectory; the walk ends before it where
    none of `copies` sampled turns is well formed and acts as the trajectory did.

    Args:
        trajectories: with at least one turn each.
        copies: turns sampled at each state.
        student: samples at its engine's temperature, in its mode.
        rng: draws the turns to reach.
    """
    goals = [rng.randrange(len(trajectory.steps)) for trajectory in trajectories]
    taken: list[tuple[Turn, ...]] = [() for _ in trajectories]
    for turn in range(max(goals, default=0)):
        going = [n for n, goal in enumerate(goals) if goal > turn and len(taken[n]) == turn]
        points = [_point(trajectories[n], taken[n], n, student) for n in going]
        for number, sampled in zip(going, next_turns(points, copies, student), strict=True):
            wanted = normalised(trajectories[number].steps[turn].action)
            turns = [r.turns[turn] for r in sampled if len(r.turns) > turn]
            taken[number] += tuple(t for t in turns if _sound(t, wanted))[:1]
    return [Walk(tuple(turn.text for turn in turns)) for turns in taken]


def _point(
    trajectory: Trajectory, taken: tuple[Turn, ...], number: int, student: Student
) -> BranchPoint:
    begun = author(trajectory.task, (), student.text_format, student.tokenizer, student.mode)
    return BranchPoint(rollout=begun, history=taken, key=_KEYS + number * _TURNS + len(taken))


def _sound(turn: Turn, wanted: tuple[str, str]) -> bool:
    block, action = turn.parsed.foresight, turn.parsed.action
    if block is None or block.q is None or action is None or not turn.parsed.format_ok:
        return False
    return normalised(action) == wanted
