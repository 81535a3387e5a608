"""Many short programs in one limited process: for tools whose programs we write ourselves.

`run_python` starts an interpreter for each program, about 60 ms; a synthetic world makes tens of
thousands of calls. Here one interpreter under the same limits executes program after program, each
in a namespace of its own. It is restarted after a bounded number of programs, when one takes too
long, and when it has died. Programs share a process, so this is no place for code that a policy
wrote freely.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import tempfile
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forethought.tools.python import SandboxLimits, Watch, check_level, start_program

_RESTART_AFTER = 2000  # programs; bounds what they can leave behind, and CPU time

_WORKER = Path(__file__).with_name("session_worker.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """What a program printed, and the last line of its error; "" where it had none."""

    stdout: str
    error: str


class _Worker:
    """One live interpreter."""

    def __init__(self, limits: SandboxLimits) -> None:
        self.made = 0
        self._folder = tempfile.TemporaryDirectory(prefix="session-", ignore_cleanup_errors=True)
        work = Path(self._folder.name, "work")
        work.mkdir()
        os.mkfifo(work / "requests")
        status_read, status_write = os.pipe()
        try:
            process = start_program(_WORKER, work, status_write, limits)
        finally:
            os.close(status_write)
        self._watch = Watch(process, status_read, limits, frozenset())
        assert process.stdout is not None
        self._replies = process.stdout.fileno()
        # For reading, too: opening it does not wait for the worker, nor fail without one.
        self._requests = os.open(work / "requests", os.O_RDWR)
        self.close = weakref.finalize(self, _end, self._watch, self._requests, self._folder.cleanup)

    def run(self, source: str, timeout_s: float) -> SessionResult | None:
        """The result, or None where none came in time or the worker is gone."""
        self.made += 1
        os.write(self._requests, (json.dumps(source) + "\n").encode())
        reply, deadline = b"", time.monotonic() + timeout_s
        while not reply.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._replies], [], [], left)[0]:
                return None
            try:
                data = os.read(self._replies, 65536)
            except BlockingIOError:
                continue
            if not data:
                return None
            reply += data
        told: dict[str, Any] = json.loads(reply)
        return SessionResult(stdout=told["stdout"], error=told["error"])


def _end(watch: Watch, requests: int, clean: Any) -> None:
    with contextlib.suppress(OSError):
        os.close(requests)
    watch.kill_all()
    clean()


class PythonSession:
    """Runs programs one after another; safe to share between threads."""

    def __init__(self, limits: SandboxLimits | None = None, *, level: str = "limits") -> None:
        """Starts nothing yet.

        Raises:
            InputError: no such level.
            MissingError: the level is not available here.
        """
        check_level(level)
        self._limits = limits or SandboxLimits()
        self._worker: _Worker | None = None
        self._lock = threading.Lock()

    def run(self, source: str) -> SessionResult:
        """What a program prints; an error "stopped" where it took too long or died."""
        with self._lock:
            if self._worker is not None and self._worker.made >= _RESTART_AFTER:
                self._drop()
            if self._worker is None:
                self._worker = _Worker(self._limits)
            result = self._worker.run(source, self._limits.timeout_s)
            if result is None:
                self._drop()
                return SessionResult(stdout="", error="stopped")
            return result

    def close(self) -> None:
        """Ends the interpreter; the next program starts another."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


@functools.cache
def shared_session() -> PythonSession:
    """The session of this process, with the default limits."""
    return PythonSession()
