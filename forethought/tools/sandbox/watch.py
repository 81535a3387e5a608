"""The outside view of one running program: feeds it, reads it, bounds it, ends it.

Nothing here trusts what the program says. Its streams are kept up to a bound, its control lines are
a handful of short forms, and deadline, processes, memory and disk are looked at from this side.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable

from forethought.tools.sandbox.group import Group
from forethought.tools.sandbox.types import Killed, SandboxLimits, SandboxResult

POLL_S = 0.01  # between two looks at the processes
_DRAIN_S = 1.0  # for the last output, once everything was killed
_THREADS, _RESIDENT = 16, 20  # of the fields from ppid on: num_threads, rss in pages (proc(5))
_MAX_LINE = 64
_MAX_LINES = 16  # control lines of one call
_LINE = re.compile(rb"(r|m)|(?:x (\d{1,3}))|(?:d (\d{1,9}) (\d{1,3}) ([01]))")


class Watch:
    """One program, or the process of one session; see `TreeWatch` and `BubblewrapWatch`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control_fd: int,
        limits: SandboxLimits,
        group: Group | None = None,
    ) -> None:
        """Watches `process`, whose streams are pipes; owns `control_fd` and `group`."""
        assert process.stdin and process.stdout and process.stderr
        self.process, self.limits, self.group = process, limits, group
        self.killed: Killed | None = None
        self.ended = False  # by itself
        self.ready = False  # the program was about to run
        self.met_memory = False
        self.senseless = False  # a control line that is none
        self.done: tuple[int, int, bool] | None = None  # of a session: call, exit code, met memory
        self._said: int | None = None  # exit code of a program that ended by itself
        self._control = bytearray()
        self._num_lines = 0
        self._control_fd = control_fd
        self._pending = memoryview(b"")
        self._close_input = False
        self._outputs = {s.fileno(): bytearray() for s in (process.stdout, process.stderr)}
        self._selector = selectors.DefaultSelector()
        for descriptor in (*self._outputs, control_fd):
            self._listen(descriptor)
        os.set_blocking(process.stdin.fileno(), False)

    def _listen(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._selector.register(descriptor, selectors.EVENT_READ)

    def send(self, data: bytes, *, last: bool) -> None:
        """Hands `data` to the program's input while it is waited for; `last` closes it then."""
        assert self.process.stdin
        self._drop_input()
        self._pending, self._close_input = memoryview(data), last
        self.done, self.met_memory, self._num_lines = None, False, 0
        self._selector.register(self.process.stdin.fileno(), selectors.EVENT_WRITE)

    def wait(self, deadline: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Reads until the program has ended, a bound is broken, or `enough` says so."""
        next_look = time.monotonic() + POLL_S
        while self.killed is None and not self.ended and not enough():
            now = time.monotonic()
            if now >= deadline:
                self.killed = "time"
            elif now >= next_look:
                self.killed = self.look()
                next_look = time.monotonic() + POLL_S
            else:
                self._step(min(next_look, deadline) - now)

    def drain(self) -> None:
        """Takes what is there already."""
        while self.killed is None and any(
            key.fd in self._outputs for key, _ in self._selector.select(0)
        ):
            self._step(0)

    def _step(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            descriptor = key.fd
            if self.process.stdin and descriptor == self.process.stdin.fileno():
                self._feed(descriptor)
                continue
            if self.on_event(descriptor):
                continue
            try:
                data = os.read(descriptor, 65536)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(descriptor)
            elif descriptor == self._control_fd:
                self._hear(data)
            else:
                self._keep(self._outputs[descriptor], data)

    def _feed(self, descriptor: int) -> None:
        try:
            self._pending = self._pending[os.write(descriptor, self._pending[:65536]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the program has closed it
            self._pending = memoryview(b"")
        if not self._pending:
            self._drop_input()

    def _drop_input(self) -> None:
        assert self.process.stdin
        if not self.process.stdin.closed:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self.process.stdin.fileno())
            if self._close_input:
                self.process.stdin.close()
                self.process.stdin = None

    def _keep(self, kept: bytearray, data: bytes) -> None:
        room = self.limits.output_bytes - len(kept)
        kept += data[:room]
        if len(data) > room and self.killed is None:
            self.killed = "output"

    def _hear(self, data: bytes) -> None:
        *lines, rest = bytes(self._control + data).split(b"\n")
        self._control = bytearray(rest)
        for line in lines:
            self._num_lines += 1
            match = _LINE.fullmatch(line)
            if match is None or self._num_lines > _MAX_LINES:
                self.senseless = True
                break
            mark, code, call, exit_code, met = match.groups()
            self.ready |= mark == b"r"
            self.met_memory |= mark == b"m"
            if code is not None:
                self._said = int(code)
            if call is not None:
                self.done = int(call), int(exit_code), met == b"1"
        if self.senseless or len(rest) > _MAX_LINE:
            self.senseless = True
            self._selector.unregister(self._control_fd)

    def on_event(self, descriptor: int) -> bool:
        """Deals with a descriptor of a subclass; False if it is none."""
        raise NotImplementedError

    def look(self) -> Killed | None:
        """The bound that the processes are over now, if any."""
        if self.group is not None and self.group.met():
            return "processes"
        live = self.live()
        tasks = sum(int(fields[_THREADS]) for fields in live)
        if len(live) > self.limits.processes or tasks > self.limits.tasks:
            return "processes"
        pages = sum(int(fields[_RESIDENT]) for fields in live)
        resident = pages * os.sysconf("SC_PAGE_SIZE")
        return "memory" if resident > self.limits.memory_mb << 20 or self.disk_is_over() else None

    def live(self) -> list[list[str]]:
        """Live processes of the program, each as `read_stat` tells it."""
        raise NotImplementedError

    def send_signal(self, number: int) -> None:
        """Sends a signal to every live process of the program."""
        raise NotImplementedError

    def is_still(self) -> bool:
        """Whether every thread of every live process is stopped."""
        raise NotImplementedError

    def disk_is_over(self) -> bool:
        """Whether its files are too many or, where nothing else bounds them, too large."""
        raise NotImplementedError

    def kill_all(self) -> None:
        """Ends everything that the program started, and waits until it is gone."""
        raise NotImplementedError

    def exit_code(self) -> int:
        """Exit code after `kill_all`; -n = ended by signal n."""
        raise NotImplementedError

    def close(self) -> None:
        """`kill_all`, the last output, and nothing left open."""
        if self.group is not None:
            if self.killed is None and self.group.met():
                self.killed = "processes"
            self.group.shut()
        self.kill_all()
        limit = time.monotonic() + _DRAIN_S
        while self._open_outputs() and time.monotonic() < limit:
            self._step(0.05)
        self.process.wait()
        if self.group is not None:
            self.group.remove()
        self._selector.close()
        os.close(self._control_fd)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _open_outputs(self) -> bool:
        return any(descriptor in self._selector.get_map() for descriptor in self._outputs)

    def take_output(self) -> tuple[str, str]:
        """What was kept of both streams; the next call begins with nothing."""
        texts = [bytes(kept).decode("utf-8", "replace") for kept in self._outputs.values()]
        for kept in self._outputs.values():
            kept.clear()
        return texts[0], texts[1]

    def result(self, level: str, wall_s: float) -> SandboxResult:
        """The verdict, after `close`.

        Raises:
            RuntimeError: the sandbox itself did not start, which is not the program's doing.
        """
        stdout, stderr = self.take_output()
        if not self.ready and self.killed is None:
            raise RuntimeError(f"the sandbox ({level}) did not start: {stderr.strip()}")
        code = -signal.SIGKILL if self.killed else self.exit_code()
        killed = self.killed
        if killed is None and code == -signal.SIGXCPU:
            killed = "time"
        elif killed is None and code != 0 and self.met_memory:
            killed = "memory"
        return SandboxResult(
            stdout=stdout, stderr=stderr, exit=code, killed=killed, level=level, wall_s=wall_s
        )


def read_stat(folder: str, dir_fd: int | None = None) -> list[str] | None:
    """The fields from `ppid` on of `stat` in a process's folder of /proc; None: gone, or a zombie.

    A process whose first thread has ended is called a zombie while its other threads run, and what
    it has resident is told by those alone.
    """
    state, *fields = _read_fields(f"{folder}/stat", dir_fd)
    if state not in "ZX":
        return fields
    if not fields or int(fields[_THREADS]) < 2:
        return None
    resident = (int(of[_RESIDENT + 1]) for of in _of_threads(folder, dir_fd) if len(of) > 1)
    fields[_RESIDENT] = str(max(resident, default=0))
    return fields


def stands_still(folder: str, dir_fd: int | None = None) -> bool:
    """Whether every thread of a process of /proc is stopped, or has ended."""
    return all(state in "TtZX" for state, *_ in _of_threads(folder, dir_fd))


def _of_threads(folder: str, dir_fd: int | None) -> list[list[str]]:
    try:
        descriptor = os.open(f"{folder}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=dir_fd)
    except OSError:
        return []
    try:
        return [_read_fields(f"{name}/stat", descriptor) for name in os.listdir(descriptor)]
    except OSError:  # it has just ended
        return []
    finally:
        os.close(descriptor)


def _read_fields(path: str, dir_fd: int | None) -> list[str]:
    """State, and the fields from `ppid` on; X alone where there is no such process."""
    try:
        descriptor = os.open(path, os.O_RDONLY, dir_fd=dir_fd)
        try:
            text = os.read(descriptor, 4096).decode("ascii", "replace")
        finally:
            os.close(descriptor)
    except OSError:
        return ["X"]
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > _RESIDENT + 1 else ["X"]
