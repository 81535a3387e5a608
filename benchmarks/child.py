"""Processes that are measured from outside, and sides that take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended well."""

    cpu: float  # user and system seconds of it and of all below it that was waited for
    out: str  # what it printed


def run_child(
    command: Sequence[str], *, root: Path = ROOT, env: Mapping[str, str] | None = None
) -> Ended:
    """Runs a command that finds the package of the checkout `root`.

    Raises:
        SystemExit: it failed.
    """
    whole = {**os.environ, "PYTHONPATH": str(root), **(env or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=whole, text=True) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode} of: {' '.join(command)}")
    return Ended(cpu=usage.ru_utime + usage.ru_stime, out=out)


def answer_of(script: str, words: Sequence[str]) -> Any:
    """What a script of this folder prints as JSON on its last line, run as a process of its own."""
    done = run_child([sys.executable, script, *words])
    return json.loads(done.out.splitlines()[-1])


def take_turns(num: int, calls: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """All calls `num` times, in turns, every second round backwards: a busy hour is shared."""
    found: dict[str, list[T]] = {name: [] for name in calls}
    for number in range(num):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            found[name].append(calls[name]())
    return found
