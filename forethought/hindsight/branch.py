"""Success labels measured by executing actions and letting the student continue.

For a turn of a trajectory, its action (or an alternative that the student sampled) is executed in
the environment, and `k` continuations by the student at the training temperature are run to their
end; `s` of them succeed. The label is `(s + a p0) / (k + a)`: a smoothed success rate with the
prior `p0` of tasks of the same difficulty. `s` and `k` are kept, so its noise is known (standard
error at k = 8, p = .5: .18). The oracle of a synthetic world is never asked: it is for measuring.

A turn that ends the episode has no continuation; its label is the outcome, marked as such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from forethought.envs.base import call_tool, fork, row_of, snapshot
from forethought.errors import GuardRail
from forethought.rewards.ruling import Judge, rulings
from forethought.rewards.terms import RewardConfig, judge_rollout
from forethought.rollout.backend import Backend
from forethought.rollout.engine import EngineConfig, Start, run_rollouts_sync
from forethought.rollout.render import TextFormat
from forethought.types import Action, Rollout, StopReason, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What `k` continuations from one state came to; `example` is the first that ran to its end."""

    s: int
    k: int
    example: Rollout | None
    example_success: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another action of the student at the same state, executed and continued."""

    turn: Turn
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """The policy whose success is measured, and how it is run."""

    backend: Backend
    tokenizer: Any
    text_format: TextFormat
    engine: EngineConfig  # temperature = the training temperature
    make_env: Callable[[], Any]
    reward: RewardConfig
    judge: Judge | None = None  # None: the grader alone
    seed: int
    max_wave: int = 512  # continuations decoded at a time
    max_failed_share: float = 0.02
    mode: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchPoint:
    """A state of a rollout: what happened in `history` before the next turn."""

    rollout: Rollout
    history: tuple[Turn, ...]
    key: int  # unique in a run: seeds the noise of this point
    prefix_ids: tuple[int, ...] = ()  # forced beginning of the next turn


def smoothed(s: int, k: int, prior: float, strength: float) -> float:
    """The label `(s + a p0) / (k + a)`; the prior itself when nothing was run."""
    return prior if k + strength == 0 else (s + strength * prior) / (k + strength)


def measure(points: Sequence[BranchPoint], k: int, student: Student) -> list[Measured]:
    """Success of `k` continuations from each point; those lost to the machine leave `k`.

    Raises:
        GuardRail: more than `student.max_failed_share` of the continuations were lost.
    """
    results: list[Measured] = []
    lost = total = 0
    per_wave = max(1, student.max_wave // k)
    for first in range(0, len(points), per_wave):
        wave = points[first : first + per_wave]
        starts = [start for point in wave for start in _starts(point, k, student)]
        rollouts = run_rollouts_sync(
            starts, student.backend, student.text_format, student.tokenizer, student.engine
        )
        verdicts = _verdicts(rollouts, student)
        for number in range(len(wave)):
            mine = slice(number * k, (number + 1) * k)
            results.append(_measured(rollouts[mine], verdicts[mine]))
            lost += k - results[-1].k
            total += k
        if lost > max(student.max_failed_share * total, 1.0):
            raise GuardRail(f"{lost} of {total} continuations were lost to the machine")
    return results


def _verdicts(rollouts: Sequence[Rollout], student: Student) -> list[int | None]:
    """Success of each, None where the machine failed; a judge hears all of them in one batch."""
    return [
        judge_rollout(rollout, student.reward, ruling).success
        for rollout, ruling in zip(rollouts, rulings(rollouts, student.judge), strict=True)
    ]


def _measured(rollouts: Sequence[Rollout], verdicts: Sequence[int | None]) -> Measured:
    ended = [r for r, verdict in zip(rollouts, verdicts, strict=True) if verdict is not None]
    return Measured(
        s=sum(verdict or 0 for verdict in verdicts),
        k=len(ended),
        example=ended[0] if ended else None,
        example_success=next((bool(v) for v in verdicts if v is not None), False),
    )


def _starts(point: BranchPoint, copies: int, student: Student) -> list[Start]:
    state = _replay(point, student)
    return [
        Start(
            task=point.rollout.task,
            env=fork(student.make_env, state),
            index=copy,
            noise=(student.seed, point.key, copy),
            turns=point.history,
            prompt_ids=point.rollout.prompt_ids,
            prefix_ids=point.prefix_ids,
            mode=student.mode,
        )
        for copy in range(copies)
    ]


def _replay(point: BranchPoint, student: Student) -> Any:
    """A snapshot of the environment after the actions of the history."""
    env = student.make_env()
    env.reset(**row_of(point.rollout.task))
    for turn in point.history:
        if turn.parsed.action is not None and turn.parsed.action.kind != "answer":
            call_tool(env, turn.parsed.action.kind, turn.parsed.action.text)
    return snapshot(env)


def alternatives(
    points: Sequence[BranchPoint], num: int, k: int, student: Student
) -> list[list[Alternative]]:
    """Up to `num` distinct executed actions of the student at each point, continued `k` times.

    Twice as many actions are sampled as wanted, duplicates (same kind and normalised text) dropped.
    An alternative that ends the episode keeps its outcome `k` times.
    """
    one_turn = replace(student, engine=replace(student.engine, stop_after_turns=1))
    found: list[list[Alternative]] = []
    pending: list[tuple[int, Rollout, BranchPoint]] = []
    per_wave = max(1, student.max_wave // (2 * num))
    for first in range(0, len(points), per_wave):
        wave = points[first : first + per_wave]
        starts = [start for point in wave for start in _starts(point, 2 * num, one_turn)]
        rollouts = run_rollouts_sync(
            starts, student.backend, student.text_format, student.tokenizer, one_turn.engine
        )
        for offset, point in enumerate(wave):
            sampled = rollouts[offset * 2 * num : (offset + 1) * 2 * num]
            found.append([])
            for rollout in _distinct(sampled, len(point.history))[:num]:
                pending.append((first + offset, rollout, point))
    _measure_pending(pending, k, student, found)
    return found


def _distinct(sampled: Sequence[Rollout], before: int) -> list[Rollout]:
    first_of: dict[tuple[str, str], Rollout] = {}
    for rollout in sampled:
        if len(rollout.turns) <= before or rollout.error is not None:
            continue
        action = rollout.turns[before].parsed.action
        if action is not None:
            first_of.setdefault(normalised(action), rollout)
    return list(first_of.values())


def normalised(action: Action) -> tuple[str, str]:
    """The identity of an action: kind, and text with case and spacing evened out."""
    return action.kind, " ".join(action.text.lower().split())


def _ended(rollout: Rollout) -> bool:
    return rollout.stop_reason in (StopReason.ANSWER, StopReason.DONE)


def _measure_pending(
    pending: Sequence[tuple[int, Rollout, BranchPoint]],
    k: int,
    student: Student,
    found: list[list[Alternative]],
) -> None:
    open_points: list[BranchPoint] = []
    places: list[tuple[int, Turn]] = []
    verdicts = iter(_verdicts([rollout for _, rollout, _ in pending if _ended(rollout)], student))
    for number, (place, rollout, point) in enumerate(pending):
        turn = rollout.turns[len(point.history)]
        if _ended(rollout):
            verdict = next(verdicts)
            if verdict is not None:
                ended = Measured(s=verdict * k, k=k, example=rollout, example_success=verdict == 1)
                found[place].append(Alternative(turn=turn, measured=ended))
            continue
        places.append((place, turn))
        key = point.key * 1009 + number + 1
        open_points.append(BranchPoint(rollout=rollout, history=(*point.history, turn), key=key))
    for (place, turn), measured in zip(places, measure(open_points, k, student), strict=True):
        found[place].append(Alternative(turn=turn, measured=measured))
