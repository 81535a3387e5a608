"""Level `bwrap`: a program in name spaces of its own, made by bubblewrap.

It sees the system and the interpreter read-only, an empty /tmp of bounded size that is its home,
its own processes and nothing else. Its pid 1 is bubblewrap's and is killed through a descriptor
that was opened when it began: with it the kernel ends every process inside, and the disk, which is
memory, is given back.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import time

from forethought.tools.sandbox import seccomp
from forethought.tools.sandbox.group import Group, launch, make
from forethought.tools.sandbox.paths import (
    OPEN_FILES,
    environment,
    filled_pipe,
    inside_code,
    inside_command,
    package_folders,
    prefix_paths,
    system_links,
    system_paths,
)
from forethought.tools.sandbox.types import Killed, SandboxLimits
from forethought.tools.sandbox.watch import Watch, read_stat, stands_still

_START_S = 5.0  # for bubblewrap to say which process it made
_MAX_FILES = 20_000  # empty ones take memory that the size of /tmp does not count
_DEVICES = ("null", "urandom")  # not zero: shared mappings of it are memory that nothing counts
_ROOT_READS = (
    *("keys", "timer_list", "vmallocinfo", "slabinfo", "kcore", "sched_debug"),
    "pagetypeinfo",
    *("kpagecount", "kpageflags", "kpagecgroup"),
)
"""Files of /proc that tell of the whole machine, and that a process of the true root may read."""


class BubblewrapWatch(Watch):
    """Watches the program from outside its name spaces."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control_fd: int,
        limits: SandboxLimits,
        first: int | None,
        group: Group | None,
    ) -> None:
        """`first` is the process that is pid 1 inside; None: it was gone at once."""
        super().__init__(process, control_fd, limits, group)
        self._first = first
        self._inside: int | None = None  # its /proc, and its /tmp
        self._disk: int | None = None
        self._own = os.pidfd_open(process.pid)
        self._first_fd: int | None = None
        if first is not None:
            with contextlib.suppress(ProcessLookupError):
                self._first_fd = os.pidfd_open(first)
            fields = read_stat(f"/proc/{first}")
            if self._first_fd is not None and (fields is None or int(fields[0]) != process.pid):
                os.close(self._first_fd)  # it has ended; the number may be another's now
                self._first_fd = None
        self._listen(self._own)

    def on_event(self, descriptor: int) -> bool:
        """Notices the end of bubblewrap, which is that of the program."""
        if descriptor != self._own:
            return False
        self.ended = True
        self._selector.unregister(descriptor)
        return True

    def look(self) -> Killed | None:
        """As everywhere, but of a crowd no more than its size: a bomb grows while it is read."""
        return "processes" if len(self._names()) > self.limits.tasks else super().look()

    def live(self) -> list[list[str]]:
        """The processes in the name space but its pid 1."""
        found = (read_stat(name, self._inside) for name in self._names())
        return [fields for fields in found if fields is not None]

    def send_signal(self, number: int) -> None:
        """To each through its folder of /proc, which stands for it (pidfd_send_signal(2))."""
        for name in self._names():
            with contextlib.suppress(OSError):  # it has just ended
                folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._inside)
                try:
                    signal.pidfd_send_signal(folder, number)
                finally:
                    os.close(folder)

    def is_still(self) -> bool:
        """Whether every thread of every live process is stopped."""
        return all(stands_still(name, self._inside) for name in self._names())

    def _names(self) -> list[str]:
        if self._inside is None and not self._enter():
            return []
        assert self._inside is not None
        try:
            return [name for name in os.listdir(self._inside) if name.isdecimal() and name != "1"]
        except OSError:  # it has just ended
            return []

    def disk_is_over(self) -> bool:
        """Whether /tmp has too many files; how large they are together is bounded by its size."""
        if self._disk is None:
            return False
        try:
            disk = os.fstatvfs(self._disk)
        except OSError:  # it has just ended
            return False
        return disk.f_files - disk.f_ffree > _MAX_FILES

    def _enter(self) -> bool:
        """Opens the inner /proc and /tmp, once bubblewrap has made them."""
        if not self.ready:
            return False
        try:
            self._disk = os.open(f"/proc/{self._first}/root/tmp", os.O_PATH | os.O_DIRECTORY)
            self._inside = os.open(f"/proc/{self._first}/root/proc", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # it has just ended
            return False
        return True

    def kill_all(self) -> None:
        """Kills pid 1; the kernel kills the rest before that counts as gone."""
        if self._first_fd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_fd, signal.SIGKILL)
            _readable(self._first_fd, _START_S)
        if not self.ended:
            self.process.kill()

    def exit_code(self) -> int:
        """Bubblewrap ends with 128 + n where the program ended by signal n."""
        code = self.process.wait()
        return code if code <= 128 or code == self._said else 128 - code

    def close(self) -> None:
        """Closes the views of the inside as well."""
        super().close()
        for descriptor in (self._own, self._first_fd, self._inside, self._disk):
            if descriptor is not None:
                os.close(descriptor)


