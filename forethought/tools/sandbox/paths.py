"""Where the interpreter, its library and the system lie: what a program must be able to read."""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import marshal
import os
import site
import sys
import sysconfig
from pathlib import Path

OPEN_FILES = 128
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")


@functools.cache
def interpreter() -> str:
    """The real interpreter; a virtual environment's is a link to it, or a copy that needs it."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


@functools.cache
def inside_code(name: str) -> bytes:
    """A module of this package as compiled code: no file is needed inside, nor compiled."""
    spec = importlib.util.find_spec(f"forethought.tools.sandbox.{name}")
    assert spec is not None and isinstance(spec.loader, importlib.abc.InspectLoader)
    return marshal.dumps(spec.loader.get_code(spec.name))


def inside_command(code: int) -> tuple[str, ...]:
    """The interpreter with the program that runs inside; its arguments come behind.

    `code` is a `filled_pipe` of its compiled code: as an argument that is slow to read.
    """
    start = (
        f"import marshal, posix; code = posix.read({code}, {1 << 16}); posix.close({code}); "
        "exec(marshal.loads(code))"
    )
    return (interpreter(), "-s", "-P", "-B", "-u", "-S", "-c", start)


def filled_pipe(data: bytes) -> int:
    """The reading end of a pipe that holds `data`, which must fit in one, and nothing more."""
    end, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return end


@functools.cache
def prefix_paths() -> tuple[str, ...]:
    """What of the interpreter lies outside the system's folders.

    Its whole prefix, unless a home folder lies in that: then only the interpreter and its library.
    """
    prefix = os.path.realpath(sys.base_prefix)
    home = os.path.realpath(os.path.expanduser("~"))
    if _is_below(home, prefix):
        kinds = ("stdlib", "platstdlib")
        library = {os.path.realpath(sysconfig.get_path(kind, vars={})) for kind in kinds}
        wanted = [interpreter(), *sorted(library)]
    else:
        wanted = [prefix, interpreter()]
    kept: list[str] = []
    for path in wanted:
        if not any(_is_below(path, other) for other in (*_SYSTEM, *kept)):
            kept.append(path)
    return tuple(kept)


def environment(home: str) -> dict[str, str]:
    """All the variables that a program has, whose only folder is `home`."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
    }


def system_paths() -> tuple[str, ...]:
    """Everything that a program may read, as paths that may be missing."""
    return (*_SYSTEM, *prefix_paths())


def system_links() -> tuple[tuple[str, str], ...]:
    """Folders of the system that are links, and where they point: /bin -> usr/bin."""
    links = (path for path in _SYSTEM if os.path.islink(path))
    return tuple((path, os.readlink(path)) for path in links)


def package_folders(wanted: bool) -> list[str]:
    """Folders of installed packages, for programs that may use them."""
    if not wanted:
        return []
    return [folder for folder in site.getsitepackages() if Path(folder).is_dir()]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
