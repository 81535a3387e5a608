"""What the verbs `prepare`, `midtrain`, `sft` and `rl` share: one stage of a run by itself."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forethought.schema import RunConfig
    from forethought.stages.context import Context
    from forethought.training.policy import Policy

BEFORE = {"prepare": "base", "midtrain": "base", "sft": "midtrain", "rl": "sft"}


def add_seed(parser: argparse.ArgumentParser) -> None:
    """The flag --seed, read by `configured`."""
    parser.add_argument("--seed", help="seed of the run and of its world (as in the configuration)")


def configured(args: argparse.Namespace) -> RunConfig:
    """The configuration that a command line names, overrides and seed applied."""
    from forethought.config import load_config

    seed = {} if args.seed is None else {"seed": args.seed}
    return load_config(args.config, args.overrides | seed)


def add_stage_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a single stage."""
    parser.add_argument("config", help="a TOML file, or a name from `forethought list configs`")
    parser.add_argument("--out", required=True, help="folder of the run, new or begun")
    parser.add_argument("--init", help="model to start from (default: the stage before in --out)")
    add_seed(parser)
    parser.add_argument("--resume", action="store_true", help="go on with a stage that was stopped")
    parser.add_argument("--json", action="store_true", help="print what came out as JSON")


def print_outcome(args: argparse.Namespace, outcome: dict[str, Any]) -> None:
    """With --json: the report of the stage, or the summaries of its evaluations by name."""
    if args.json:
        print(json.dumps(outcome))


def open_context(args: argparse.Namespace) -> Context:
    """The run that a stage belongs to, made or opened.

    Raises:
        InputError: the folder holds another configuration.
    """
    from forethought.stages.context import holds_run, open_run

    config = configured(args)
    known = holds_run(args.out, config)
    return open_run(config, args.out, resume=args.resume or known).with_resume(args.resume)


def open_stage(args: argparse.Namespace, stage: str) -> tuple[Context, Policy]:
    """The run and the model that a stage starts from.

    Raises:
        InputError: no model to start from, or the folder holds another configuration.
    """
    from forethought.data.models import resolve_model
    from forethought.stages import base
    from forethought.stages.context import set_threads
    from forethought.training.policy import Policy

    context = open_context(args)
    config = context.config
    set_threads(config)
    start = context.stage_dir(BEFORE[stage]) / "model"
    if args.init is None and stage in ("prepare", "midtrain") and not start.is_dir():
        return context, base.run(context)
    return context, Policy.load(resolve_model(args.init or str(start)), dtype=config.model.dtype)
