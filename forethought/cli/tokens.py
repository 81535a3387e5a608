"""`forethought tokens RUN --episode ID`: one line a token, with its span and its weights.

An episode of an evaluation is rebuilt from its texts, so the line shows how the trainer would see
it: which tokens carry cross-entropy in stage 2 and which an advantage in stage 3.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "the tokens of one episode with span, weights and log-probabilities"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("--episode", required=True, help="task id, or task id/rollout")
    parser.add_argument("--eval", default="rl", help="which evaluation (default: rl)")
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


def run(args: argparse.Namespace) -> int:
    """Prints the tokens as JSON lines."""
    from forethought.evals.tokens import token_rows

    for row in token_rows(Path(args.run), args.eval, args.episode):
        print(json.dumps(row, ensure_ascii=False))
    return 0
