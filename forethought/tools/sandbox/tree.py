"""Levels `limits` and `landlock`: a program below a supervisor, watched through /proc.

Level `limits` is a fresh interpreter with a clean environment, a process group of its own, a
private working folder and bounds. It guards against accidents. `landlock` gives up more before the
program begins (`landlock_inside`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from forethought.tools.sandbox import seccomp
from forethought.tools.sandbox.group import Group, launch, make
from forethought.tools.sandbox.paths import (
    OPEN_FILES,
    environment,
    filled_pipe,
    inside_code,
    inside_command,
    package_folders,
    system_paths,
)
from forethought.tools.sandbox.types import SandboxLimits
from forethought.tools.sandbox.watch import Watch, read_stat, stands_still

_LANDLOCK_VERSION = 444  # landlock_create_ruleset, which tells it when asked with flag 1
_MAX_FILES = 5_000  # in the private folder; to remove them takes time of the caller
_MAX_DEPTH = 100  # of folders in it: deep ones are slow to remove, too
_STATUS = re.compile(rb"(?:s (\d+)\n)(?:e (\d+)\n)?")
_LOOKS_A_WALK = 5  # through the private folder


class TreeWatch(Watch):
    """Watches a supervisor and all below it; owns its folder."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        descriptors: tuple[int, int],
        limits: SandboxLimits,
        folder: tempfile.TemporaryDirectory[str],
        outside: frozenset[str],
        group: Group | None,
    ) -> None:
        """`descriptors` are control and status; `outside` are processes that were there before."""
        super().__init__(process, descriptors[0], limits, group)
        self._folder, self._outside = folder, outside
        self._status_fd, self._status = descriptors[1], b""
        self._looks = 0
        self._listen(self._status_fd)

    def on_event(self, descriptor: int) -> bool:
        """Hears the supervisor."""
        if descriptor != self._status_fd:
            return False
        data = os.read(descriptor, 4096)
        self._status += data
        if not data:
            self._selector.unregister(descriptor)
        self.ended |= self._status.count(b"\n") >= 2 or not data
        return True

    def live(self) -> list[list[str]]:
        """The processes below the supervisor."""
        tree = _tree(self.process.pid, self._outside)
        return [fields for pid, fields in tree.items() if pid != self.process.pid]

    def send_signal(self, number: int) -> None:
        """To all but the supervisor."""
        for pid in _tree(self.process.pid, self._outside):
            if pid != self.process.pid:
                _kill(os.kill, pid, number)

    def is_still(self) -> bool:
        """Whether every thread of every live process but the supervisor's is stopped."""
        tree = _tree(self.process.pid, self._outside)
        return all(stands_still(f"/proc/{pid}") for pid in tree if pid != self.process.pid)

    def disk_is_over(self) -> bool:
        """Walks through the private folder now and then."""
        self._looks += 1
        if self._looks % _LOOKS_A_WALK:
            return False
        return _used_bytes(self._folder.name) > self.limits.disk_mb << 20

    def kill_all(self) -> None:
        """Kills the program and everything below the supervisor, then the supervisor."""
        root = self.process.pid
        match = _STATUS.match(self._status)
        for _ in range(1000):  # forks can race with us; each pass finds what the last one missed
            left = [pid for pid in _tree(root, self._outside) if pid != root]
            if match is not None:
                _kill(os.killpg, int(match[1]))
            for pid in left:
                _kill(os.kill, pid)
            if not left:
                break
        _kill(os.killpg, root)

    def exit_code(self) -> int:
        """What the supervisor reported."""
        match = _STATUS.fullmatch(self._status)
        told = match is not None and match[2] is not None
        return os.waitstatus_to_exitcode(int(match[2])) if match and told else -signal.SIGKILL

    def close(self) -> None:
        """Removes the folder as well."""
        super().close()
        os.close(self._status_fd)
        remove(self._folder)


