"""Running the cells of a study: one after the other, or several processes at a time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from forethought.errors import GuardRail
from forethought.jsonl import read_json, write_json
from forethought.progress import say
from forethought.runlog import cpu_seconds
from forethought.stages.context import open_run, set_threads
from forethought.stages.controls import fitted
from forethought.stages.evaluate import evaluate_stage
from forethought.study.nodes import Nodes, trained
from forethought.study.plan import Cell, Plan
from forethought.types import JsonRow

POLL_S = 0.5
"""Seconds between two looks at the running processes."""


def cell_folder(out: Path, cell: Cell) -> Path:
    """Where a cell's evaluation lies."""
    return out / "cells" / cell.id


def is_done(out: Path, cell: Cell) -> bool:
    """Whether a cell was evaluated."""
    return (cell_folder(out, cell) / "summary.json").is_file()


def run_cell(cell: Cell, out: Path, stages: Path) -> JsonRow:
    """Trains what the cell needs, evaluates it, writes cells/ID/summary.json; returns that.

    Args:
        cell: what is run.
        out: folder of the study.
        stages: folder of the shared stages.

    Raises:
        InputError: the folder holds another study's cell of this id.
        GuardRail: a stage stopped itself.
    """
    folder = cell_folder(out, cell)
    set_threads(cell.config)
    begun = (folder / "resolved.json").is_file()
    context = open_run(cell.config, folder, resume=begun)
    if is_done(out, cell):
        return read_json(folder / "summary.json")
    say(f"cell {cell.id}")
    nodes = Nodes(stages)
    stage = trained(cell.config)[-1]
    policy = nodes.policy(cell.config, stage)
    cpu = cpu_seconds()
    if stage in ("sft", "rl") and not cell.config.teaches_blocks:
        fitted(context, stage, policy)
    summaries = evaluate_stage(context, policy, stage)
    row = {
        **summaries[context.eval_name(stage)],
        "id": cell.id,
        "levels": list(cell.levels),
        "evaluation": context.eval_name(stage),
        "cpu_s": {**nodes.cost(cell.config), "eval": cpu_seconds() - cpu},
    }
    write_json(folder / "summary.json", row)
    return row


def command_of(file: Path, cell: Cell, out: Path, stages: Path) -> list[str]:
    """The command that runs one cell."""
    where = ["--out", str(out)]
    where += ["--stages", str(stages)] if stages != out / "nodes" else []
    return ["forethought", "study", str(file), "--cell", cell.id, *where]


def run_cells(plan: Plan, file: Path, out: Path, stages: Path, jobs: int) -> None:
    """Runs the cells that are not done, `jobs` processes at a time.

    A process begins with the first cell that has no stage to wait for: none that a running cell has
    still to train. So it never holds a place in which another could work.

    Raises:
        GuardRail: a process failed; those that run are waited for.
    """
    queue = [cell for cell in plan.cells if not is_done(out, cell)]
    if jobs == 1:
        for each in queue:
            run_cell(each, out, stages)
        return
    needs = {cell.id: Nodes(stages).results(cell.config) for cell in queue}
    running: dict[subprocess.Popen[bytes], Cell] = {}
    failed: list[str] = []
    while running or (queue and not failed):
        while len(running) < jobs and not failed:
            cell = ready(queue, list(running.values()), needs)
            if cell is None:
                break
            queue.remove(cell)
            words = [sys.executable, "-m", *command_of(file, cell, out, stages)]
            running[subprocess.Popen(words)] = cell
        time.sleep(POLL_S)
        for process in [process for process in running if process.poll() is not None]:
            ended = running.pop(process)
            if process.returncode:
                failed.append(f"{ended.id} (exit {process.returncode})")
    if failed:
        raise GuardRail(f"cells failed: {', '.join(failed)}; those that are done are kept")


def ready(
    queue: Sequence[Cell], running: Sequence[Cell], needs: Mapping[str, Sequence[Path]]
) -> Cell | None:
    """The first cell that shares no unfinished stage with a running one.

    Args:
        queue: cells to choose from, in order.
        running: cells at work.
        needs: id of a cell -> what its stages leave when they are finished.
    """

    def missing(cell: Cell) -> set[Path]:
        return {result for result in needs[cell.id] if not result.exists()}

    taken = {result for cell in running for result in missing(cell)}
    return next((cell for cell in queue if taken.isdisjoint(missing(cell))), None)
