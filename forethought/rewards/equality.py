"""Whether two expressions are equal, asked of math-verify in processes of their own.

The library's time limit is an alarm, which works in the main thread only, and one expression can
keep it busy for hours or take all memory. So it runs behind a socket, under limits that the kernel
enforces, and the verdict is the same from a thread, a child process and an event loop. Processes
are started anew, never forked: the caller may have threads. Before one judges, it must tell a pair
that is equal from one that is not.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forethought.errors import MissingError
from forethought.jsonl import dumps

Pairs = tuple[tuple[str, str], ...]
"""(answer, accepted answer), both as LaTeX in dollars."""

_TRIES = 3  # of a question whose process ends for another reason than its limits
_WORKER = Path(__file__).with_name("equality_worker.py")
_KNOWN = (
    ((("$\\frac{1}{3}$", "$0.33$"), ("$(1,2)$", "$(2,1)$")), False),
    ((("$\\frac{x^2-1}{x-1}$", "$x+1$"),), True),
)
"""What every process is asked first, and what it must say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one question."""

    cpu_s: float = 2.5  # of the process; what counts, because it does not depend on other load
    wall_s: float = 3.0  # until the process is killed all the same
    start_s: float = 120.0  # until a new process must be ready
    memory_mb: int = 1024  # address space


class _Process:
    """One live interpreter; not shared between threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.is_ready = False
        ours, theirs = socket.socketpair()
        arguments = [str(_WORKER), str(limits.cpu_s), str(limits.memory_mb)]
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-P", *arguments],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # One order of sets and dictionaries in all processes.
                env={**os.environ, "PYTHONHASHSEED": "0"},
                start_new_session=True,  # an interrupt at the keyboard is not meant for it
            )
        self._line, self._child = ours, child
        self.end = weakref.finalize(self, _end, child, ours, os.getpid())

    def check(self) -> None:
        """Waits until the process is there and has passed the known pairs.

        Raises:
            MissingError: it does not start, or math-verify is absent or does not judge.
        """
        why = self._why_not()
        if why:
            self.end()
            raise MissingError(
                f"math-verify in a process of its own, which judges mathematics ({why})",
                next_step="reinstall math-verify; `forethought check` looks at it",
            )
        self.is_ready = True

    def _why_not(self) -> str:
        """Why the process cannot judge; "" if it can."""
        wall_s = self._limits.start_s
        try:
            told = self._reply(wall_s)
            if told is None or "error" in told:
                return "it did not start" if told is None else str(told["error"])
            for pairs, expected in _KNOWN:
                said = self.ask(pairs, wall_s)
                if said is not expected:
                    return f"it says {said} of {pairs}, which is {expected}"
        except OSError as error:
            return str(error)
        return ""

    def ask(self, pairs: Pairs, wall_s: float) -> bool | None:
        """Whether any pair is equal; None: it did not come to an end within its limits.

        Raises:
            ConnectionError: the process was gone, or ended for another reason than its limits.
        """
        self._line.settimeout(wall_s)
        self._line.sendall(dumps({"pairs": pairs}).encode() + b"\n")
        try:
            told = self._reply(wall_s)
        except ConnectionError:
            if self._ended_by() == signal.SIGPROF:
                return None
            raise
        equal: bool | None = None if told is None else told["equal"]
        return equal

    def _ended_by(self) -> int:
        """The signal that ended the process behind a closed line; 0: none."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # it takes its time to end by itself
            return -self._child.wait(timeout=0.5)
        return 0

    def _reply(self, wall_s: float) -> dict[str, Any] | None:
        text, deadline = b"", time.monotonic() + wall_s
        while not text.endswith(b"\n"):
            self._line.settimeout(max(1e-3, deadline - time.monotonic()))
            try:
                data = self._line.recv(65536)
            except TimeoutError:
                return None
            if not data:
                raise ConnectionResetError("the process is gone")
            text += data
        return dict(json.loads(text))


def _end(child: subprocess.Popen[bytes], line: socket.socket, owner: int) -> None:
    line.close()
    if os.getpid() == owner:  # and not in a fork of the process that started it
        child.kill()
        child.wait()


class Comparer:
    """A few processes that compare expressions; safe to share between threads."""

    def __init__(self, limits: Limits | None = None, *, size: int = 4) -> None:
        """Starts nothing yet; at most `size` processes at a time."""
        self._limits = limits or Limits()
        self._places = threading.BoundedSemaphore(size)
        self._idle: deque[_Process] = deque()

    def any_equal(self, pairs: Pairs) -> bool | None:
        """Whether any of the pairs is equal; None: no verdict within the limits.

        Raises:
            MissingError: math-verify cannot be asked.
        """
        with self._places:
            said: bool | None = None
            for _ in range(_TRIES):
                process = self._ready()
                try:
                    said = process.ask(pairs, self._limits.wall_s)
                except ConnectionError:  # something else ended it, or it ends itself at this
                    process.end()
                    continue
                if said is None:
                    process.end()
                    process = _Process(self._limits)  # it loads while the caller goes on
                self._idle.append(process)
                break
            return said

    def start(self) -> None:
        """Makes sure that there is a process that passes the known pairs.

        Raises:
            MissingError: there is none.
        """
        with self._places:
            self._idle.append(self._ready())

    def close(self) -> None:
        """Ends the idle processes; the next question starts others."""
        while self._idle:
            self._idle.pop().end()

    def _ready(self) -> _Process:
        try:
            process = self._idle.pop()
        except IndexError:
            process = _Process(self._limits)
        if not process.is_ready:
            process.check()
        return process


@functools.cache
def _comparer_of(process_id: int) -> Comparer:
    return Comparer()


def comparer() -> Comparer:
    """The one of this process: a fork must not talk into the lines of its parent."""
    return _comparer_of(os.getpid())


@functools.lru_cache(maxsize=16384)
def any_equal(pairs: Pairs) -> bool | None:
    """`Comparer.any_equal` of this process, remembered by content."""
    return comparer().any_equal(pairs)
