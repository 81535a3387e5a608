"""Processes that are measured from outside, and sides that take turns."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended well."""

    cpu: float  # user and system seconds of it and of all below it that was waited for
    out: str  # what it printed


def run_child(command: Sequence[str], *, root: Path = ROOT) -> Ended:
    """Runs a command in a checkout, so that Python finds the package of that one.

    Raises:
        SystemExit: it failed.
    """
    env = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode} of: {' '.join(command)}")
    return Ended(cpu=usage.ru_utime + usage.ru_stime, out=out)


def take_turns(num: int, calls: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """All calls `num` times, in turns, every second round backwards: a busy hour is shared."""
    found: dict[str, list[T]] = {name: [] for name in calls}
    for number in range(num):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            found[name].append(calls[name]())
    return found
