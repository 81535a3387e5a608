"""`forethought demo`: the whole method on a synthetic world, in minutes on one core."""

from __future__ import annotations

import argparse
import sys
from importlib import resources

HELP = "the whole method on a synthetic world in minutes, with a control and a page"
OVERRIDES = True
ARMS = {"none": "[]", "all": '["fe-sft-grpo", "plain-grpo", "prompted"]'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--world", choices=["atlas", "workbook"], default="atlas", help="which synthetic world"
    )
    parser.add_argument("--seed", help="seed of law, data, noise (default: the config's)")
    parser.add_argument("--fast", action="store_true", help="a smoke: small enough to mean nothing")
    parser.add_argument(
        "--controls",
        choices=["none", "one", "all"],
        default="one",
        help="arms beside the full one: FE-SFT + GRPO (one), also plain SFT + GRPO and the "
        "prompted base (all)",
    )
    parser.add_argument(
        "--replay",
        action="store_true",
        help="show recorded episodes instead: no training, no weights",
    )
    parser.add_argument("--out", help="folder of the run (default: runs/demo-WORLD-SEED)")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs the demo; a folder that holds the same demo is gone on with."""
    if args.replay:
        return _replay(args.world)
    from forethought.cli.run import print_summary
    from forethought.config import load_config
    from forethought.runlog import command_line
    from forethought.stages.context import holds_run
    from forethought.stages.pipeline import run_pipeline

    overrides = dict(args.overrides)
    if args.seed is not None:
        overrides["seed"] = args.seed
    if args.controls != "one":
        overrides["control.arms"] = ARMS[args.controls]
    name = f"demo/{args.world}{'-fast' if args.fast else ''}"
    config = load_config(name, overrides)
    out = args.out if args.out is not None else f"runs/{name.replace('/', '-')}-{config.seed}"
    resume = args.resume or holds_run(out, config)
    summary = run_pipeline(config, out, resume=resume, command=command_line(sys.argv[1:]))
    print_summary(out, summary, as_json=args.json)
    return 0


def _replay(world: str) -> int:
    """Prints the episodes of the package's recording, which says how it was made."""
    from forethought.cli._episode import show
    from forethought.runlog import read_episodes

    found = resources.files("forethought") / "recordings" / world
    with resources.as_file(found) as folder:
        print((folder / "README.md").read_text(encoding="utf-8").strip())
        episodes = read_episodes(folder / "episodes.jsonl")
        for episode in episodes:
            show(episode)
    won = sum(episode.success or 0 for episode in episodes)
    print(f"\nA recording: {won} of {len(episodes)} episodes won. `forethought demo` trains anew.")
    return 0
