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
from forethought.jsonl import need, read_jsonl
from forethought.types import Action, JsonRow, StopReason, Task

SCHEMA = "forethought.trajectory/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A success estimate of one turn and where it comes from."""

    value: float  # in [0, 1]
    source: str  # "monte_carlo" | "outcome"
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
    task = need(row, "task", dict, where, line)
    try:
        return Labelled(
            trajectory=Trajectory(
                task=Task(**{**task, "answers": tuple(task["answers"])}),
                source_policy=need(row, "source_policy", str, where, line),
                steps=tuple(_step(step) for step in need(row, "steps", list, where, line)),
                success=bool(need(row, "success", int, where, line)),
                stop_reason=StopReason(need(row, "stop_reason", str, where, line)),
            ),
            labels=tuple(Label(**label) for label in need(row, "labels", list, where, line)),
            branches=tuple(_branch(b) for b in need(row, "branches", list, where, line)),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            where,
            line=line,
            got=f"a field that does not fit ({error})",
            expected=f"a row of {SCHEMA}",
            next_step="run `forethought prepare` again",
        ) from error


def _step(row: dict[str, Any]) -> Step:
    return Step(**{**row, "action": Action(**row["action"])})


def _branch(row: dict[str, Any]) -> Branch:
    return Branch(**{**row, "steps": tuple(_step(step) for step in row["steps"])})


def read_labelled(path: Path) -> list[Labelled]:
    """All trajectories of a file.

    Raises:
        InputError: the file is absent or a line does not fit.
    """
    return [labelled_from_row(row, str(path), line) for line, row in read_jsonl(path)]


def relabelled(items: Sequence[Labelled], labels: Sequence[Sequence[Label]]) -> list[Labelled]:
    """The same trajectories with new labels."""
    return [
        Labelled(trajectory=item.trajectory, labels=tuple(new), branches=item.branches)
        for item, new in zip(items, labels, strict=True)
    ]
