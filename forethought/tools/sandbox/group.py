"""A control group of its own for a program: the kernel bounds its tasks, however slow we look.

`RLIMIT_NPROC` does not hold for the true root, whose processes the user name space of a sandbox
still counts as root's, so that only the number of a `pids` group bounds a fork bomb there. The
group is a folder below our own, of version 1 or 2 (Documentation/admin-guide/cgroup-v1/pids.rst and
cgroup-v2.rst of Linux), and what bounds us bounds it. Where none can be made nothing else changes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

_OWN, _MOUNTS = "/proc/thread-self/cgroup", "/proc/self/mountinfo"
_SLACK = 8  # above the limit of tasks, so that a look at a crowd finds that it is over the limit
_GONE_S = 2.0  # for the last process to leave after it was killed


class Group:
    """A group below our own; see `make`."""

    def __init__(self, folder: str) -> None:
        """`folder` is a folder of a control group file system."""
        self.folder = folder

    def holds(self, pid: int) -> bool:
        """Whether the first thread of a process is in the group."""
        try:
            with open(_threads(self.folder), encoding="ascii") as stream:
                return str(pid) in stream.read().split()
        except OSError:
            return False

    def met(self) -> bool:
        """Whether the kernel refused a process or a thread because of the bound."""
        try:
            with open(f"{self.folder}/pids.events", encoding="ascii") as stream:
                return int(stream.read().split()[1]) > 0  # "max 3"
        except (OSError, ValueError, IndexError):
            return False

    def shut(self) -> None:
        """Lets nothing start any more, so that no process can outrun those who kill."""
        with contextlib.suppress(OSError):
            _write(f"{self.folder}/pids.max", 0)

    def remove(self) -> None:
        """Removes the group when its last process is gone; waits for that a little."""
        deadline = time.monotonic() + _GONE_S
        while os.path.isdir(self.folder):
            with contextlib.suppress(OSError):
                os.rmdir(self.folder)
                return
            if time.monotonic() > deadline:  # an empty folder of the kernel's is no harm
                return
            time.sleep(0.002)

    def _join_threads(self) -> None:
        """Makes a group of version 2 fit to take in threads.

        We are in the group above, which is thereby the root of a threaded subtree, whatever it was
        (cgroup-v2.rst, "Threads").
        """
        try:
            with open(f"{self.folder}/cgroup.type", encoding="ascii") as stream:
                threaded = stream.read().strip() == "threaded"
        except OSError:  # version 1
            return
        if not threaded:
            _write(f"{self.folder}/cgroup.type", "threaded")


@contextlib.contextmanager
def around(group: Group | None) -> Iterator[None]:
    """What the calling thread starts meanwhile is born in the group, if that can be.

    A thread moves itself at once; to move another process waits for the rest of the machine, 7 to
    10 ms.
    """
    if group is None or not _enter(group.folder):
        yield
        return
    try:
        yield
    finally:
        _enter(os.path.dirname(group.folder))


def launch(
    command: Sequence[str],
    group: Group | None,
    *,
    cwd: str,
    env: Mapping[str, str],
    pass_fds: Sequence[int],
) -> subprocess.Popen[bytes]:
    """Starts a process with pipes to it in a session of its own, born in the group.

    `pass_fds` are for it alone: they are closed here.

    Raises:
        OSError: it could not be started; the group is removed.
    """
    try:
        with around(group):
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=env,
                pass_fds=pass_fds,
                start_new_session=True,
            )
    except OSError:
        if group is not None:
            group.remove()
        raise
    finally:
        for descriptor in pass_fds:
            os.close(descriptor)


def _enter(folder: str) -> bool:
    """Whether the calling thread went into a group: 0 stands for whoever writes it."""
    try:
        _write(_threads(folder), 0)
    except OSError:
        return False
    return True


def _threads(folder: str) -> str:
    """The file of a group's threads, in version 2 or 1."""
    version_2 = f"{folder}/cgroup.threads"
    return version_2 if os.path.exists(version_2) else f"{folder}/tasks"


def _write(path: str, value: int | str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(str(value))


def make(tasks: int) -> Group | None:
    """A group for `tasks` processes and threads together and a few; None: none can be made."""
    own = _own_folder()
    if own is None or not os.access(own, os.W_OK):
        return None
    try:
        folder = tempfile.mkdtemp(prefix="sandbox-", dir=own)
    except OSError:
        return None
    made = Group(folder)
    # Version 2: without `pids` in our own cgroup.subtree_control the file is not there.
    if os.path.exists(f"{folder}/pids.max"):
        with contextlib.suppress(OSError):
            made._join_threads()
            _write(f"{folder}/pids.max", tasks + _SLACK)
            return made
    made.remove()
    return None


def bound() -> str:
    """What bounds the number of processes here, in words; tries it with a process."""
    if (made := make(1)) is not None:
        with around(made), subprocess.Popen(("cat",), stdin=subprocess.PIPE) as process:
            inside = made.holds(process.pid)
        made.remove()
        if inside:
            return "bounded by the kernel (control group)"
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        return "bounded by the kernel (RLIMIT_NPROC)"
    return "looked at every 10 ms only: no control group can be made, and root has no RLIMIT_NPROC"


def _own_folder() -> str | None:
    """The folder of the `pids` group that this thread is in; it can be moved."""
    try:
        with open(_OWN, encoding="utf-8") as stream:
            lines = [line.rstrip("\n").split(":", 2) for line in stream]
    except OSError:
        return None
    places = {name: path for _, names, path in lines for name in names.split(",")}
    for name in ("pids", ""):  # version 1, else 2
        mount = _mounts().get(name)
        if name in places and mount is not None:
            below = os.path.relpath(places[name], mount[0])
            if not below.startswith(".."):
                return os.path.normpath(os.path.join(mount[1], below))
    return None


@functools.cache
def _mounts() -> dict[str, tuple[str, str]]:
    """Where the group file systems of `pids` (version 1) and "" (2) are: root and mount point."""
    found: dict[str, tuple[str, str]] = {}
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                first, _, last = line.partition(" - ")
                root, point = first.split()[3:5]
                kind, *_, options = last.split()  # the name of what is mounted may be empty
                if kind == "cgroup2":
                    found.setdefault("", (root, point))
                elif kind == "cgroup" and "pids" in options.split(","):
                    found.setdefault("pids", (root, point))
    except (OSError, ValueError):
        return found
    return found
