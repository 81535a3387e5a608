"""Levels of isolation on this machine: which there are, which work, and the one to take.

The strongest that passes a test when it is first asked for, once a process. `limits` keeps out
accidents only, so that code which a model wrote runs there only if a person has named it.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forethought.errors import InputError, MissingError
from forethought.tools.sandbox import bubblewrap, group, seccomp, tree
from forethought.tools.sandbox.paths import environment
from forethought.tools.sandbox.session import LocalSession, start
from forethought.tools.sandbox.types import Probe, Sandbox, SandboxLimits, SandboxResult

LEVELS: tuple[str, ...] = ("limits", "landlock", "bwrap")
"""Weakest first."""

AUTO = "auto"
_INSTALL = (
    "install bubblewrap (Debian, Ubuntu: `apt install bubblewrap`; Fedora: `dnf install "
    'bubblewrap`), or name the level `limits` (`--level limits`, `tools.sandbox = "limits"`) '
    "where a container or a virtual machine holds the program"
)


@dataclass(frozen=True, slots=True)
class LocalSandbox:
    """Programs in processes of this machine."""

    level: str

    def run(self, code: str, limits: SandboxLimits) -> SandboxResult:
        """Runs a program with nothing from before; returns when all that it started is gone.

        Raises:
            RuntimeError: the sandbox itself did not start.
        """
        began = time.monotonic()
        watch = start("program", self.level, limits)
        try:
            watch.send(code.encode("utf-8", "replace"), last=True)
            watch.wait(began + limits.timeout_s)
        finally:  # on an interrupt, too, nothing stays behind
            watch.close()
        return watch.result(self.level, time.monotonic() - began)

    def session(self, limits: SandboxLimits) -> LocalSession:
        """A new session; starts nothing yet."""
        return LocalSession(self.level, limits)


def run_python(
    code: str, limits: SandboxLimits | None = None, *, level: str = AUTO
) -> SandboxResult:
    """Runs `code` as a program and returns when it and all it started are gone.

    Sets of strings iterate in a fixed order (PYTHONHASHSEED=0), so the same program prints the
    same; its own clocks and random numbers are its own affair.

    Args:
        code: source text of the program.
        limits: bounds; the defaults if absent.
        level: one of `LEVELS`, `auto` = the strongest that works, or `package.module:Name`.

    Raises:
        InputError: no such level.
        MissingError: the level is not available here.
    """
    return open_sandbox(level).run(code, limits or SandboxLimits())


def open_sandbox(name: str = AUTO) -> Sandbox:
    """The sandbox that a name stands for.

    Raises:
        InputError: no such level, module or class.
        MissingError: the level is not available here, or for `auto` none that holds.
    """
    if name == AUTO:
        return LocalSandbox(strongest())
    if ":" in name:
        return _from_elsewhere(name)
    if name not in LEVELS:
        raise _unknown(name, repr(name))
    why = why_not(name)
    if why:
        raise MissingError(f"sandbox level {name!r}: {why}", next_step=_INSTALL)
    return LocalSandbox(name)


def _from_elsewhere(name: str) -> Sandbox:
    module, _, attribute = name.partition(":")
    try:
        made: Any = getattr(importlib.import_module(module), attribute)()
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise _unknown(name, str(error)) from error
    if not all(hasattr(made, word) for word in ("level", "run", "session")):
        raise _unknown(name, f"a {type(made).__name__} without level, run and session")
    sandbox: Sandbox = made
    return sandbox


def _unknown(name: str, got: str) -> InputError:
    return InputError(
        f"sandbox level {name}",
        got=got,
        expected=f"one of {', '.join((AUTO, *LEVELS))}, or package.module:Name of a sandbox",
        next_step="choose a known level",
    )


@functools.cache
def strongest() -> str:
    """The strongest level that works here.

    Off Linux that is `limits`, with a warning.

    Raises:
        MissingError: on Linux, nothing stronger than `limits`; or no POSIX system.
    """
    if sys.platform != "linux":
        if why := why_not("limits"):
            raise MissingError(f"a sandbox: {why}", next_step="run under Linux, macOS or WSL")
        warnings.warn(
            "programs run at sandbox level `limits`, which does not stop them from reading your "
            "files or using the network: docs/sandbox.md",
            stacklevel=2,
        )
        return "limits"
    reasons = []
    for level in reversed(LEVELS[1:]):
        if not (why := why_not(level)):
            return level
        reasons.append(f"{level}: {why}")
    raise MissingError(
        f"a sandbox for code that a model wrote ({'; '.join(reasons)})", next_step=_INSTALL
    )


@functools.cache
def why_not(level: str) -> str:
    """Why a level of `LEVELS` does not work here; "" = it does. Tried once a process."""
    if os.name != "posix":
        return f"not on {sys.platform}"
    if level == "limits":
        return ""
    if sys.platform != "linux":
        return "Linux only"
    if not seccomp.is_known_machine():
        return f"x86_64 and aarch64 only, this is {os.uname().machine}"
    if level == "bwrap" and bubblewrap.find() is None:
        return "bwrap is not installed"
    if level == "landlock" and tree.landlock_version() == 0:
        return "this kernel has no Landlock"
    try:
        probe = _contains(level)
    except (OSError, RuntimeError) as error:
        return " ".join(str(error).split())
    return "" if probe.held else f"its test failed: {probe.text}"


def _escape(canary: Path) -> str:
    """A program that says what it found of the user, and tries to write to a file."""
    known = {*environment(""), "PWD"}
    return f"""
