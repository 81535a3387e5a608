"""Running the cells of a study: one after the other, or several processes at a time."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence
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
    """Runs the cells that are not done, `jobs` processes at a time, one of each seed first.

    Raises:
        GuardRail: a process failed; the others of its wave are waited for.
    """
    left = [cell for cell in plan.cells if not is_done(out, cell)]
    if jobs == 1:
        for cell in left:
            run_cell(cell, out, stages)
        return
    by_seed = [[cell for cell in left if cell.seed == seed] for seed in plan.seeds]
    waves = itertools.zip_longest(*by_seed)  # different seeds share no stage to wait for
    queue = [cell for wave in waves for cell in wave if cell is not None]
    running: dict[subprocess.Popen[bytes], Cell] = {}
    failed: list[str] = []
    while queue or running:
        while queue and len(running) < jobs and not failed:
            cell = queue.pop(0)
            words = [sys.executable, "-m", *command_of(file, cell, out, stages)]
            running[subprocess.Popen(words)] = cell
        done = _first_done(list(running))
        cell = running.pop(done)
        if done.returncode:
            failed.append(f"{cell.id} (exit {done.returncode})")
        if failed and not running:
            raise GuardRail(f"cells failed: {', '.join(failed)}; those that are done are kept")


def _first_done(running: Sequence[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    while True:
        for process in running:
            try:
                process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
            return process
