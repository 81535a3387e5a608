"""`forethought grade`: predictions against accepted answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from forethought.errors import InputError
from forethought.jsonl import dumps, need, read_jsonl
from forethought.rewards.grading import KINDS, Verdict, grade
from forethought.types import JsonRow

HELP = "Judge predictions; exit 1 if a row says what it expects and the verdict differs."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        help='JSON lines {"id","prediction","answers","expected"?}; - = standard input',
    )
    parser.add_argument("--kind", choices=KINDS, required=True, help="which grader")
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


def run(args: argparse.Namespace) -> int:
    """Prints one verdict for each row read."""
    where = "<stdin>" if args.file == "-" else args.file
    differing: list[str] = []
    for line, row in read_jsonl(args.file):
        name = need(row, "id", (str, int), where, line)
        prediction = need(row, "prediction", (str, type(None)), where, line)
        verdict = grade(args.kind, prediction, answers_of(row, where, line))
        print(dumps({"id": name} | as_row(verdict)))
        if "expected" in row and need(row, "expected", bool, where, line) != verdict.correct:
            differing.append(str(name))
    if differing:
        shown = ", ".join(differing[:10]) + (" ..." if len(differing) > 10 else "")
        print(f"{len(differing)} verdicts differ from `expected`: {shown}", file=sys.stderr)
    return 1 if differing else 0


def answers_of(row: Mapping[str, Any], where: str, line: int) -> list[str]:
    """The accepted answers of a row: at least one text.

    Raises:
        InputError: the field is absent, empty, or holds something else.
    """
    answers: list[Any] = need(row, "answers", list, where, line)
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise InputError(
            where,
            line=line,
            got=f"answers = {answers!r}"[:80],
            expected="a list of at least one text",
            next_step="correct the field",
        )
    return answers


def as_row(verdict: Verdict) -> JsonRow:
    """The fields of a verdict as they are printed."""
    row: JsonRow = {
        "correct": verdict.correct,
        "extracted": verdict.extracted,
        "method": verdict.method,
    }
    return row if verdict.f1 is None else row | {"f1": verdict.f1}
