"""`forethought sandbox run FILE`: a Python program under the limits that a policy's programs get.

Prints one JSON object: what it wrote, how it ended and which bound, if any, ended it. Exit code 0
says that the call was carried out, whatever the program did.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from forethought.errors import InputError
from forethought.jsonl import dumps

HELP = "Run a Python file under limits and print how it went, as JSON."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("what", choices=["run"])
    parser.add_argument("file", help="a Python program, or - for standard input")
    parser.add_argument("--level", default="limits", help="isolation (default and only: limits)")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds (default 5)")
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the result."""
    from forethought.tools.python import SandboxLimits, check_level, run_python

    check_level(args.level)  # before the file is read: the level is what cannot be mended
    limits = SandboxLimits(timeout_s=args.timeout)
    print(dumps(asdict(run_python(_program(args.file), limits, level=args.level))))
    return 0


def _program(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        got = error.strerror or str(error)
        raise InputError(
            name, got=got, expected="a readable file", next_step="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            name,
            line=data[: error.start].count(b"\n") + 1,
            got=f"byte {data[error.start]:#04x}, which is no UTF-8",
            expected="a Python program in UTF-8",
            next_step="re-encode the file",
        ) from error
