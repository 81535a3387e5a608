"""The inside of the sandbox: runs one program, or in a session one after another.

Started in a fresh interpreter, as compiled code from a pipe, with the arguments

    program|session CONTROL STATUS CPU_S MEMORY FILE FILES TASKS PACKAGES [LANDLOCK ...]

with the source, or the requests of a session, at standard input; it must not import forethought,
and imports little, because every import is paid for by every call. It writes lines to the
descriptor CONTROL, and a program can write there, too: nothing that is said there may do more than
spoil the program's own result.

    r            about to run      x CODE     ended by itself with this exit code
    m            met the limit of memory      d NUMBER CODE MET    a call of a session is done

Without a process name space of its own (STATUS is not -1) the program is a child of a supervisor,
which is a "child subreaper" on Linux: whatever the program starts, detached or not, stays below it,
so that it can be found and killed. The supervisor writes `s PID` and, at the end, `e WAIT_STATUS`
to STATUS, which the program does not have.
"""

from __future__ import annotations

import gc
import posix
import sys

TYPE_CHECKING = False  # typing costs milliseconds
if TYPE_CHECKING:
    from typing import Any, TextIO

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_KILL = 9
_MIB = 1 << 20
_NEAR = 0.75  # of the address space: a failed request may have been for the rest
_HANDLER_ROOM = 32 * _MIB  # address space left for reporting a MemoryError


def main(words: list[str]) -> int:
    """Runs the program; returns the exit status of whichever process this is."""
    kind, packages, landlock = words[0], words[8], words[9:]
    control, status, *bounds = map(int, words[1:8])
    if status >= 0 and (child := _fork(control, status)) != 0:
        return _supervise(child, status)
    sys.argv = ["program.py"]
    for folder in packages.split(":") if packages else ():
        import site

        site.addsitedir(folder)
    _set_limits(*bounds)
    if landlock:
        _confine(landlock)
    posix.write(control, b"r\n")
    if kind == "session":
        return _serve(control, bounds[1], alone=status < 0)
    own, source = posix.getpid(), b""
    while data := posix.read(0, 1 << 16):
        source += data
    gc.freeze()
    before = set(sys.modules), sys.stdout, sys.stderr
    code, met = _execute(source.decode(), _scope(), bounds[1])
    if posix.getpid() == own:  # and no fork of it, which the program may outlive
        posix.write(control, b"m\n" if met else b"x %d\n" % code)
        if before == (set(sys.modules), sys.stdout, sys.stderr):
            _leave(code)
    return code


def _leave(code: int) -> None:
    """Ends a program that imported nothing, as the interpreter would but for freeing memory.

    That is a sixth of a call. Threads to wait for and exit handlers come with their modules, so
    that only finalizers and what is left in streams can still say something.
    """
    del sys.modules["__main__"]
    gc.collect()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # closed, or by the other side: the interpreter deals with them
        return
    posix._exit(code)


def _fork(control: int, status: int) -> int:
    """Makes the supervisor; 0 in the program's process, whose group can be killed at once."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, _KILL)  # never outlive the thread that asked
    child = posix.fork()
    posix.close(status if child == 0 else control)
    if child == 0:
        posix.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, _KILL)
    return child


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _supervise(child: int, status_fd: int) -> int:
    """Reports the child's end, then stays as the parent of what it left until that is gone."""
    null = posix.open("/dev/null", posix.O_RDWR)
    for stream in (0, 1, 2):  # or the pipes would stay open after the program's end
        posix.dup2(null, stream)
    posix.write(status_fd, b"s %d\n" % child)
    while True:
        try:
            ended, status = posix.wait()
        except ChildProcessError:
            return 0
        if ended == child:
            posix.write(status_fd, b"e %d\n" % status)


