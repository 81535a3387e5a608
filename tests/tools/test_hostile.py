"""Hostile programs are contained: at level `bwrap` all, at `landlock` what it promises.

The table is in hostile_cases.py. A level that is missing fails these tests, it does not skip them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forethought.tools.sandbox import SandboxLimits, SandboxResult, open_sandbox, tree
from forethought.tools.sandbox.watch import _RESIDENT, read_stat
from tests.tools.hostile_cases import CASES, Case

LIMITS = SandboxLimits(
    timeout_s=1.0, memory_mb=128, processes=8, file_mb=1, disk_mb=4, output_bytes=10_000
)
SECRET = "gold=" + secrets.token_hex(8)
SUBREAPER = 36
VICTIM = """
import os, signal, sys, time
signal.signal(28, lambda *_: open(sys.argv[2], "w").close())
print("ready", flush=True)
while True: time.sleep(60)
"""


class World:
    """What a program could do harm to, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "outside"
        self.scratch = folder / "scratch"
        self.home = folder / "home"
        for path in (self.folder, self.scratch / "sandbox-other/inner", self.home / ".ssh"):
            path.mkdir(parents=True)
        self.planted = (
            self.folder / "canary",
            self.scratch / "sandbox-other/inner/answer",
            self.home / ".ssh/id",
        )
        for path in self.planted:
            path.write_text(SECRET)
        self._listen(folder)
        self.victim = self._start_victim()
        self.before = self.state()
        self.children = descendants()

    def _listen(self, folder: Path) -> None:
        self.abstract = f"forethought-{secrets.token_hex(4)}"
        kinds = (
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "s")),
            (socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self.abstract),
            (socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "d")),
        )
        self.sockets = []
        for family, kind, address in kinds:
            listener = socket.socket(family, kind)
            listener.bind(address)
            if kind == socket.SOCK_STREAM:
                listener.listen()
            self.sockets.append(listener)

    def _start_victim(self) -> subprocess.Popen[bytes]:
        victim = subprocess.Popen(
            [sys.executable, "-S", "-c", VICTIM, SECRET, str(self.folder / "hit")],
            env={"FORETHOUGHT_CANARY": SECRET},
            stdout=subprocess.PIPE,
        )
        assert victim.stdout is not None and victim.stdout.readline() == b"ready\n"
        return victim

    def program(self, code: str) -> str:
        words = {
            "folder": self.folder,
            "scratch": self.scratch,
            "home": self.home,
            "pid": self.victim.pid,
            "tcp": self.sockets[0].getsockname()[1],
            "udp": self.sockets[1].getsockname()[1],
            "unix": self.sockets[2].getsockname(),
            "abstract": self.abstract,
            "datagram": self.sockets[4].getsockname(),
        }
        for name, value in words.items():
            code = code.replace(f"@{name}@", str(value))
        return code

    def state(self) -> dict[str, object]:
        """Everything that must be as before."""
        pid = self.victim.pid
        with contextlib.suppress(ProcessLookupError):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        canary = self.planted[0]
        about = canary.stat() if canary.exists() else None
        keys = Path("/proc/keys")
        return {
            "files": {
                str(p): p.read_bytes() for p in sorted(self.folder.rglob("*")) if p.is_file()
            },
            "folder": sorted(map(str, [*self.folder.rglob("*"), *self.home.rglob("*")])),
            "scratch": sorted(map(str, self.scratch.rglob("*"))),
            "about": about and (about.st_mode, about.st_uid, about.st_mtime_ns, about.st_nlink),
            "attributes": about and os.listxattr(canary),
            "victim": stat[0] not in "ZTX",
            "score": Path(f"/proc/{pid}/oom_score_adj").read_text(),
            "bounds": resource.prlimit(pid, resource.RLIMIT_NOFILE),
            "priority": (os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid)),
            "mounts": Path("/proc/self/mounts").read_text().count(str(self.folder)),
            "name": os.uname().nodename,
            "segments": Path("/proc/sysvipc/shm").read_text(),
            "queues": Path("/proc/sysvipc/msg").read_text(),
            "keys": keys.is_file() and "forethought-canary" in keys.read_text(),
            "left": [p for p in LEFT if p.exists()],
        }

    def reached(self) -> list[int]:
        return [s.fileno() for s in select.select(self.sockets, [], [], 0)[0]]

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        assert self.victim.stdout is not None
        self.victim.stdout.close()
        for listener in self.sockets:
            listener.close()
        for path in LEFT:
            path.unlink(missing_ok=True)


