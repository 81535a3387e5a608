"""`forethought prepare CONFIG --out RUN`: stage 0, from trajectories to blocks."""

from __future__ import annotations

import argparse

from forethought.cli._stage import add_stage_arguments as add_arguments
from forethought.cli._stage import open_stage, print_outcome

HELP = "stage 0: trajectories, executed branches, measured labels, blocks"
OVERRIDES = True
__all__ = ["HELP", "OVERRIDES", "add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Runs the stage."""
    from forethought.jsonl import read_json
    from forethought.stages import prepare

    context, policy = open_stage(args, "prepare")
    prepare.run(context, policy)
    print_outcome(args, read_json(context.stage_dir("prepare") / "report.json"))
    return 0
