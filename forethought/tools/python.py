"""Runs untrusted Python in a fresh, limited subprocess.

Level `limits`: a new interpreter with a clean environment, its own process group, no standard
input, a private working folder that is removed afterwards, and bounds on time, memory, output,
processes and file size. The deadline, the process count, the memory of all processes together and
the output are watched from outside, and at the end everything the program started is killed.

It guards against accidents and against a policy that writes silly programs. It is no wall against
an attacker: at this level a program can still read every file that you can read, write where you
may write, use the network, signal your other processes, and fill the disk with many small files.
Run untrusted models inside a container or a virtual machine.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from forethought.errors import InputError, MissingError

Killed = Literal["time", "memory", "output", "processes"]
LEVELS = ("limits", "landlock", "bwrap")
"""Known levels, weakest first; only `limits` is built in so far."""

_CHILD = Path(__file__).with_name("sandbox_child.py")
_MIB = 1 << 20
_OPEN_FILES = 128
_POLL_S = 0.01  # between two looks at the processes
_DRAIN_S = 1.0  # for the last output, once everything was killed


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """Bounds of one call."""

    timeout_s: float = 5.0  # wall clock
    memory_mb: int = 512  # MiB of address space a process, and of resident memory of all together
    output_bytes: int = 65536  # of standard output, and as much of standard error
    processes: int = 16  # alive at the same time, the program itself included
    file_mb: int = 8  # MiB, size of any file it writes
    packages: bool = False  # False: standard library only; True: installed packages as well

    def __post_init__(self) -> None:
        """Refuses bounds that cannot be meant.

        Raises:
            InputError: a bound is not positive, or leaves no room for an interpreter.
        """
        bad = ""
        if not (math.isfinite(self.timeout_s) and 0 < self.timeout_s <= 3600):
            bad = f"timeout_s = {self.timeout_s}"
        elif self.memory_mb < 64:
            bad = f"memory_mb = {self.memory_mb}"
        elif min(self.output_bytes, self.processes, self.file_mb) < 1:
            bad = f"output_bytes, processes, file_mb = {self._counts()}"
        if bad:
            raise InputError(
                "sandbox limits",
                got=bad,
                expected="0 < timeout_s <= 3600, memory_mb >= 64, all others >= 1",
                next_step="correct the limit",
            )

    def _counts(self) -> tuple[int, int, int]:
        return self.output_bytes, self.processes, self.file_mb


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult:
    """What one call came to."""

    stdout: str  # cut at the bound
    stderr: str  # cut at the bound
    exit: int  # exit code; -n = ended by signal n
    killed: Killed | None  # the bound that ended the program; None = it ended by itself
    level: str
    wall_s: float  # recorded only; nothing decides by it


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One check of the self-test."""

    what: str
    held: bool
    text: str


def run_python(
    code: str, limits: SandboxLimits | None = None, *, level: str = "limits"
) -> SandboxResult:
    """Runs `code` as a program and returns when it and all it started are gone.

    Sets of strings iterate in a fixed order (PYTHONHASHSEED=0), so the same program prints the
    same; its own clocks and random numbers are its own affair.

    Args:
        code: source text of the program.
        limits: bounds; the defaults if absent.
        level: strength of the isolation.

    Raises:
        InputError: no such level.
        MissingError: the level is not available here.
    """
    check_level(level)
    limits = limits or SandboxLimits()
    outside = _process_ids()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) as folder:
        work = Path(folder, "work")
        work.mkdir()
        program = Path(folder, "program.py")
        program.write_text(code, encoding="utf-8", errors="replace")
        status_read, status_write = os.pipe()
        try:
            process = start_program(program, work, status_write, limits)
        except OSError:
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
        watch = Watch(process, status_read, limits, outside)
        try:
            watch.until_end(started + limits.timeout_s)
        finally:  # on an interrupt, too, nothing stays behind
            watch.kill_all()
    return watch.result(level, time.monotonic() - started)