@functools.cache
def find() -> str | None:
    """The program bwrap, if it is installed."""
    return shutil.which("bwrap")


def start(kind: str, limits: SandboxLimits, cpu_s: int) -> Watch:
    """Starts a program (`kind` "program" or "session") in name spaces of its own.

    Raises:
        OSError: bubblewrap could not be started.
    """
    (control, control_end), (info, info_end) = os.pipe(), os.pipe()
    rules = filled_pipe(seccomp.bubblewrap_filter(of_root=os.geteuid() == 0))
    code = filled_pipe(inside_code("inside"))
    group = make(limits.tasks)
    bounds = (cpu_s, limits.memory_mb << 20, limits.file_mb << 20, OPEN_FILES, limits.tasks + 2)
    folders = package_folders(limits.packages)
    command = [
        *_command(limits.disk_mb, limits.packages),
        *("--seccomp", str(rules), "--info-fd", str(info_end), "--"),
        *inside_command(code),
        *(kind, str(control_end), "-1", *map(str, bounds), ":".join(folders)),
    ]
    try:
        process = launch(
            command,
            group,
            cwd="/",
            env={},  # bubblewrap's own pid 1 keeps the environment that it was started with
            pass_fds=(control_end, info_end, rules, code),
        )
    except OSError:
        os.close(control)
        os.close(info)
        raise
    try:
        return BubblewrapWatch(process, control, limits, _first_process(info), group)
    except BaseException:
        process.kill()  # and by --die-with-parent all inside
        process.wait()
        os.close(control)
        if group is not None:
            group.remove()
        raise


def _first_process(info: int) -> int | None:
    """Reads what bubblewrap says about the process that it made; None: it made none."""
    told, deadline = b"", time.monotonic() + _START_S
    try:
        while b"}" not in told:
            left = deadline - time.monotonic()
            if left <= 0 or not _readable(info, left):
                return None
            data = os.read(info, 4096)
            if not data:
                return None
            told += data
    finally:
        os.close(info)
    return int(json.loads(told)["child-pid"])


def _readable(descriptor: int, wait_s: float) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(wait_s * 1000))


@functools.cache
def _command(disk_mb: int, packages: bool) -> tuple[str, ...]:
    """Everything of the command line that does not change between calls."""
    words = [
        *(find() or "bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net"),
        *("--unshare-uts", "--unshare-cgroup-try", "--uid", "1000", "--gid", "1000"),
        *("--hostname", "sandbox", "--cap-drop", "ALL", "--die-with-parent", "--new-session"),
        "--clearenv",
    ]
    for name, value in environment("/tmp").items():
        words += ["--setenv", name, value]
    links = dict(system_links())
    for path in system_paths():
        if path in links:
            words += ["--symlink", links[path], path]
        elif os.path.exists(path):
            words += ["--ro-bind", path, path]
    covered = (*prefix_paths(), "/usr")
    for path in package_folders(packages):
        if not path.startswith(tuple(f"{other}/" for other in covered)):
            words += ["--ro-bind", path, path]
    words += ["--proc", "/proc"]
    if os.geteuid() == 0:
        for name in _ROOT_READS:
            if os.path.exists(f"/proc/{name}"):
                words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    words += ["--remount-ro", "/proc"]  # a true root may else write to /proc/sys without capability
    words += ["--size", str(1 << 16), "--tmpfs", "/dev"]
    for name in _DEVICES:
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    words += ["--symlink", "/tmp", "/dev/shm", "--symlink", "/proc/self/fd", "/dev/fd"]
    words += ["--remount-ro", "/dev", "--size", str(disk_mb << 20), "--tmpfs", "/tmp"]
    return (*words, "--chdir", "/tmp", "--remount-ro", "/")
