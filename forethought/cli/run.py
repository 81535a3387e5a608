"""`forethought run CONFIG`: prepare, midtrain, sft, rl, an evaluation after each, and controls."""

from __future__ import annotations

import argparse
import json
import sys

from forethought.cli._stage import add_seed, configured

HELP = "the whole method: prepare, midtrain, sft, rl, with an evaluation after each"
OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("config", help="a TOML file, or a name from `forethought list configs`")
    parser.add_argument("--out", help="folder of the run (default: runs/NAME-SEED)")
    add_seed(parser)
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the pipeline and prints its table."""
    from forethought.runlog import command_line
    from forethought.stages.pipeline import run_pipeline

    config = configured(args)
    out = (
        args.out
        if args.out is not None
        else f"runs/{args.config.replace('/', '-').removesuffix('.toml')}-{config.seed}"
    )
    if config.model.name != "tiny":
        from forethought.stages.forecast import print_forecast

        print_forecast(config)
    summary = run_pipeline(config, out, resume=args.resume, command=command_line(sys.argv[1:]))
    print_summary(out, summary, as_json=args.json)
    return 0


def print_summary(out: str, summary: dict[str, object], *, as_json: bool) -> None:
    """The summary of a run on standard output, as JSON or as a table."""
    if as_json:
        print(json.dumps(summary))
        return
    from forethought.report.tables import print_run

    print_run(out)
