"""`forethought sft CONFIG --out RUN`: stage 2 (FE-SFT): the tagged block on every turn."""

from __future__ import annotations

import argparse

from forethought.cli._stage import add_stage_arguments as add_arguments
from forethought.cli._stage import open_stage, print_outcome

HELP = "stage 2 (FE-SFT): the tagged block on every turn"
OVERRIDES = True
__all__ = ["HELP", "OVERRIDES", "add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Runs the stage and evaluates the model that it leaves."""
    from forethought.stages import sft
    from forethought.stages.evaluate import evaluate_stage
    from forethought.stages.prepare import read_prepared

    context, policy = open_stage(args, "sft")
    items = read_prepared(context)
    chosen = items[: context.config.sft.num_episodes]
    sft.run(context, chosen, policy, fresh_labels=False)
    print_outcome(args, evaluate_stage(context, policy, "sft"))
    return 0
