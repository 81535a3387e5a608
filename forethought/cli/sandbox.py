"""`forethought sandbox run FILE`: a Python program under the limits that a policy's programs get.

Prints one JSON object: what it wrote, how it ended and which bound, if any, ended it. Exit code 0
says that the call was carried out, whatever the program did.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from forethought.cli._args import not_negative
from forethought.files import decoded, read_text
from forethought.jsonl import dumps

HELP = "Run a Python file under limits and print how it went, as JSON."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("what", choices=["run"])
    parser.add_argument("file", help="a Python program, or - for standard input")
    parser.add_argument("--level", default="limits", help="isolation (default and only: limits)")
    parser.add_argument("--timeout", type=not_negative, default=5.0, help="seconds (default 5)")
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the result."""
    from forethought.tools.python import SandboxLimits, check_level, run_python

    check_level(args.level)  # before the file is read: the level is what cannot be mended
    limits = SandboxLimits(timeout_s=args.timeout)
    print(dumps(asdict(run_python(_program(args.file), limits, level=args.level))))
    return 0


def _program(name: str) -> str:
    expected = "a Python program"
    if name != "-":
        return read_text(name, expected)
    return decoded(sys.stdin.buffer.read(), "<stdin>", expected)
