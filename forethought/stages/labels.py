"""Measuring the labels of a set of trajectories with a student, resumable between waves.

Each turn that calls a tool is labelled by continuations from just after its action; the turn that
ends an episode by its outcome. Counts are appended to a file wave by wave, so a killed run goes on
at the last whole wave.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forethought.data.hops import hops_of
from forethought.errors import InputError
from forethought.hindsight.branch import BranchPoint, Student, measure, smoothed
from forethought.hindsight.records import Label, Labelled, relabelled
from forethought.hindsight.trajectory import Trajectory
from forethought.jsonl import dumps, need, read_log
from forethought.progress import progress
from forethought.rollout.author import AuthoredTurn, author
from forethought.rollout.hf.backend import backend_for
from forethought.rollout.render import TextFormat
from forethought.stages.context import Context
from forethought.training.policy import Policy
from forethought.types import Foresight, JsonRow, Rollout

Count = tuple[int, int]
"""Successes among continuations."""
FEWEST_RUNS = 20
"""Of questions of one kind: a rate of fewer is mostly that of the turn that it is to smooth."""


def make_student(context: Context, policy: Policy) -> Student:
    """The policy as the source of continuations, at the training temperature, without blocks."""
    section = context.config.prepare
    return Student(
        backend=backend_for(policy, context.config.rollout),
        tokenizer=policy.tokenizer,
        text_format=context.domain.text_format,
        engine=context.engine(temperature=section.label_temperature),
        make_env=context.domain.make_env,
        reward=context.reward,
        judge=context.judge,
        seed=context.config.seed,
        max_wave=section.max_wave,
        max_failed_share=section.max_failed_share,
    )


def as_rollout(
    trajectory: Trajectory,
    text_format: TextFormat,
    tokenizer: Any,
    blocks: Sequence[Foresight] | None = None,
) -> Rollout:
    """The trajectory as tokens, with one block a turn or in the format without blocks."""
    from forethought.foresight.block import render

    told: Sequence[Foresight | None] = blocks or [None] * len(trajectory.steps)
    turns = [
        AuthoredTurn(
            text=render(
                block, step.think, step.action, style=text_format.style, spaced=text_format.spaced
            ),
            observation=step.observation,
        )
        for step, block in zip(trajectory.steps, told, strict=True)
    ]
    mode = "plain" if blocks is None else "foresight"
    made = author(trajectory.task, turns, text_format, tokenizer, mode)
    return replace(made, stop_reason=trajectory.stop_reason)


@dataclass(frozen=True, slots=True)
class _Place:
    """A turn whose label needs continuations."""

    item: int
    step: int


def measure_labels(
    context: Context,
    trajectories: Sequence[Trajectory],
    policy: Policy,
    *,
    folder: Path,
    outcome_only: bool = False,
) -> list[tuple[Label, ...]]:
    """One label a turn for every trajectory.

    Args:
        context: the run; `prepare.continuations` and `prepare.prior_strength` are its keys.
        trajectories: finished attempts.
        policy: the student whose success is measured.
        folder: where `labels.jsonl` is kept between waves.
        outcome_only: no continuations; the label is the outcome of the trajectory, unsmoothed.
    """
    section = context.config.prepare
    strength = 0.0 if outcome_only else section.prior_strength
    places = [
        _Place(number, step)
        for number, trajectory in enumerate(trajectories)
        for step in range(len(trajectory.steps) - 1)
        if not outcome_only
    ]
    counts = _measure_places(context, trajectories, places, policy, folder)
    found = [
        (trajectory, [counts.get((number, step)) for step in range(len(trajectory.steps))])
        for number, trajectory in enumerate(trajectories)
    ]
    priors = priors_of(found)
    return [labels_of(trajectory, mine, priors, strength) for trajectory, mine in found]


def _measure_places(
    context: Context,
    trajectories: Sequence[Trajectory],
    places: Sequence[_Place],
    policy: Policy,
    folder: Path,
) -> dict[tuple[int, int], tuple[int, int]]:
    section = context.config.prepare
    per_wave = max(1, section.max_wave // section.continuations)
    file = folder / "labels.jsonl"
    known = _read_counts(file, per_wave, places) if context.resume else []
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(dumps(row) + "\n" for row in known), encoding="utf-8")
    student = make_student(context, policy)
    with (
        progress("measuring labels", len(places), len(known)) as bar,
        file.open("a", encoding="utf-8") as stream,
    ):
        for first in range(len(known), len(places), per_wave):
            wave = places[first : first + per_wave]
            points = _points(trajectories, wave, first, student)
            for place, result in zip(
                wave, measure(points, section.continuations, student), strict=True
            ):
                known.append({"i": place.item, "t": place.step, "s": result.s, "k": result.k})
                stream.write(dumps(known[-1]) + "\n")
            stream.flush()
            bar.advance(len(wave))
    return {(row["i"], row["t"]): (row["s"], row["k"]) for row in known}


def _points(
    trajectories: Sequence[Trajectory], wave: Sequence[_Place], first: int, student: Student
) -> list[BranchPoint]:
    """The states of a wave, whose first is number `first` of all; a trajectory is encoded once."""
    rollouts = {
        item: as_rollout(trajectories[item], student.text_format, student.tokenizer)
        for item in dict.fromkeys(place.item for place in wave)
    }
    return [
        BranchPoint(rollout=rollout, history=rollout.turns[: place.step + 1], key=key)
        for key, place in enumerate(wave, first)
        for rollout in (rollouts[place.item],)
    ]


def _read_counts(file: Path, per_wave: int, places: Sequence[_Place]) -> list[dict[str, int]]:
    """The counts of whole waves; a torn last line or a part of a wave is measured again.

    Raises:
        InputError: another line is no count, or one of another turn than was measured there.
    """
    rows: list[dict[str, int]] = []
    for line, row in read_log(file) if file.is_file() else ():
        here = places[len(rows)] if len(rows) < len(places) else None
        s, k = count_of(row, None if here is None else (here.item, here.step), str(file), line)
        rows.append({"i": row["i"], "t": row["t"], "s": s, "k": k})
    whole = len(rows) if len(rows) == len(places) else len(rows) // per_wave * per_wave
    return rows[:whole]


def count_of(row: JsonRow, place: tuple[int, int] | None, where: str, line: int) -> Count:
    """The count of a line of labels.jsonl.

    Args:
        row: the line.
        place: item and turn that are due there; None = no line is.
        where: the file, for the message.
        line: its number.

    Raises:
        InputError: it is no count, or one of another turn.
    """
    i, t, s, k = (need(row, key, int, where, line) for key in ("i", "t", "s", "k"))
    if (i, t) != place or not 0 <= s <= k:
        raise InputError(
            where,
            line=line,
            got=f"i = {i}, t = {t}, s = {s}, k = {k}",
            expected="the end of the file"
            if place is None
            else f"i = {place[0]}, t = {place[1]}, 0 <= s <= k",
            next_step="remove the file: the labels are then measured again",
        )
    return s, k


def priors_of(found: Iterable[tuple[Trajectory, Sequence[Count | None]]]) -> dict[str, float]:
    """Success rate of the student on tasks of each difficulty, from the first turn's counts.

    "" is that of all tasks. A kind of public questions with fewer than `FEWEST_RUNS` runs has none
    of its own: a few rows of a set may be all that is read.
    """
    successes: dict[str, int] = defaultdict(int)
    runs: dict[str, int] = defaultdict(int)
    for trajectory, counts in found:
        s, k = next(iter(counts), None) or (int(trajectory.success), 1)
        for bin_name in ("", difficulty(trajectory)):
            successes[bin_name] += s
            runs[bin_name] += k
    return {
        name: successes[name] / max(num, 1)
        for name, num in runs.items()
        if name == "" or name.isdecimal() or num >= FEWEST_RUNS
    }


def labels_of(
    trajectory: Trajectory,
    counts: Sequence[Count | None],
    priors: dict[str, float],
    strength: float,
) -> tuple[Label, ...]:
    """One label a turn: its count, smoothed towards the prior; without a count the outcome."""
    return tuple(
        _label(trajectory, step, count, priors, strength) for step, count in enumerate(counts)
    )


def difficulty(trajectory: Trajectory) -> str:
    """The bin of a task: its budget or size, else its set, kind and hops, else one bin for all."""
    columns = trajectory.task.columns
    size = columns.get("budget", columns.get("num_annotations"))
    if size is not None:
        return str(size)
    hops = len(hops_of(trajectory.task))
    told = (columns.get("group") or columns.get("benchmark"), f"{hops} steps" if hops else None)
    return ", ".join(str(each) for each in told if each) or "all"


def _label(
    trajectory: Trajectory,
    step: int,
    count: Count | None,
    priors: dict[str, float],
    strength: float,
) -> Label:
    prior = priors.get(difficulty(trajectory), priors.get("", 0.5))
    if count is None or count[1] == 0:
        success = int(trajectory.success)
        value = smoothed(success, 1, prior, strength)
        return Label(value=value, source="outcome", s=success, k=1, prior=prior)
    value = smoothed(count[0], count[1], prior, strength)
    return Label(value=value, source="monte_carlo", s=count[0], k=count[1], prior=prior)


def relabel(
    context: Context, items: Sequence[Labelled], policy: Policy, *, folder: Path
) -> list[Labelled]:
    """The same trajectories with labels measured by `policy`."""
    trajectories = [item.trajectory for item in items]
    return relabelled(items, measure_labels(context, trajectories, policy, folder=folder))
