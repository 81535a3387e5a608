"""`forethought parse`: the text of turns to foresight block, thought and action."""

from __future__ import annotations

import argparse

from forethought.foresight.block import STYLES, parse
from forethought.jsonl import dumps, need, read_jsonl
from forethought.types import JsonRow, ParsedTurn

HELP = "Read turns strictly: block, thought, action, and what is wrong with them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "file", nargs="?", default="-", help='JSON lines {"id","text"}; - = standard input'
    )
    parser.add_argument("--format", choices=STYLES, default="search", help="style of the text")
    parser.add_argument("--plain", action="store_true", help="no block is expected")
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


def run(args: argparse.Namespace) -> int:
    """Prints one row for each row read."""
    where = "<stdin>" if args.file == "-" else args.file
    for line, row in read_jsonl(args.file):
        name = need(row, "id", (str, int), where, line)
        text = need(row, "text", str, where, line)
        parsed = parse(text, style=args.format, expect_foresight=not args.plain)
        print(dumps({"id": name} | as_row(parsed)))
    return 0


def as_row(parsed: ParsedTurn) -> JsonRow:
    """The fields of a parsed turn as they are printed."""
    block, action = parsed.foresight, parsed.action
    return {
        "foresight": None
        if block is None
        else {
            "roadmap": block.roadmap,
            "keywords": list(block.keywords),
            "analysis": block.analysis,
            "q": block.q,
            "q_text": block.q_text,
        },
        "think": parsed.think,
        "action": None if action is None else {"kind": action.kind, "text": action.text},
        "problems": list(parsed.problems),
    }
