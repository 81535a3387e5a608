"""Memory of a run: how it is kept, and the highest sum over a process and all below it.

A kernel keeps the peak of each process, not that of a tree, so the sum is looked at a few times a
second. Recorded only; nothing decides by it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
import threading
from pathlib import Path
from types import TracebackType

EVERY_S = 0.25
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES, _OWN_MAPPING_BYTES = 256 << 20, 32 << 20
_PROC = Path("/proc")


def settle() -> None:
    """Makes long runs of small operations cheaper; to be called once, before models are loaded.

    Objects of imported modules are taken out of garbage collection, which would walk over all of
    them again and again, and glibc keeps freed memory instead of giving it back and faulting it in
    page by page a moment later. What is computed does not change. A model that is frozen in this
    way might never be freed, so none may be there yet.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class MemoryWatch:
    """A context manager; `peak_mb` may be asked at any time."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory-watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def peak_mb(self) -> float:
        """The peak so far in MiB: of the tree as sampled, or of this process if that is more."""
        return round(max(self._peak, tree_bytes(os.getpid()), own_peak_bytes()) / (1 << 20), 1)

    def _sample(self) -> None:
        while not self._stop.wait(self._every_s):
            self._peak = max(self._peak, tree_bytes(os.getpid()))


def tree_bytes(root: int) -> int:
    """Resident bytes of a process and of all below it, now; 0 where there is no /proc."""
    total, pending = 0, [root]
    while pending:
        pid = pending.pop()
        try:
            pages = (_PROC / str(pid) / "statm").read_text("ascii").split()[1]
            tasks = os.listdir(_PROC / str(pid) / "task")
        except (OSError, IndexError):  # gone in the meantime
            continue
        total += int(pages) * os.sysconf("SC_PAGE_SIZE")
        for task in tasks:
            pending += _children(pid, task)
    return total


def _children(pid: int, task: str) -> list[int]:
    try:
        text = (_PROC / str(pid) / "task" / task / "children").read_text("ascii")
    except OSError:
        return []
    return [int(word) for word in text.split()]


def own_peak_bytes() -> int:
    """The largest resident memory that this process had."""
    try:
        with (_PROC / "self" / "status").open(encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
