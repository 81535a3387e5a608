"""`forethought sandbox run FILE`: a Python program in the sandbox that a policy's programs get.

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

HELP = "Run a Python file in a sandbox and print how it went, as JSON."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("what", choices=["run"])
    parser.add_argument("file", help="a Python program, or - for standard input")
    parser.add_argument(
        "--level",
        default="auto",
        help="bwrap, landlock, limits or package.module:Name (default: the strongest that works)",
    )
    parser.add_argument("--timeout", type=not_negative, default=5.0, help="seconds (default 5)")
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the result."""
    from forethought.tools.sandbox import SandboxLimits, open_sandbox

    place = open_sandbox(args.level)  # before the file is read: the level cannot be mended
    limits = SandboxLimits(timeout_s=args.timeout)
    print(dumps(asdict(place.run(_program(args.file), limits))))
    return 0


def _program(name: str) -> str:
    expected = "a Python program"
    if name != "-":
        return read_text(name, expected)
    return decoded(sys.stdin.buffer.read(), "<stdin>", expected)
