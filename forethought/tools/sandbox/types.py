"""What a sandbox takes and gives: bounds, results, and the interface that every sandbox has.

A container or a remote machine fits behind `Sandbox`: a class with `level`, `run` and `session`,
named in a configuration as `package.module:Name`. Nothing that a program made is ever unpickled or
evaluated on this side; what comes back is text, numbers and one of five verdicts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from forethought.errors import InputError

Killed = Literal["time", "memory", "output", "processes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """Bounds of one call. In a session those of memory, processes and disk hold for all of it."""

    timeout_s: float = 5.0  # wall clock
    memory_mb: int = 512  # MiB of address space a process, and of resident memory of all together
    output_bytes: int = 65536  # of standard output, and as much of standard error
    processes: int = 16  # alive at the same time, the program itself included
    file_mb: int = 8  # MiB, size of any file it writes
    disk_mb: int = 64  # MiB, all files together
    packages: bool = False  # False: standard library only; True: installed packages as well

    def __post_init__(self) -> None:
        """Refuses bounds that cannot be meant.

        Raises:
            InputError: a bound is not positive, or leaves no room for an interpreter.
        """
        counts = (self.output_bytes, self.processes, self.file_mb, self.disk_mb)
        bad = ""
        if not (math.isfinite(self.timeout_s) and 0 < self.timeout_s <= 3600):
            bad = f"timeout_s = {self.timeout_s}"
        elif self.memory_mb < 64:
            bad = f"memory_mb = {self.memory_mb}"
        elif min(counts) < 1:
            bad = f"output_bytes, processes, file_mb, disk_mb = {counts}"
        if bad:
            raise InputError(
                "sandbox limits",
                got=bad,
                expected="0 < timeout_s <= 3600, memory_mb >= 64, all others >= 1",
                next_step="correct the limit",
            )

    @property
    def tasks(self) -> int:
        """Threads of all processes together; above it a program has too many processes."""
        return 8 * self.processes


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult:
    """What one call came to."""

    stdout: str  # cut at the bound
    stderr: str  # cut at the bound
    exit: int  # exit code; -n = ended by signal n
    killed: Killed | None  # the bound that ended the program; None = it ended by itself
    level: str  # what really ran it
    wall_s: float  # recorded only; nothing decides by it


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One check of a self-test."""

    what: str
    held: bool
    text: str


class SandboxSession(Protocol):
    """Programs one after another; names of one are there for the next, and for nobody else."""

    @property
    def alive(self) -> bool:
        """Whether what earlier programs left is there for the next one."""

    def run(self, code: str) -> SandboxResult:
        """Runs one program; one that is stopped, or leaves, takes with it what was kept."""

    def close(self) -> None:
        """Ends everything that the programs started; the next `run` begins with nothing."""


class Sandbox(Protocol):
    """A place where a program that nobody trusts may run."""

    @property
    def level(self) -> str:
        """What `SandboxResult.level` will say."""

    def run(self, code: str, limits: SandboxLimits) -> SandboxResult:
        """Runs a program with nothing from before; returns when all that it started is gone."""

    def session(self, limits: SandboxLimits) -> SandboxSession:
        """A new session; starts nothing yet."""


def last_line(text: str) -> str:
    """The last line that is not blank, "" if there is none: of a traceback, what went wrong."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