import os, socket
found = set(os.environ) - {known!r}
try:
    if "canary" in open({str(canary)!r}).read(): found.add("a file of the user")
except OSError: pass
try: open({str(canary)!r}, "a").write("!")
except OSError: pass
try: socket.socket(); found.add("a socket")
except OSError: pass
try:
    if sum(name.isdecimal() for name in os.listdir("/proc")) > 3: found.add("other processes")
except OSError: pass
print("contained", *found)
"""


def _contains(level: str) -> Probe:
    """Whether a program at a level finds files, a socket, other processes or variables."""
    with tempfile.TemporaryDirectory(prefix="forethought-probe-") as folder:
        canary = Path(folder, "canary")
        canary.write_text("canary")
        told = LocalSandbox(level).run(_escape(canary), SandboxLimits())
        whole = canary.read_text() == "canary"
    text = (told.stdout or told.stderr).strip()[-300:] + ("" if whole else ", wrote a file")
    return Probe(what="contains", held=told.stdout == "contained\n" and whole, text=text)


def self_test(level: str) -> tuple[Probe, ...]:
    """Checks on this machine that a level does what it says; about two seconds.

    Raises:
        InputError: no such level.
        MissingError: the level is not available here.
    """
    quick = SandboxLimits(timeout_s=1.0, processes=4, memory_mb=128)
    programs: tuple[tuple[str, str, Callable[[SandboxResult], bool]], ...] = (
        ("runs a program", "print(6 * 7)", lambda r: r.stdout == "42\n" and r.exit == 0),
        ("stops after the time", "while True: pass", lambda r: r.killed == "time"),
        ("bounds memory", "x = bytearray(1 << 30)", lambda r: r.killed == "memory"),
        ("bounds output", "while True: print('x' * 999)", lambda r: r.killed == "output"),
        (
            "bounds processes",
            "import os, time\nfor _ in range(8): os.fork() or (time.sleep(5), os._exit(0))\n"
            "time.sleep(5)",
            lambda r: r.killed == "processes",
        ),
        (
            "hides the environment",
            "import os; print(len(os.environ) < 8)",
            lambda r: r.stdout == "True\n",
        ),
    )
    place = open_sandbox(level)
    more = {"bounds processes": f"; {group.bound()}"} if sys.platform == "linux" else {}
    results = [(name, place.run(code, quick), good) for name, code, good in programs]
    probes = [
        Probe(
            what=name, held=good(r), text=f"exit {r.exit}, killed {r.killed}" + more.get(name, "")
        )
        for name, r, good in results
    ]
    return (*probes, *([] if level == "limits" else [_contains(level)]))


@functools.cache
def own_programs() -> LocalSession:
    """For small programs of our own: one process, a namespace each, level `limits`."""
    return LocalSession("limits", SandboxLimits(), keep=False)
