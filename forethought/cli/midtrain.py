"""`forethought midtrain CONFIG --out RUN`: stage 1 (WM-AMT): free-text foresight from hindsight."""

from __future__ import annotations

import argparse

from forethought.cli._stage import add_stage_arguments as add_arguments
from forethought.cli._stage import open_stage, print_outcome

HELP = "stage 1 (WM-AMT): free-text foresight from hindsight"
OVERRIDES = True
__all__ = ["HELP", "OVERRIDES", "add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Runs the stage and evaluates the model that it leaves."""
    from forethought.stages import midtrain
    from forethought.stages.evaluate import evaluate_stage
    from forethought.stages.prepare import read_prepared

    context, policy = open_stage(args, "midtrain")
    items = read_prepared(context)
    midtrain.run(context, items, policy)
    print_outcome(args, evaluate_stage(context, policy, "midtrain"))
    return 0
