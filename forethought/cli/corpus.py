"""`forethought corpus RUN --stage S --out DIR`: what a stage trains on, as numbered files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from forethought.cli._args import positive

HELP = "the training corpus of stage 1 or 2 as files, with control corpora; docs/corpus.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", help="folder of a run that has been through `prepare`")
    parser.add_argument("--stage", required=True, choices=["midtrain", "sft"])
    parser.add_argument("--out", required=True, help="folder for the shards and corpus.json")
    parser.add_argument(
        "--rows",
        choices=["episodes", "turns"],
        default="episodes",
        help="one sequence an episode (default), or one a turn behind its history",
    )
    parser.add_argument(
        "--format",
        choices=["sequences", "trl"],
        default="sequences",
        help="what our trainer takes (default), or columns for TRL's SFTTrainer",
    )
    parser.add_argument(
        "--twins",
        action="store_true",
        help="also the controls, each in a folder: plain, recap, shuffled, constant",
    )
    parser.add_argument(
        "--shard-size", type=positive, default=1000, help="trajectories a shard (default 1000)"
    )
    parser.add_argument("--workers", type=positive, default=1, help="processes (default 1)")
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="counts of another student, such as RUN/sft/labels.jsonl, which a run with "
        "sft.relabel trains stage 2 on (default: the labels of stage 0)",
    )
    parser.add_argument("--tokenizer", help="model whose tokenizer encodes (default: the run's)")
    parser.add_argument("--resume", action="store_true", help="go on with a build that was stopped")
    parser.add_argument("--json", action="store_true", help="print corpus.json")


def run(args: argparse.Namespace) -> int:
    """Builds the corpus and prints one line a set."""
    from forethought.files import make_folder
    from forethought.stages.corpus import CorpusPlan, build_corpus

    plan = CorpusPlan.of_run(
        args.run,
        stage=args.stage,
        out=make_folder(args.out, "--out"),
        rows=args.rows,
        form=args.format,
        twins=args.twins,
        shard_size=args.shard_size,
        tokenizer=args.tokenizer,
        labels=None if args.labels is None else Path(args.labels),
    )
    made = build_corpus(plan, workers=args.workers, resume=args.resume)
    if args.json:
        print(json.dumps(made))
        return 0
    names = ("sequences", "forwarded", "trained", "block", "passes: trained", "block tokens")
    print(f"{'':<9}", *(f"{name:>15}" for name in names))
    for name, found in made["sets"].items():
        passes = [found["passes"][count] for count in ("trained_tokens", "block_tokens")]
        cells = [
            found["sequences"],
            found[f"forwarded_as_{args.rows}"],
            found["trained_tokens"],
            found["block_tokens"],
            *("-" if each is None else each for each in passes),
        ]
        print(f"{name:<9}", *(f"{cell:>15}" for cell in cells))
    return 0
