"""`forethought decontaminate --train A --test B`: test questions among training rows."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from forethought.data.decontaminate import FINDINGS, Asked, Hit, TestIndex, asked
from forethought.errors import InputError
from forethought.jsonl import dumps, no_rows, read_jsonl, write_json, write_jsonl
from forethought.types import JsonRow

HELP = (
    "Find test questions among training rows: one line a hit, exit 1 if there is any. Reads tasks, "
    "trajectories and any JSON lines with question, problem, prompt or messages."
)
SCHEMA = "forethought.decontamination/1"
Questions = Iterable[tuple[Asked, JsonRow]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "--train", required=True, help="JSON lines, plain or .gz, read twice; - = standard input"
    )
    parser.add_argument(
        "--test",
        required=True,
        action="append",
        metavar="FILE",
        help="JSON lines, plain or .gz; held in memory (repeatable)",
    )
    parser.add_argument(
        "--report",
        nargs="?",
        const="",
        metavar="FILE",
        help="also write counts by test set, and every hit with its texts (default: "
        "TRAIN.decontamination.json beside the rows)",
    )
    parser.add_argument(
        "--clean", metavar="FILE", help="also write the training rows without a hit"
    )
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


@dataclass(slots=True, kw_only=True)
class _TestSet:
    """One file of test questions, and what was found of it."""

    file: str
    index: TestIndex = field(default_factory=TestIndex)
    fields: Counter[str] = field(default_factory=Counter)
    whys: Counter[str] = field(default_factory=Counter)
    train_rows: int = 0
    found: set[str | int] = field(default_factory=set)  # ids of test questions

    def account(self) -> JsonRow:
        """The counts of this set in the report."""
        return {
            "file": self.file,
            "rows": len(self.index.known),
            "fields": dict(self.fields),
            "hits": {why: self.whys[why] for why in FINDINGS},
            "train_rows_hit": self.train_rows,
            "test_rows_hit": len(self.found),
        }


def run(args: argparse.Namespace) -> int:
    """Prints one line a hit."""
    report = _report_path(args)
    tests = [_read_tests(file) for file in args.test]
    train = _Train(args.train)
    for question, _ in train.questions():
        for test in tests:
            test.index.learn(question)
    fields: Counter[str] = Counter()
    told: list[JsonRow] | None = None if report is None else []  # every hit
    clean = _checked(train.questions(), tests, fields, told)
    kept = sum(1 for _ in clean) if args.clean is None else write_jsonl(Path(args.clean), clean)
    rows = fields.total()
    if rows == 0:
        raise no_rows(args.train, "training question")
    for side, counts in (*((test.file, test.fields) for test in tests), (args.train, fields)):
        named = ", ".join(f"{name} ({number} rows)" for name, number in counts.items())
        _say(f"{side}: the question is in {named}")
    for test in tests:
        _say(
            f"{test.file}: {test.whys.total()} hits, {len(test.found)} of {len(test.index.known)} "
            f"test questions in {test.train_rows} training rows"
        )
    whys = sum((test.whys for test in tests), Counter[str]())
    _say(f"{whys.total()} hits in {rows - kept} of {rows} training rows")
    if report is not None:
        marked: dict[str, list[str | int]] = {}
        for hit in told or ():
            marked.setdefault(str(hit["train_id"]), []).append(hit["test_id"])
        write_json(
            report,
            {
                "schema": SCHEMA,
                "train": {"file": args.train, "rows": rows, "fields": dict(fields)},
                "tests": [test.account() for test in tests],
                "hits": {why: whys[why] for why in FINDINGS},
                "rows_hit": rows - kept,
                "train_ids": marked,
                "rows": told,
            },
        )
    return 1 if whys else 0


def _read_tests(file: str) -> _TestSet:
    test = _TestSet(file=file)
    for question, _ in _questions(file, read_jsonl(file)):
        test.fields[question.field] += 1
        test.index.add(question)
    if not test.index.known:
        raise no_rows(file, "test question")
    return test


def _checked(
    train: Questions, tests: list[_TestSet], fields: Counter[str], told: list[JsonRow] | None
) -> Iterator[JsonRow]:
    """Prints and counts the hits of each row; yields the rows without one."""
    for question, row in train:
        fields[question.field] += 1
        is_clean = True
        for test in tests:
            hits = list(test.index.hits(question))
            test.train_rows += bool(hits)
            is_clean = is_clean and not hits
            for hit in hits:
                test.whys[hit.why] += 1
                test.found.add(hit.test_id)
                print(dumps(_line(hit)))
                if told is not None:
                    told.append(
                        _line(hit)
                        | {"test": test.file, "shared": round(hit.shared, 3)}
                        | {"train_text": question.text, "test_text": hit.test_text}
                    )
        if is_clean:
            yield row


def _line(hit: Hit) -> JsonRow:
    return {"train_id": hit.train_id, "test_id": hit.test_id, "why": hit.why}


class _Train:
    """The training side, which passes twice; standard input is held in memory for that."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._held = list(read_jsonl(path)) if path == "-" else None

    def questions(self) -> Questions:
        return _questions(self._path, read_jsonl(self._path) if self._held is None else self._held)


def _questions(path: str, rows: Iterable[tuple[int, JsonRow]]) -> Iterator[tuple[Asked, JsonRow]]:
    where = "<stdin>" if path == "-" else path
    for line, row in rows:
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
