"""`forethought credit`: advantages of every span, from the episodes of a file.

Reads `episodes.jsonl` rows and prints one line an episode, in the same order:
`{"task_id","rollout","turns":[{"plan","confidence","act"}]}`; null = the turn has no such span.
The profiles are those that stage 3 trains with (docs/method.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from forethought.algos.credit import ABLATIONS, CreditConfig, DocumentFrequency, credit_episodes
from forethought.cli._args import finite
from forethought.jsonl import dumps, need, read_jsonl
from forethought.runlog import episode_from_row
from forethought.types import JsonRow, TurnCredit

HELP = "advantages of the plan, confidence and action of every turn, from episodes.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    defaults = CreditConfig()
    parser.add_argument("file", nargs="?", default="-", help="episodes.jsonl, or - (default)")
    parser.add_argument(
        "--profile", default="causal", choices=["paper", "paper-mean", "causal", "grpo", "gigpo"]
    )
    parser.add_argument(
        "--omega",
        type=finite,
        default=defaults.omega,
        help="paper, gigpo: weight of A_S (%(default)s)",
    )
    parser.add_argument(
        "--gamma", type=finite, default=defaults.gamma, help="gigpo: discount (%(default)s)"
    )
    parser.add_argument(
        "--anchor-similarity",
        type=finite,
        default=defaults.anchor_similarity,
        help="gigpo: how alike two states must be to be one (%(default)s = equal)",
    )
    parser.add_argument("--c-g", type=finite, default=defaults.c_g, help="causal: grounding bonus")
    parser.add_argument("--c-q", type=finite, default=defaults.c_q, help="causal: confidence score")
    parser.add_argument("--corpus", help="corpus.jsonl, for the IDF weights of --ablate idf")
    for name in ("r-calib", "r-ground"):
        parser.add_argument(
            f"--{name}", type=finite, default=1.0, help="paper: weight in the block's reward (1)"
        )
    parser.add_argument("--matcher", default="fraction", choices=["fraction", "all", "any"])
    parser.add_argument("--future", default="observations", choices=["observations", "all"])
    parser.add_argument(
        "--normaliser", default="default", choices=["default", "zscore", "centre", "leave_one_out"]
    )
    parser.add_argument(
        "--void-turns",
        default="null",
        choices=["null", "train"],
        help="turns without an action: null (default), or credited as others, as stage 3 does",
    )
    parser.add_argument(
        "--ablate", action="append", default=[], choices=list(ABLATIONS), help="may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


def run(args: argparse.Namespace) -> int:
    """Prints one JSON line an episode."""
    config = CreditConfig(
        profile=args.profile,
        omega=args.omega,
        gamma=args.gamma,
        anchor_similarity=args.anchor_similarity,
        c_g=args.c_g,
        c_q=args.c_q,
        r_calib=args.r_calib,
        r_ground=args.r_ground,
        matcher=args.matcher,
        future=args.future,
        normaliser=args.normaliser,
        void_turns=args.void_turns,
        ablations=tuple(dict.fromkeys(args.ablate)),
    )
    where = "<stdin>" if args.file == "-" else args.file
    episodes = [episode_from_row(row, where, line) for line, row in read_jsonl(args.file)]
    # Read even where it has no effect: a file that is not there is a mistake in any case.
    given = None if args.corpus is None else DocumentFrequency.of(_documents(args.corpus))
    frequency = given if "idf" in config.ablations else None
    if given is not frequency:
        print("forethought credit: --corpus has no effect without --ablate idf", file=sys.stderr)
    credits = credit_episodes(episodes, config, document_frequency=frequency)
    for episode, turns in zip(episodes, credits, strict=True):
        head = {"task_id": episode.task_id, "rollout": episode.rollout}
        print(dumps({**head, "turns": [_row(turn) for turn in turns]}))
    return 0


def _row(credit: TurnCredit) -> JsonRow:
    return {"plan": credit.plan, "confidence": credit.confidence, "act": credit.act}


def _documents(path: str) -> Iterator[str]:
    for line, row in read_jsonl(path):
        title = row.get("title")
        text: str = need(row, "text", str, path, line)
        yield f"{title} {text}" if isinstance(title, str) else text
