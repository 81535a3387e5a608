"""`forethought view RUN`: ten sampled episodes of an evaluation, turn by turn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from forethought.cli._args import positive

HELP = "ten sampled episodes of an evaluation, turn by turn"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", help="folder of a run, or of one evaluation")
    parser.add_argument("--eval", default="rl", help="which evaluation of the run (default: rl)")
    parser.add_argument("--num", type=positive, default=10, help="how many episodes (default 10)")
    parser.add_argument("--json", action="store_true", help="print the episodes as one JSON list")


def run(args: argparse.Namespace) -> int:
    """Prints evenly spaced episodes."""
    from forethought.cli._episode import evenly, show
    from forethought.runlog import RunPaths, episode_to_row, read_episodes

    folder = Path(args.run)
    if not (folder / "episodes.jsonl").is_file():
        folder = RunPaths(folder).eval_dir(args.eval)
    shown = evenly(read_episodes(folder / "episodes.jsonl"), args.num)
    if args.json:
        print(json.dumps([episode_to_row(episode) for episode in shown]))
        return 0
    for episode in shown:
        show(episode)
    return 0
