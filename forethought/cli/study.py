"""`forethought study FILE`: cells of factors over seeds, and what they say of the file's claims."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from forethought.errors import InputError

HELP = "factors over seeds from shared stages, with contrasts and a verdict a claim"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("file", type=Path, help="a study file (TOML; docs/studies.md)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="the cells, and which are done")
    what.add_argument("--cell", metavar="ID", help="run this cell only")
    what.add_argument(
        "--print-commands", action="store_true", help="one command a cell that is left"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default 1)")
    parser.add_argument("--out", type=Path, help="folder of the study (default: runs/study-NAME)")
    parser.add_argument(
        "--stages", type=Path, help="folder of shared stages, also of other studies (OUT/nodes)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Lists, prints or runs the cells; after a whole run prints the verdicts."""
    from forethought.jsonl import write_text_atomic
    from forethought.study.cells import command_of, is_done, run_cell, run_cells
    from forethought.study.plan import read_plan
    from forethought.study.verdicts import finish

    if args.jobs < 1:
        raise InputError(
            "--jobs", got=str(args.jobs), expected="at least 1", next_step="give a number"
        )
    plan = read_plan(args.file)
    out = args.out if args.out is not None else Path("runs") / f"study-{plan.name}"
    stages = args.stages if args.stages is not None else out / "nodes"
    if args.list:
        rows = [{"id": cell.id, "done": is_done(out, cell)} for cell in plan.cells]
        if args.json:
            print(json.dumps(rows))
        else:
            print("\n".join(f"{row['id']}  {'done' if row['done'] else '-'}" for row in rows))
        return 0
    if args.print_commands:
        for cell in plan.cells:
            if not is_done(out, cell):
                print(shlex.join(command_of(args.file, cell, out, stages)))
        return 0
    if args.cell is not None:
        row = run_cell(plan.cell(args.cell), out, stages)
        if args.json:
            print(json.dumps(row))
        return 0
    run_cells(plan, args.file, out, stages, args.jobs)
    result = finish(plan, out, stages)
    write_text_atomic(out / "study.toml", args.file.read_text(encoding="utf-8"))
    if args.json:
        print(json.dumps(result))
        return 0
    for row in result["verdicts"]:
        print(f"{row['verdict']:<10} {row['claim']}: {row['evidence']}")
    print(f"{len(result['cells'])} cells, {result['cpu_min']} CPU-minutes: {out / 'study.json'}")
    return 0
