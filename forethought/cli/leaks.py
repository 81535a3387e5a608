"""`forethought leaks`: does a block tell what it cannot know?"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from forethought.cli._args import finite
from forethought.cli.grade import answers_of
from forethought.errors import InputError
from forethought.files import read_text
from forethought.hindsight.leaks import check
from forethought.jsonl import dumps, need, read_jsonl
from forethought.runlog_rows import block_of_row

HELP = "Filter blocks that name, copy or speak of a future they should not have seen."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        help='JSON lines {"id","state","future","answers","block"}; - = standard input',
    )
    parser.add_argument(
        "--entities", metavar="FILE", help="names, one a line, for texts without capitals"
    )
    parser.add_argument(
        "--model", help="a model folder or name: adds the likelihood filter (imports torch)"
    )
    parser.add_argument(
        "--max-gain",
        type=finite,
        default=1.0,
        help="nats that a block may add to the answer's log-probability (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


def run(args: argparse.Namespace) -> int:
    """Prints one verdict for each row read."""
    where = "<stdin>" if args.file == "-" else args.file
    names = _names(args.entities) if args.entities else None
    score = _scorer(args.model) if args.model else None
    for line, row in read_jsonl(args.file):
        name = need(row, "id", (str, int), where, line)
        state = need(row, "state", str, where, line)
        future = _texts(need(row, "future", list, where, line), "future", where, line)
        answers = answers_of(row, where, line)
        block = block_of_row(need(row, "block", dict, where, line), where, line)
        reasons = check(state, future, answers, block, entities=names).reasons
        printed: dict[str, Any] = {"id": name}
        if score is not None:
            from forethought.hindsight.likelihood import CODE, gain

            printed["gain"] = gain(state, block, answers[0], score)
            reasons += (CODE,) if printed["gain"] > args.max_gain else ()
        printed = {"id": name, "accepted": not reasons, "reasons": list(reasons)} | printed
        print(dumps(printed))
    return 0


def _texts(values: list[Any], field: str, where: str, line: int) -> list[str]:
    if all(isinstance(value, str) for value in values):
        return values
    raise InputError(
        where,
        line=line,
        got=f"{field} = {values!r}"[:80],
        expected="a list of texts",
        next_step="correct the field",
    )


def _names(path: str) -> list[str]:
    lines = read_text(path, "a text file, one name a line").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _scorer(model: str) -> Callable[[str, str], float]:
    from forethought.hindsight.likelihood import load_scorer

    return load_scorer(model)
