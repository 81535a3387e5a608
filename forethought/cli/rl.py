"""`forethought rl CONFIG --out RUN`: stage 3 (FC-RL): groups of rollouts, credit for each span."""

from __future__ import annotations

import argparse

from forethought.cli._stage import add_stage_arguments as add_arguments
from forethought.cli._stage import open_stage, print_outcome

HELP = "stage 3 (FC-RL): groups of rollouts, credit for each span"
OVERRIDES = True
__all__ = ["HELP", "OVERRIDES", "add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Runs the stage and evaluates the model that it leaves."""
    from forethought.stages import rl
    from forethought.stages.evaluate import evaluate_stage

    context, policy = open_stage(args, "rl")
    rl.run(context, policy)
    print_outcome(args, evaluate_stage(context, policy, "rl"))
    return 0
