"""`forethought report PATH...`: tables of runs; with --check, quoted figures that drifted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = "tables of runs and evaluations; --check README.md compares quoted figures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="runs, evaluations or records")
    parser.add_argument("--check", metavar="README", help="exit 1 if a quoted figure has drifted")
    parser.add_argument(
        "--record", metavar="DIR", help="write a record of the runs: what a figure rests on"
    )
    parser.add_argument(
        "--budget",
        metavar="SAMPLES",
        help="an evaluation with several rollouts a task: each PATH beside the vote over as many "
        "of them as its sampled tokens buy",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the summary as JSON; of several paths, one list of them",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the tables, or the figures that drifted."""
    from forethought.errors import InputError
    from forethought.report.study import is_study, read_study
    from forethought.report.tables import drifted
    from forethought.runfiles import read_any_summary

    if not args.paths and not args.check:
        raise InputError(
            "report", got="no path", expected="a run or an evaluation", next_step="name a folder"
        )
    paths = [Path(text) for text in args.paths]
    if args.budget is not None:
        if args.record is not None or args.check is not None:
            raise InputError(
                "--budget",
                got="--record or --check beside it",
                expected="a table of its own",
                next_step="call report once for each",
            )
        return _budget(Path(args.budget), paths, as_json=args.json)
    if args.record is not None:
        for file in _record(paths, Path(args.record)):
            print(f"{file} ({file.stat().st_size:,} bytes)", file=sys.stderr)
    if args.json:
        found = [
            read_study(path) if is_study(path) else read_any_summary(path / "summary.json")
            for path in paths
        ]
        if found:
            print(json.dumps(found[0] if len(found) == 1 else found))
    else:
        _print(paths, pooled=args.record is None)
    if args.check is None:
        return 0
    readme = Path(args.check)
    problems = drifted(readme, readme.parent)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _record(paths: Sequence[Path], out: Path) -> list[Path]:
    """The files of the record of a study, or of runs."""
    from forethought.report.record import write_record
    from forethought.report.study import is_study, write_study_record

    if len(paths) == 1 and is_study(paths[0]):
        return write_study_record(paths[0], out)
    return write_record(paths, out)


def _budget(samples: Path, paths: Sequence[Path], *, as_json: bool) -> int:
    """Prints modes against self-consistency at equal cost."""
    from forethought.report.budget import budget, print_budget

    document = budget(samples, paths)
    if as_json:
        print(json.dumps(document))
    else:
        print_budget(document)
    return 0


def _print(paths: Sequence[Path], *, pooled: bool) -> None:
    """The tables of each path, then those of all runs together where there are several."""
    from forethought.report.estimates import print_estimates
    from forethought.report.page import build_page
    from forethought.report.study import is_study, print_study, read_study
    from forethought.report.tables import PRINTERS, print_run
    from forethought.runfiles import read_any_summary, read_estimates

    runs: list[Path] = []
    for path in paths:
        is_run = (path / "resolved.json").is_file()
        runs += [path] if is_run else []
        if is_study(path):
            print_study(read_study(path))
        elif is_run:
            build_page(path)
            print_run(path)
        else:
            summary = read_any_summary(path / "summary.json")
            PRINTERS[summary["schema"]](summary)
            made = path / "estimates.json"
            if summary["schema"] == "forethought.summary/1" and made.is_file():
                print_estimates(read_estimates(made))
    if len(runs) > 1 and pooled:
        from forethought.report.pooled import pool
        from forethought.report.tables import print_pooled

        print_pooled(pool(runs))