def check_level(level: str) -> None:
    """Refuses a level that is unknown or not available.

    Raises:
        InputError: no such level.
        MissingError: the level is known but not here.
    """
    if level not in LEVELS:
        raise InputError(
            "sandbox level",
            got=repr(level),
            expected=f"one of {', '.join(LEVELS)}",
            next_step="choose a known level",
        )
    if level != "limits":
        raise MissingError(
            f"sandbox level {level!r}",
            next_step="use --level limits, inside a container if the program is hostile",
        )
    if os.name != "posix":
        raise MissingError(
            f"sandbox level {level!r} on {sys.platform}",
            next_step="run under Linux, macOS or the Windows Subsystem for Linux",
        )


def sandbox_level() -> str:
    """The strongest level that this machine offers; "none" where programs cannot be limited."""
    return "limits" if os.name == "posix" else "none"


def start_program(
    program: Path, work: Path, status_fd: int, limits: SandboxLimits
) -> subprocess.Popen[bytes]:
    """Starts the supervisor of a program in the folder `work`; see `sandbox_child`."""
    flags = ["-s", "-P", "-B", "-u", *([] if limits.packages else ["-S"])]
    bounds = {
        "cpu_s": math.ceil(limits.timeout_s) + 1,
        "memory_bytes": limits.memory_mb * _MIB,
        "file_bytes": limits.file_mb * _MIB,
        "open_files": _OPEN_FILES,
        "user_tasks": _tasks_now() + limits.processes,
    }
    words = [str(_CHILD), str(status_fd), str(program), json.dumps(bounds)]
    return subprocess.Popen(
        [sys.executable, *flags, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=work,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(work),
            "TMPDIR": str(work),
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
        },
        pass_fds=(status_fd,),
        start_new_session=True,
    )


