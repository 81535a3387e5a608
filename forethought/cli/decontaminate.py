"""`forethought decontaminate --train A --test B`: test questions among training rows."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from forethought.data.decontaminate import Asked, TestIndex, asked, find_hits
from forethought.errors import InputError
from forethought.jsonl import dumps, no_rows, read_jsonl, write_json, write_jsonl
from forethought.types import JsonRow

HELP = (
    "Find test questions among training rows: one line a hit, exit 1 if there is any. Reads tasks, "
    "trajectories and any JSON lines with question, problem, prompt or messages."
)
Marked = dict[str | int, list[str | int]]
"""Training id -> the test ids that were found in it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "--train", required=True, help="JSON lines, plain or .gz; - = standard input"
    )
    parser.add_argument("--test", required=True, help="JSON lines, plain or .gz; held in memory")
    parser.add_argument(
        "--report",
        nargs="?",
        const="",
        metavar="FILE",
        help="also write counts and ids (default: TRAIN.decontamination.json beside the rows)",
    )
    parser.add_argument(
        "--clean", metavar="FILE", help="also write the training rows without a hit"
    )
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


def run(args: argparse.Namespace) -> int:
    """Prints one line a hit."""
    report = _report_path(args)
    fields: dict[str, Counter[str]] = {"test": Counter(), "train": Counter()}
    test = TestIndex()
    for question, _ in _questions(args.test):
        fields["test"][question.field] += 1
        test.add(question)
    if not test.known:
        raise no_rows(args.test, "test question")
    whys: Counter[str] = Counter()
    marked: Marked | None = None if report is None else {}
    clean = _checked(args.train, test, fields["train"], whys, marked)
    kept = sum(1 for _ in clean) if args.clean is None else write_jsonl(Path(args.clean), clean)
    rows = fields["train"].total()
    if rows == 0:
        raise no_rows(args.train, "training question")
    for side, counts in fields.items():
        named = ", ".join(f"{name} ({number} rows)" for name, number in counts.items())
        _say(f"{side}: the question is in {named}")
    _say(f"{whys.total()} hits in {rows - kept} of {rows} training rows")
    if report is not None:
        write_json(
            report,
            {
                "train": {"file": args.train, "rows": rows, "fields": dict(fields["train"])},
                "test": {
                    "file": args.test,
                    "rows": len(test.known),
                    "fields": dict(fields["test"]),
                },
                "hits": {"question": whys["question"], "13gram": whys["13gram"]},
                "rows_hit": rows - kept,
                "train_ids": marked,
            },
        )
    return 1 if whys else 0


def _checked(
    path: str,
    test: TestIndex,
    fields: Counter[str],
    whys: Counter[str],
    marked: Marked | None,
) -> Iterator[JsonRow]:
    """Prints and counts the hits of each row; yields the rows without one."""
    for row, hits in find_hits(_questions(path), test, fields):
        for hit in hits:
            print(dumps(asdict(hit)))
            whys[hit.why] += 1
            if marked is not None:
                marked.setdefault(hit.train_id, []).append(hit.test_id)
        if not hits:
            yield row


def _questions(path: str) -> Iterator[tuple[Asked, JsonRow]]:
    where = "<stdin>" if path == "-" else path
    for line, row in read_jsonl(path):
        yield asked(row, where, line), row


def _report_path(args: argparse.Namespace) -> Path | None:
    if args.report is None:
        return None
    if args.report:
        return Path(args.report)
    if args.train == "-":
        raise InputError(
            "--report",
            got="no file, with rows from standard input",
            expected="a name for the report",
            next_step="write --report FILE",
        )
    return Path(f"{args.train}.decontamination.json")


def _say(message: str) -> None:
    print(message, file=sys.stderr)