LEFT = [Path(d, "forethought-canary") for d in ("/", "/dev", "/dev/shm", "/run", "/var/tmp")]
LEFT.append(Path("/tmp/left"))


def descendants() -> set[int]:
    """Live processes below this one; it is the parent of whatever a program leaves."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):
                text = Path("/proc", name, "stat").read_text("ascii", "replace")
                state, parent = text.rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(name)] = int(parent)
    found = {os.getpid()}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.fixture(scope="module", autouse=True)
def parent_of_what_is_left() -> Iterator[None]:
    prctl = ctypes.CDLL(None).prctl
    prctl(SUBREAPER, 1, 0, 0, 0)
    yield
    prctl(SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("FORETHOUGHT_CANARY", SECRET)
    made = World(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(made.scratch))
    yield made
    made.close()


def effects(case: Case, level: str, world: World) -> tuple[list[str], SandboxResult]:
    """What came of a program outside, in words, and its result."""
    place = open_sandbox(level)
    found = []
    for code in (case.code, case.then) if case.then else (case.code,):
        began = time.monotonic()
        result = place.run(world.program(code), LIMITS)
        took = time.monotonic() - began
        if took > LIMITS.timeout_s + 1:
            found.append(f"answered after {took:.2f} s")
        text = result.stdout + result.stderr
        if SECRET in text:
            found.append("told the secret")
        if "ESCAPED" in result.stdout:
            found.append("was given what is refused")
        if max(len(result.stdout), len(result.stderr)) > LIMITS.output_bytes:
            found.append("too much output")
    deadline = time.monotonic() + 2
    while (left := descendants() - world.children) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    after = world.state()
    found += [f"changed {name}" for name, value in world.before.items() if after[name] != value]
    found += ["left processes"] * bool(left) + ["reached a socket"] * bool(world.reached())
    return found, result


def parameters(cases: list[Case]) -> list[object]:
    return [pytest.param(c, id=f"{c.kind}: {c.name}") for c in cases]


@pytest.mark.parametrize("case", parameters(CASES))
def test_bwrap_contains(case: Case, world: World) -> None:
    found, result = effects(case, "bwrap", world)
    assert not found, result
    assert case.killed is None or result.killed == case.killed, result


@pytest.mark.parametrize("case", parameters([c for c in CASES if c.landlock == "contained"]))
def test_landlock_contains(case: Case, world: World) -> None:
    found, result = effects(case, "landlock", world)
    assert not found, result
    assert case.killed is None or result.killed == case.killed, result


OLDER = [c for c in CASES if c.kind in ("signals", "write", "network", "limits of others")]


@pytest.mark.parametrize("case", parameters(OLDER))
@pytest.mark.parametrize("abi", [1, 3])
def test_an_older_landlock_contains_what_it_cannot_see_by_the_filter(
    case: Case, abi: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1: no truncate, network or scopes; 3: no network or scopes."""
    monkeypatch.setattr(tree, "landlock_version", lambda: abi)
    assert not effects(case, "landlock", world)[0]


@pytest.mark.parametrize("case", parameters([c for c in CASES if c.effect]))
def test_limits_do_not_contain(case: Case, world: World) -> None:
    """The broken twin: what the other two levels stop has an effect here, and it is seen."""
    assert effects(case, "limits", world)[0]


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len(CASES) >= 60 and len({c.kind for c in CASES}) >= 15
    assert len({(c.kind, c.name) for c in CASES}) == len(CASES)


def test_a_process_lives_while_one_of_its_threads_does() -> None:
    """Its first thread has ended: the kernel calls it a zombie, without memory of its own."""
    code = (
        "import ctypes, os, threading, time\n"
        "def hold():\n    x = b'1' * (30 << 20)\n    print('held', flush=True)\n"
        "    time.sleep(60)\n"
        "threading.Thread(target=hold).start()\n"
        "ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        folder = f"/proc/{process.pid}"
        while " Z " not in Path(folder, "stat").read_text():
            time.sleep(0.01)
        fields = read_stat(folder)
        assert fields is not None and int(fields[_RESIDENT]) * resource.getpagesize() > 30 << 20
        process.kill()
        while "Threads:\t1\n" not in Path(folder, "status").read_text():
            time.sleep(0.01)
        assert read_stat(folder) is None, "a zombie that nobody has waited for is none"
