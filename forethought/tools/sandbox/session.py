"""Programs one after another in one sandboxed process.

With `keep`, names and modules of one program are there for the next: a session of one episode.
Without it each program has a namespace of its own, but shares the process: for programs that we
write ourselves, tens of thousands of which a synthetic world makes.

Requests and replies are numbered lines of bytes. A program shares the process with what answers, so
that it can forge a reply, close its streams or leave: it spoils its own result with that, and the
session ends where a reply makes no sense.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

from forethought.tools.sandbox import bubblewrap, tree
from forethought.tools.sandbox.types import SandboxLimits, SandboxResult
from forethought.tools.sandbox.watch import Watch

_RESTART_AFTER = 2000  # programs that share nothing; bounds what they can leave behind
_CPU_CALLS = 20  # a session may use the CPU time of this many calls
_LAST_BREATH_S = 0.05  # for processes that were killed with the end of a call
_STILL_S = 1.0  # for a process that was told to stop, on a busy machine


def start(kind: str, level: str, limits: SandboxLimits) -> Watch:
    """Starts a program, or the process of a session, at a level that is known to work."""
    cpu_s = math.ceil(limits.timeout_s) * (_CPU_CALLS if kind == "session" else 1) + 1
    if level == "bwrap":
        return bubblewrap.start(kind, limits, cpu_s)
    return tree.start(kind, level, limits, cpu_s)


class LocalSession:
    """A session on this machine; safe to share between threads."""

    def __init__(self, level: str, limits: SandboxLimits, *, keep: bool = True) -> None:
        """Starts nothing yet."""
        self._level, self._limits, self._keep = level, limits, keep
        self._watch: Watch | None = None
        self._end: weakref.finalize[[], LocalSession] | None = None
        self._made, self._owner = 0, os.getpid()
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether what earlier programs left is there for the next one."""
        return self._watch is not None and self._owner == os.getpid()

    def run(self, code: str) -> SandboxResult:
        """Runs one program; one that is stopped, or leaves, takes with it what was kept.

        Raises:
            RuntimeError: the sandbox itself did not start.
        """
        with self._lock:
            began = time.monotonic()
            watch = self._live_watch()
            self._made += 1
            if self._keep:
                watch.send_signal(signal.SIGCONT)
            data = code.encode("utf-8", "replace")
            watch.send(b"%d %d %d\n" % (self._made, len(data), self._keep) + data, last=False)
            watch.wait(
                began + self._limits.timeout_s,
                lambda: watch.done is not None or watch.senseless,
            )
            watch.drain()
            done = watch.done
            if watch.killed is None and done is not None and done[0] == self._made:
                if self._keep and not _is_quiet(watch):
                    watch.killed = "processes"
                else:
                    found = self._result(watch, done, time.monotonic() - began)
                    if found.killed:
                        self._drop()
                    return found
            return self._broken(watch, began)

    def _live_watch(self) -> Watch:
        if self._owner != os.getpid():  # a fork: the process is its parent's
            if self._end is not None:
                self._end.detach()
            self._watch, self._owner = None, os.getpid()
        if not self._keep and self._made >= _RESTART_AFTER:
            self._drop()
        if self._watch is None:
            # From a thread that lives as long as this process: the session dies with its thread.
            begun = _launcher(os.getpid()).submit(start, "session", self._level, self._limits)
            self._watch, self._made = begun.result(), 0
            self._end = weakref.finalize(self, self._watch.close)
        return self._watch

    def _result(self, watch: Watch, done: tuple[int, int, bool], wall_s: float) -> SandboxResult:
        stdout, stderr = watch.take_output()
        return SandboxResult(
            stdout=stdout,
            stderr=stderr,
            exit=done[1],
            killed="memory" if done[2] else None,
            level=self._level,
            wall_s=wall_s,
        )

    def _broken(self, watch: Watch, began: float) -> SandboxResult:
        """Ends the session; the verdict about the call that broke it."""
        ended = watch.ended
        self._drop()
        found = watch.result(self._level, time.monotonic() - began)
        if ended or found.killed:
            return found
        return SandboxResult(
            stdout=found.stdout,
            stderr=found.stderr + "\nthe reply of the session made no sense\n",
            exit=-signal.SIGKILL,
            killed=None,
            level=self._level,
            wall_s=found.wall_s,
        )

    def close(self) -> None:
        """Ends the process; the next program starts another."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._end is not None:
            self._end()
        self._watch = self._end = None


def _is_quiet(watch: Watch) -> bool:
    """Stops the session's process, as nobody looks between calls; whether it is the only one left.

    Those just killed are waited for. What stands still starts no process, so that the count holds
    if it is taken after that was seen.
    """
    began = time.monotonic()
    while True:
        alone = len(watch.live()) <= 1
        if alone:
            watch.send_signal(signal.SIGSTOP)
            if watch.is_still() and len(watch.live()) <= 1:
                return True
        if time.monotonic() > began + (_STILL_S if alone else _LAST_BREATH_S):
            return False
        time.sleep(0.001)


@functools.cache
def _launcher(owner: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=f"sandbox-{owner}")
