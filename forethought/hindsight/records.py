"""Stage 0 on disk: trajectories with a label for each turn, and the step records made from them.

`prepare/trajectories.jsonl` is what later stages train on; `prepare/steps.jsonl` (one line a step,
schema forethought.step/1) is the same with blocks, placebos and filters spelled out, for reading
and for other programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forethought.errors import InputError
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.jsonl import bad_row, need, no_rows, read_jsonl
from forethought.types import Action, JsonRow, StopReason, Task

SCHEMA = "forethought.trajectory/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A success estimate of one turn and where it comes from."""

    value: float  # in [0, 1]
    source: str  # "monte_carlo" | "outcome" | "teacher"
    s: int
    k: int
    prior: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """An executed alternative at one turn, one way it went on, and its measured success."""

    step: int
    steps: tuple[Step, ...]  # the alternative's turn, then its first continuation to the end
    success: bool  # of that continuation
    s: int
    k: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A trajectory with one label a turn, and the branches executed from it."""

    trajectory: Trajectory
    labels: tuple[Label, ...]
    branches: tuple[Branch, ...] = field(default=())


def labelled_to_row(item: Labelled) -> JsonRow:
    """One line of trajectories.jsonl."""
    task = item.trajectory.task
    return {
        "schema": SCHEMA,
        "task": {**asdict(task), "answers": list(task.answers), "columns": dict(task.columns)},
        "source_policy": item.trajectory.source_policy,
        "success": int(item.trajectory.success),
        "stop_reason": item.trajectory.stop_reason.value,
        "steps": [asdict(step) for step in item.trajectory.steps],
        "labels": [asdict(label) for label in item.labels],
        "branches": [asdict(branch) for branch in item.branches],
    }


def labelled_from_row(row: JsonRow, where: str, line: int) -> Labelled:
    """Reads one line of trajectories.jsonl.

    Raises:
        InputError: another schema, or a field that is absent or of the wrong type.
    """
    if row.get("schema") != SCHEMA:
        raise InputError(
            where,
            line=line,
            got=f"schema {row.get('schema')!r}",
            expected=f"schema {SCHEMA!r}",
            next_step="run `forethought prepare` again with this version",
        )
    place = (where, line)
    success = need(row, "success", int, *place)
    stop = need(row, "stop_reason", str, *place)
    if success not in (0, 1) or stop not in list(StopReason):
        raise _misfit(f"success = {success}, stop_reason = {stop!r}", *place)
    trajectory = Trajectory(
        task=_task(need(row, "task", dict, *place), *place),
        source_policy=need(row, "source_policy", str, *place),
        steps=_steps(row, *place),
        success=success == 1,
        stop_reason=StopReason(stop),
    )
    labels = tuple(_label(each, *place) for each in _objects(row, "labels", *place))
    branches = tuple(_branch(each, *place) for each in _objects(row, "branches", *place))
    if len(labels) != len(trajectory.steps):
        raise _misfit(f"{len(labels)} labels of {len(trajectory.steps)} steps", *place)
    if any(branch.step >= len(labels) for branch in branches):
        raise _misfit("a branch behind the last step", *place)
    return Labelled(trajectory=trajectory, labels=labels, branches=branches)


def _task(row: JsonRow, where: str, line: int) -> Task:
    fields = {key: need(row, key, str, where, line) for key in ("id", "question", "kind", "split")}
    answers = need(row, "answers", list, where, line)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise _misfit(f"answers = {answers!r:.60}", where, line)
    return Task(
        **fields,
        answers=tuple(answers),
        world_seed=need(row, "world_seed", (int, type(None)), where, line),
        columns=need(row, "columns", dict, where, line),
    )


def _steps(row: JsonRow, where: str, line: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    for each in _objects(row, "steps", where, line):
        action = need(each, "action", dict, where, line)
        steps.append(
            Step(
                think=need(each, "think", str, where, line),
                action=Action(
                    kind=need(action, "kind", str, where, line),
                    text=need(action, "text", str, where, line),
                ),
                observation=need(each, "observation", str, where, line),
                failed=need(each, "failed", bool, where, line),
            )
        )
    if not steps:
        raise _misfit("steps = []", where, line)
    return tuple(steps)


def _label(row: JsonRow, where: str, line: int) -> Label:
    value = float(need(row, "value", (int, float), where, line))
    s, k = need(row, "s", int, where, line), need(row, "k", int, where, line)
    prior = float(need(row, "prior", (int, float), where, line))
    if not (0 <= value <= 1 and 0 <= prior <= 1 and 0 <= s <= k):
        raise _misfit(f"a label with value {value}, prior {prior}, s {s}, k {k}", where, line)
    return Label(value=value, source=need(row, "source", str, where, line), s=s, k=k, prior=prior)


def _branch(row: JsonRow, where: str, line: int) -> Branch:
    step, s, k = (need(row, key, int, where, line) for key in ("step", "s", "k"))
    if step < 0 or not 0 <= s <= k:
        raise _misfit(f"a branch with step {step}, s {s}, k {k}", where, line)
    steps, success = _steps(row, where, line), need(row, "success", bool, where, line)
    return Branch(step=step, steps=steps, success=success, s=s, k=k)


def _objects(row: JsonRow, key: str, where: str, line: int) -> list[JsonRow]:
    values: list[Any] = need(row, key, list, where, line)
    if not all(isinstance(value, dict) for value in values):
        raise _misfit(f"{key} = {values!r:.60}", where, line)
    return values


def _misfit(got: str, where: str, line: int) -> InputError:
    return bad_row(where, line, got, SCHEMA, "prepare")


def read_labelled(path: Path, num: int | None = None) -> list[Labelled]:
    """All trajectories of a file, at least one.

    Args:
        path: the file.
        num: how many it must hold, where that is known.

    Raises:
        InputError: the file is absent, empty or cut off, or a line does not fit.
    """
    items = [labelled_from_row(row, str(path), line) for line, row in read_jsonl(path)]
    if not items:
        raise no_rows(path, "trajectory")
    if num is not None and len(items) != num:
        raise miscounted(path, len(items), num)
    return items


def miscounted(path: Path, found: int, num: int) -> InputError:
    """What a reader answers to a file with more or fewer trajectories than stage 0 left."""
    return InputError(
        str(path),
        line=found,
        got=f"{found} trajectories",
        expected=f"{num}, as report.json beside it says",
        next_step="restore the file, or run `forethought prepare` again",
    )


def relabelled(items: Sequence[Labelled], labels: Sequence[Sequence[Label]]) -> list[Labelled]:
    """The same trajectories with new labels."""
    return [
        Labelled(trajectory=item.trajectory, labels=tuple(new), branches=item.branches)
        for item, new in zip(items, labels, strict=True)
    ]
