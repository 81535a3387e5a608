"""The inside of the sandbox: a supervisor that forks the program and tells how it ended.

Run by `forethought.tools.python` in a fresh interpreter as
`sandbox_child.py STATUS_FD PROGRAM LIMITS_JSON`; it must not import forethought. The supervisor is
a "child subreaper" on Linux: whatever the program starts, detached or not, stays below it, so that
the parent can find and kill it. It writes the program's process id, and later its wait status, to
STATUS_FD.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import types

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_MIB = 1 << 20
_HANDLER_ROOM = 32 * _MIB  # address space left for reporting a MemoryError


def main(status_fd: int, program: str, limits: dict[str, int]) -> int:
    """Runs the program in a child; returns the exit status of whichever process this is."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # never outlive the process that asked
    child = os.fork()
    if child == 0:
        os.close(status_fd)
        os.setpgid(0, 0)  # the whole group can be killed at once, without its supervisor
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return _run(program, limits)
    _supervise(child, status_fd)
    return 0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _supervise(child: int, status_fd: int) -> None:
    """Reports the child's end, then stays as the parent of what it left until that is gone."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):  # or the pipes would stay open after the program's end
        os.dup2(null, stream)
    os.write(status_fd, b"%d\n" % child)
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return
        if ended == child:
            os.write(status_fd, b"%d\n" % status)


def _set_limits(limits: dict[str, int]) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: limits["cpu_s"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: limits["user_tasks"],
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    memory = limits["memory_bytes"]
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory + _HANDLER_ROOM))
    except (ValueError, OSError):  # macOS maps more than that before a program begins
        if sys.platform == "linux":
            raise


def _run(program: str, limits: dict[str, int]) -> int:
    """Executes the file `program` as `__main__` under the limits."""
    with open(program, encoding="utf-8") as stream:
        source = stream.read()
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["program.py"]
    _set_limits(limits)
    try:
        # dont_inherit: this file's __future__ import is not the program's.
        exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        raise
    except MemoryError:
        module.__dict__.clear()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        os.write(2, b"MemoryError\n")
        return 1
    except BaseException as error:  # what the interpreter would print, without our own frames
        import traceback

        below = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, below)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])))