def _set_limits(cpu_s: int, memory: int, file_bytes: int, open_files: int, tasks: int) -> None:
    import resource

    wanted = {
        resource.RLIMIT_CORE: 1,  # unlike 0, that starts no program named in core_pattern (core(5))
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_NPROC: tasks,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        last = bound + (kind == resource.RLIMIT_CPU and bound == value)  # first a signal that tells
        resource.setrlimit(kind, (bound, last if hard == resource.RLIM_INFINITY else bound))
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory + _HANDLER_ROOM))
    except (ValueError, OSError):  # macOS maps more than that before a program begins
        if sys.platform == "linux":
            raise


def _confine(words: list[str]) -> None:
    import marshal

    code, abi, rules, *paths = words
    names: dict[str, Any] = {"__name__": "landlock_inside"}
    exec(marshal.loads(bytes.fromhex(code)), names)
    names["confine"](int(abi), bytes.fromhex(rules), paths)


def _scope() -> dict[str, object]:
    """The names of a new `__main__`."""
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    return module.__dict__


def _serve(control: int, memory: int, *, alone: bool) -> int:
    """Answers requests `NUMBER SIZE KEEP` + source with `d NUMBER CODE MET`, to the last one."""
    requests = open(posix.dup(0), "rb")  # noqa: SIM115 (to the end of the process)
    null = posix.open("/dev/null", posix.O_RDWR)
    own, scope = posix.getpid(), _scope()
    outputs = [(stream, posix.dup(stream)) for stream in (1, 2)]
    streams = [sys.stdout, sys.stderr]
    while line := requests.readline(64):
        number, size, keep = map(int, line.split())
        source = requests.read(size).decode()
        posix.dup2(null, 0)
        for stream, copy in outputs:  # what an earlier program did to them is undone
            posix.dup2(copy, stream)
        for i in (0, 1):
            if streams[i].closed:
                streams[i] = _text_stream(i + 1)
        sys.stdout, sys.stderr = streams
        code, met = _execute(source, scope if keep else _scope(), memory)
        if posix.getpid() != own:  # a fork that ran on to the end of its program
            posix._exit(code)
        if keep and alone:  # what it started ends with it; in a name space of its own, -1 is that
            _kill_others()
        _reap()
        posix.write(control, b"d %d %d %d\n" % (number, code, met))
    return 0


def _text_stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", 1, encoding="utf-8", errors="replace", closefd=False)


def _kill_others() -> None:
    try:
        posix.kill(-1, _KILL)
    except OSError:  # there is nobody
        return


def _reap() -> None:
    """Forgets children that have ended, which count as processes until then."""
    try:
        while posix.waitpid(-1, posix.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _execute(source: str, scope: dict[str, object], memory: int) -> tuple[int, bool]:
    """Runs a program; its exit code, and whether it met the limit of memory."""
    try:
        # dont_inherit: this file's __future__ import is not the program's.
        exec(compile(source, "program.py", "exec", dont_inherit=True), scope)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF, False
        _tell(str(end.code))
        return 1, False
    except MemoryError as error:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        if met := not _own_doing(error, memory):
            scope.clear()
            _tell("MemoryError")
        else:
            _print_error(error)
        if hard != resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_AS, (min(memory, hard), hard))
        return 1, met
    except BaseException as error:
        _print_error(error)
        return 1, False
    return 0, False


def _tell(text: str) -> None:
    try:
        posix.write(2, text.encode("utf-8", "replace") + b"\n")
    except OSError:  # the program closed it
        return


def _own_doing(error: MemoryError, memory: int) -> bool:
    """True where the program raised the error itself, or the compiler did for deep nesting."""
    import opcode

    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or _peak_bytes() >= _NEAR * memory:
        return False
    code = last.tb_frame.f_code
    compiling = code.co_filename == _own_doing.__code__.co_filename
    return compiling or code.co_code[last.tb_lasti] == opcode.opmap["RAISE_VARARGS"]


def _peak_bytes() -> int:
    """The largest address space that this process had; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            lines = [line for line in stream if line.startswith("VmPeak:")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) * 1024 if lines else 0


def _print_error(error: BaseException) -> None:
    """Prints what the interpreter would, without our own frame, by the interpreter's own code."""
    below = error.__traceback__.tb_next if error.__traceback__ else None
    sys.__excepthook__(type(error), error.with_traceback(below), below)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