def _tasks_now() -> int:
    """Upper estimate of the tasks of this user: RLIMIT_NPROC counts them all, not only ours."""
    try:
        return int(Path("/proc/loadavg").read_text("ascii").split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return 4096


@dataclass(slots=True)
class Watch:
    """The outside view of one running program."""

    process: subprocess.Popen[bytes]  # the supervisor
    status_fd: int
    limits: SandboxLimits
    outside: frozenset[str]  # processes that were there before
    killed: Killed | None = None
    _output: dict[int, bytearray] = field(default_factory=dict)  # by descriptor
    _status: bytearray = field(
        default_factory=bytearray
    )  # "PID\n", later "WAIT_STATUS MET_MEMORY\n"
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __post_init__(self) -> None:
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            self._output[stream.fileno()] = bytearray()
        for descriptor in (*self._output, self.status_fd):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)

    def until_end(self, deadline: float) -> None:
        """Reads all streams until the program has ended or a bound is broken."""
        next_look = time.monotonic() + _POLL_S
        while self.killed is None and self.status_fd in self._selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                self.killed = "time"
            elif now >= next_look:
                self._look()
                next_look = time.monotonic() + _POLL_S
            else:
                self._read(min(next_look, deadline) - now)
            if self._status.count(b"\n") == 2:
                return

    def _read(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            descriptor = key.fd
            try:
                data = os.read(descriptor, 65536)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(descriptor)
            elif descriptor == self.status_fd:
                self._status += data
            else:
                self._keep(self._output[descriptor], data)

    def _keep(self, kept: bytearray, data: bytes) -> None:
        room = self.limits.output_bytes - len(kept)
        kept += data[:room]
        if len(data) > room and self.killed is None:
            self.killed = "output"

    def _look(self) -> None:
        """Counts processes and their memory."""
        tree = [pid for pid in _tree(self.process.pid, self.outside) if pid != self.process.pid]
        if len(tree) > self.limits.processes:
            self.killed = "processes"
        elif sum(map(_resident_bytes, tree)) > self.limits.memory_mb * _MIB:
            self.killed = "memory"

    def kill_all(self) -> None:
        """Kills the program and everything below the supervisor, then the supervisor."""
        root = self.process.pid
        group = int(self._status.split(b"\n")[0]) if b"\n" in self._status else None
        for _ in range(1000):  # forks can race with us; each pass finds what the last one missed
            left = [pid for pid in _tree(root, self.outside) if pid != root]
            if group is not None:
                _kill(os.killpg, group)
            for pid in left:
                _kill(os.kill, pid)
            if not left:
                break
        limit = time.monotonic() + _DRAIN_S
        while self._open_outputs() and time.monotonic() < limit:
            self._read(0.05)
        _kill(os.killpg, root)
        self.process.wait()
        self._selector.close()
        os.close(self.status_fd)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _open_outputs(self) -> bool:
        return any(descriptor in self._selector.get_map() for descriptor in self._output)

    def result(self, level: str, wall_s: float) -> SandboxResult:
        """The verdict, after `kill_all`."""
        stdout, stderr = (bytes(b).decode("utf-8", "replace") for b in self._output.values())
        lines = self._status.split(b"\n")
        ended = len(lines) == 3
        status, met_memory = map(int, lines[1].split()) if ended else (0, 0)
        code = os.waitstatus_to_exitcode(status) if ended else -signal.SIGKILL
        killed = self.killed
        if killed is None and code == -signal.SIGXCPU:
            killed = "time"
        elif killed is None and code != 0 and met_memory:
            killed = "memory"
        return SandboxResult(
            stdout=stdout, stderr=stderr, exit=code, killed=killed, level=level, wall_s=wall_s
        )


def last_line(text: str) -> str:
    """The last line that is not blank, "" if there is none: of a traceback, what went wrong."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def _kill(how: Callable[[int, int], None], target: int) -> None:
    # PermissionError: macOS says so of a group whose members are all zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(target, signal.SIGKILL)


def _process_ids() -> frozenset[str]:
    try:
        return frozenset(name for name in os.listdir("/proc") if name.isdecimal())
    except OSError:  # no /proc: process group and rlimits are all there is
        return frozenset()


def _tree(root: int, outside: Iterable[str]) -> list[int]:
    """Live processes below `root`, or of its session, that are not in `outside`; root included."""
    below, parents = [root], {}
    for name in _process_ids().difference(outside):
        try:
            stat = Path("/proc", name, "stat").read_text("ascii", "replace")
        except OSError:  # gone in the meantime
            continue
        state, parent, _, session = stat.rpartition(")")[2].split()[:4]
        if state != "Z":
            parents[int(name)] = root if int(session) == root else int(parent)
    for pid in below:  # grows while it is walked
        below += sorted(p for p, parent in parents.items() if parent == pid and p != root)
    return below


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path("/proc", str(pid), "statm").read_text("ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def self_test() -> tuple[Probe, ...]:
    """Checks on this machine that the level `limits` does what it says; about two seconds."""
    quick = SandboxLimits(timeout_s=1.0, processes=4, memory_mb=128)
    marker = "FORETHOUGHT_SANDBOX_PROBE"
    programs: tuple[tuple[str, str, Callable[[SandboxResult], bool]], ...] = (
        ("runs a program", "print(6 * 7)", lambda r: r.stdout == "42\n" and r.exit == 0),
        ("stops after the time", "while True: pass", lambda r: r.killed == "time"),
        ("bounds memory", "x = bytearray(1 << 30)", lambda r: r.killed == "memory"),
        ("bounds output", "while True: print('x' * 999)", lambda r: r.killed == "output"),
        (
            "bounds processes",
            "import os, time\nfor _ in range(8):\n    os.fork() or time.sleep(9)\ntime.sleep(9)",
            lambda r: r.killed == "processes",
        ),
        (
            "hides the environment",
            f"import os; print({marker!r} in os.environ)",
            lambda r: r.stdout == "False\n",
        ),
    )
    before = os.environ.get(marker)
    os.environ[marker] = "1"
    try:
        results = [(name, run_python(code, quick), good) for name, code, good in programs]
    finally:
        os.environ.pop(marker, None)
        if before is not None:
            os.environ[marker] = before
    return tuple(
        Probe(what=name, held=good(r), text=f"exit {r.exit}, killed {r.killed}")
        for name, r, good in results
    )
