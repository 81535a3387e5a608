"""The inside of the sandbox: a supervisor that forks the program and tells how it ended.

Run by `forethought.tools.python` in a fresh interpreter as
`sandbox_child.py STATUS_FD PROGRAM LIMITS_JSON`; it must not import forethought. The supervisor is
a "child subreaper" on Linux: whatever the program starts, detached or not, stays below it, so that
the parent can find and kill it. It writes the program's process id to STATUS_FD, and later its wait
status and whether the program met its memory limit (1) or not (0).
"""

from __future__ import annotations

import ctypes
import json
import opcode
import os
import resource
import signal
import sys
import types

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_MIB = 1 << 20
_RAISE = opcode.opmap["RAISE_VARARGS"]
_NEAR = 0.75  # of the address space: a failed request may have been for the rest
_HANDLER_ROOM = 32 * _MIB  # address space left for reporting a MemoryError


def main(status_fd: int, program: str, limits: dict[str, int]) -> int:
    """Runs the program in a child; returns the exit status of whichever process this is."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # never outlive the process that asked
    met_read, met_write = os.pipe()  # the program's process says here that it met the limit
    os.set_blocking(met_read, False)
    child = os.fork()
    if child == 0:
        os.close(status_fd)
        os.close(met_read)
        os.setpgid(0, 0)  # the whole group can be killed at once, without its supervisor
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return _run(program, limits, met_write)
    os.close(met_write)
    _supervise(child, status_fd, met_read)
    return 0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _supervise(child: int, status_fd: int, met_read: int) -> None:
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
            os.write(status_fd, b"%d %d\n" % (status, _has_byte(met_read)))


def _has_byte(descriptor: int) -> bool:
    try:
        return os.read(descriptor, 1) != b""
    except BlockingIOError:  # a process that the program left behind holds the other end
        return False


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


def _run(program: str, limits: dict[str, int], met_write: int) -> int:
    """Executes the file `program` as `__main__` under the limits."""
    own = os.getpid()
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
    except MemoryError as error:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        if _own_doing(error, limits["memory_bytes"]):
            return _print_error(error)
        module.__dict__.clear()
        if os.getpid() == own:  # and no fork of it, which the program may outlive
            os.write(met_write, b"m")
        os.write(2, b"MemoryError\n")
        return 1
    except BaseException as error:
        return _print_error(error)
    return 0


def _own_doing(error: MemoryError, memory: int) -> bool:
    """True where the program raised the error itself, or the compiler did for deep nesting."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or _peak_bytes() >= _NEAR * memory:
        return False
    compiling = last.tb_frame.f_code.co_filename == __file__
    return compiling or last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE


def _peak_bytes() -> int:
    """The largest address space that this process had; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            lines = [line for line in stream if line.startswith("VmPeak:")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) * 1024 if lines else 0


def _print_error(error: BaseException) -> int:
    """Prints what the interpreter would, without our own frames; returns the exit code."""
    import traceback

    below = error.__traceback__.tb_next if error.__traceback__ else None
    traceback.print_exception(type(error), error, below)
    return 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])))