def remove(folder: tempfile.TemporaryDirectory[str]) -> None:
    """Removes what a program left, however deep its folders are."""
    with contextlib.suppress(RecursionError):
        folder.cleanup()
    if os.path.isdir(folder.name):
        subprocess.run(["rm", "-rf", folder.name], check=False, stderr=subprocess.DEVNULL)


def start(kind: str, level: str, limits: SandboxLimits, cpu_s: int) -> Watch:
    """Starts the supervisor of a program (`kind` "program" or "session").

    Raises:
        OSError: no process could be started.
    """
    folder = tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True)
    work = Path(folder.name, "work")
    work.mkdir()
    outside = _process_ids()
    (control, control_end), (status, status_end) = os.pipe(), os.pipe()
    code = filled_pipe(inside_code("inside"))
    bounds = (cpu_s, limits.memory_mb << 20, limits.file_mb << 20, OPEN_FILES)
    words: list[object] = [kind, control_end, status_end, *bounds, _tasks_now() + limits.tasks]
    words.append(":".join(package_folders(limits.packages)))
    if level == "landlock":
        words += _landlock_words(str(work), limits.packages)
    group = make(limits.tasks)
    try:
        process = launch(
            [*inside_command(code), *map(str, words)],
            group,
            cwd=str(work),
            env=environment(str(work)),
            pass_fds=(control_end, status_end, code),
        )
    except OSError:
        os.close(control)
        os.close(status)
        remove(folder)
        raise
    return TreeWatch(process, (control, status), limits, folder, outside, group)


def _landlock_words(work: str, packages: bool) -> list[str]:
    abi = landlock_version()
    readable = [*system_paths(), *package_folders(packages), *_DEVICES_READ]
    paths = [f"r{path}" for path in readable if os.path.exists(path)]
    return [
        inside_code("landlock_inside").hex(),
        str(abi),
        seccomp.landlock_filter(abi).hex(),
        *paths,
        "w/dev/null",
        f"w{work}",
    ]


_DEVICES_READ = ("/dev/urandom", "/dev/random")


@functools.cache
def landlock_version() -> int:
    """The version of Landlock that this kernel speaks; 0: none."""
    if sys.platform != "linux":
        return 0
    library = ctypes.CDLL(None, use_errno=True)
    return max(0, int(library.syscall(_LANDLOCK_VERSION, None, 0, 1)))


def _tasks_now() -> int:
    """Upper estimate of the tasks of this user: RLIMIT_NPROC counts them all, not only ours."""
    try:
        return int(Path("/proc/loadavg").read_text("ascii").split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return 4096


def _kill(how: Callable[[int, int], None], target: int, number: int = signal.SIGKILL) -> None:
    # PermissionError: macOS says so of a group whose members are all zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(target, number)


def _process_ids() -> frozenset[str]:
    try:
        return frozenset(name for name in os.listdir("/proc") if name.isdecimal())
    except OSError:  # no /proc: process group and rlimits are all there is
        return frozenset()


def _tree(root: int, outside: Iterable[str]) -> dict[int, list[str]]:
    """Live processes below `root`, or of its session, that are not in `outside`; root included.

    The values are the fields of `read_stat`.
    """
    found: dict[int, list[str]] = {}
    for name in _process_ids().difference(outside):
        fields = read_stat(f"/proc/{name}")
        if fields is not None:
            found[int(name)] = fields
    parents = {
        pid: root if int(fields[2]) == root else int(fields[0]) for pid, fields in found.items()
    }
    below = [root]
    for pid in below:  # grows while it is walked
        below += sorted(p for p, parent in parents.items() if parent == pid and p != root)
    return {pid: found[pid] for pid in below if pid in found}


def _used_bytes(folder: str) -> float:
    """Disk blocks of the files in a folder; endless where it has too many files, or too deep."""
    total, count, waiting = 0, 0, [folder]
    deepest = folder.count("/") + _MAX_DEPTH
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    if count > _MAX_FILES or entry.path.count("/") > deepest:
                        return math.inf
        except OSError:  # gone or closed: what is below is not counted
            continue
    return total
