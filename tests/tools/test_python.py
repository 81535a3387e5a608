"""The sandbox against programs that misbehave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from forethought.errors import InputError, MissingError
from forethought.tools.sandbox import (
    LEVELS,
    SandboxLimits,
    SandboxResult,
    last_line,
    levels,
    open_sandbox,
    run_python,
    self_test,
    strongest,
    tree,
)
from forethought.tools.sandbox.paths import environment, interpreter

LEVEL = "limits"


@pytest.fixture(autouse=True, params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every law here holds at every level; one that is not here fails, it is not skipped."""
    name: str = request.param
    monkeypatch.setattr(sys.modules[__name__], "LEVEL", name)
    return name


def run(code: str, **bounds: float) -> SandboxResult:
    limits = {"timeout_s": 5.0, "memory_mb": 128, **bounds}
    return run_python(code, SandboxLimits(**limits), level=LEVEL)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone_soon(pid: int) -> bool:
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def test_output_and_exit_code_come_back() -> None:
    result = run("import sys; print(6 * 7); print('note', file=sys.stderr); sys.exit(3)")
    assert (result.stdout, result.stderr, result.exit) == ("42\n", "note\n", 3)
    assert result.killed is None and result.level == LEVEL and 0 < result.wall_s < 30


def test_an_exception_is_told_as_python_tells_it_without_our_own_frames() -> None:
    result = run("def f():\n    return 1 / 0\nf()")
    assert result.exit == 1 and result.killed is None
    assert last_line(result.stderr) == "ZeroDivisionError: division by zero"
    assert 'File "program.py", line 3' in result.stderr and "inside" not in result.stderr
    broken = run("def f(:")
    assert broken.exit == 1 and "SyntaxError" in last_line(broken.stderr)
    assert "null bytes" in run("\0").stderr
    assert run("pass \ud800").exit == 1


ENDS = {
    "a finalizer": "class A:\n    def __del__(self): print('gone', len(NAMES))\n"
    "NAMES = [1]\na = A()",
    "finalizers in rings": "class A:\n    def __init__(self, n): self.n, self.own = n, self\n"
    "    def __del__(self): print(self.n)\na, b, c = A(1), A(2), A(3)",
    "a finalizer that fails": "class A:\n    def __del__(self): 1 / 0\na = A()",
    "a generator": "def f():\n    try: yield\n    finally: print('closed')\ng = f()\nnext(g)",
    "an open stream": "s = open(1, 'w', closefd=False)\ns.write('late')",
    "another stream": "import sys\nsys.stdout = open(1, 'w', closefd=False)\nprint('late')",
    "a closed stream": "import sys\nprint('early')\nsys.stdout.close()",
    "no stream": "import sys\nsys.stdout = None",
    "a senseless stream": "import sys\nsys.stdout = 7\nsys.exit(4)",
    "no main module": "import sys\ndel sys.modules['__main__']\nprint(1)",
    "no modules": "import sys\nsys.modules.clear()",
    "a thread": "import threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(.1), print('late'))).start()\nprint('early')",
    "an exit handler": "import atexit\natexit.register(print, 'last')\nprint('early')",
    "a text as exit code": "raise SystemExit('why')",
    "an error and a finalizer": "class A:\n    def __del__(self): print('gone')\na = A()\na.b",
}


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_a_program_ends_as_in_the_interpreter(code: str, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(code)
    words = [interpreter(), "-s", "-P", "-B", "-u", "-S", file.name]
    bare = subprocess.run(words, cwd=tmp_path, env=environment(""), capture_output=True, text=True)
    result = run(code)
    assert (result.stdout, result.exit) == (bare.stdout, bare.returncode)
    assert last_line(result.stderr) == last_line(bare.stderr)


def test_the_same_program_prints_the_same() -> None:
    code = "print({str(i) for i in range(50)})\nprint(__name__, 'annotations' in dir())"
    assert run(code).stdout == run(code).stdout


def test_an_endless_loop_ends_at_the_deadline() -> None:
    for code in ("while True: pass", "import time; time.sleep(60)"):
        result = run("print('begun')\n" + code, timeout_s=0.6)
        assert result.killed == "time" and result.exit == -signal.SIGKILL
        assert result.stdout == "begun\n" and result.wall_s < 20


def test_a_program_that_ignores_signals_ends_all_the_same() -> None:
    code = (
        "import signal\nfor s in range(1, 32):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: pass"
    )
    assert run(code, timeout_s=0.6).killed == "time"


@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(1 << 40)",
        "x = []\nfor _ in range(2000): x.append(bytearray(1 << 20))",
        "x = []\nfor _ in range(6 * 10**7): x.append(object())",
        "import os, time\nos.fork(); os.fork()\nx = bytearray(60 << 20)\ntime.sleep(9)",
    ],
    ids=["one big block", "many blocks", "many small things", "shared among processes"],
)
def test_a_memory_bomb_is_told_as_memory(code: str) -> None:
    result = run(code)
    assert result.killed == "memory" and result.exit != 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise MemoryError", "MemoryError"),
        ("def f():\n    raise MemoryError('mine')\nf()", "MemoryError: mine"),
        ("import sys\nsys.exit('MemoryError')", "MemoryError"),
        ("x = " + "-" * 30000 + "1", "Error"),
    ],
    ids=["raised", "raised in a function", "printed", "nested too deeply"],
)
def test_a_program_that_only_speaks_of_memory_met_no_limit(code: str, said: str) -> None:
    result = run(code)
    assert (result.killed, result.exit) == (None, 1)
    assert said in result.stderr.splitlines()[-1]


def test_a_program_that_outlives_a_fork_without_memory_was_not_killed() -> None:
    result = run("import os\nos.fork() or bytearray(1 << 40)\nos.wait()\nraise SystemExit(1)")
    assert (result.killed, result.exit) == (None, 1)


def test_a_memory_error_that_is_handed_on_is_told_as_memory() -> None:
    code = "try:\n    x = bytearray(1 << 30)\nexcept MemoryError as error:\n    raise error"
    assert run(code).killed == "memory"
    assert run(code.replace("raise error", "print('small')")).killed is None


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_output_flood_is_cut_at_the_bound(stream: str) -> None:
    result = run(f"import sys\nwhile True: sys.{stream}.write('x' * 999)", output_bytes=5000)
    assert result.killed == "output"
    assert len(getattr(result, stream)) == 5000


def test_output_up_to_the_bound_is_whole_and_no_crime() -> None:
    result = run("print('x' * 4999)", output_bytes=5000)
    assert result.killed is None and len(result.stdout) == 5000
    both = run("import sys\nsys.stderr.write('e' * 300000)\nprint('o')", output_bytes=400000)
    assert both.killed is None and len(both.stderr) == 300000 and both.stdout == "o\n"


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert run(r"import sys; sys.stdout.buffer.write(b'\xff\n')").stdout == "\ufffd\n"


@pytest.mark.parametrize(
    "code",
    [
        "import os, time\nfor _ in range(8): os.fork()\ntime.sleep(5)",
        "import os, time\nfor _ in range(400):\n"
        "    try: os.fork() or (time.sleep(5), os._exit(0))\n"
        "    except OSError: pass\ntime.sleep(5)",
        "import os, time\nfor _ in range(40): os.fork() or (time.sleep(5), os._exit(0))\n"
        "time.sleep(5)",
    ],
    ids=["bomb", "stubborn bomb", "a crowd of sleepers"],
)  # each ends by itself at some hundred processes, should nothing else stop it
def test_a_fork_bomb_is_stopped_and_leaves_nobody(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # to tell this sandbox from others
    result = run(code, processes=8)
    assert result.killed == "processes"
    assert not living_in(tmp_path)


def living_in(parent: Path) -> list[str]:
    """Live processes whose working folder is, or was, below `parent`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and alive(int(folder.name)):
            try:
                where = os.readlink(folder / "cwd")
            except OSError:
                continue
            if where.startswith(str(parent)):
                found.append(folder.name)
    return found


@pytest.mark.parametrize("level", ["limits"], indirect=True)
def test_a_detached_grandchild_is_killed_after_a_normal_end() -> None:
    code = (
        "import subprocess\n"
        "p = subprocess.Popen(['sleep', '97'], start_new_session=True, env={})\n"
        "print(p.pid)"
    )
    result = run(code)
    assert result.killed is None and result.exit == 0
    assert gone_soon(int(result.stdout))


@pytest.mark.parametrize("level", ["limits"], indirect=True)
def test_a_double_forked_grandchild_is_killed_at_the_deadline() -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        print(os.getpid(), flush=True)\n"
        "        time.sleep(97)\n"
        "    os._exit(0)\n"
        "time.sleep(97)\n"
    )
    result = run(code, timeout_s=1.0)
    assert result.killed == "time"
    assert gone_soon(int(result.stdout))


@pytest.mark.parametrize("level", ["limits"], indirect=True)
def test_a_program_that_kills_its_supervisor_only_ends_itself() -> None:
    result = run("import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(97)")
    assert result.exit == -signal.SIGKILL and result.wall_s < 4


def test_the_environment_and_standard_input_are_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    result = run(
        "import os; print(sorted(os.environ))\ntry: input()\nexcept EOFError: print('eof')"
    )
    names = "['HOME', 'LANG', 'PATH', 'PYTHONHASHSEED', 'PYTHONUTF8', 'TMPDIR']"
    told = result.stdout.replace("'PWD', ", "")  # bubblewrap tells where it is
    assert told.splitlines() == [names, "eof"]


def test_only_the_standard_library_is_there_unless_packages_are_asked_for() -> None:
    code = "import importlib.util as u; print(u.find_spec('pytest') is None)"
    assert run(code).stdout == "True\n"
    assert run(code, packages=True, memory_mb=512).stdout == "False\n"


def test_files_land_in_a_private_folder_that_vanishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os\nopen('a.txt', 'w').write('x')\nos.mkdir('d')\n"
        "os.umask(0o777); os.mkdir('closed')\nprint(os.getcwd(), len(os.listdir('.')))"
    )
    folder, count = run(code).stdout.split()
    assert count == "3" and Path(folder) != Path.cwd()
    assert run(code).stdout.split()[1] == "3"
    assert not list(tmp_path.iterdir())


def test_folders_too_deep_for_the_library_are_removed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    here = os.getcwd()
    try:
        os.chdir(folder.name)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    tree.remove(folder)
    assert not list(tmp_path.iterdir())


def test_folders_do_not_grow_deep() -> None:
    """Or the caller waits long for their removal."""
    result = run("import os\nwhile True: os.mkdir('d'); os.chdir('d')", timeout_s=20.0)
    assert result.killed == "memory"


def test_a_file_cannot_grow_past_its_bound() -> None:
    result = run("open('a', 'wb').write(bytes(3 << 20))", file_mb=1)
    assert result.exit == 1 and "File too large" in result.stderr


def test_descriptors_are_not_left_open() -> None:
    run("print(1)")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run("print(1)")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_level_that_is_not_here_and_an_unknown_one_are_told_apart(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "why_not", lambda name: "not today")
    with pytest.raises(MissingError, match=r"not today.*apt install bubblewrap"):
        run_python("print(1)", level=level)
    for unknown in ("nonsense", "no.such.module:Name", "os:getpid"):
        with pytest.raises(InputError, match="auto, limits, landlock, bwrap"):
            open_sandbox(unknown)


@pytest.mark.parametrize(
    ("missing", "taken"), [((), "bwrap"), (("bwrap",), "landlock"), (("bwrap", "landlock"), None)]
)
def test_the_strongest_that_works_is_taken_and_limits_never_by_itself(
    missing: tuple[str, ...], taken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "why_not", lambda name: "gone" if name in missing else "")
    if taken is None:
        with pytest.raises(MissingError, match=r"bwrap: gone; landlock: gone.*apt install"):
            strongest.__wrapped__()
    else:
        assert strongest.__wrapped__() == taken


def test_off_linux_limits_are_taken_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.warns(UserWarning, match="does not stop them from reading your files"):
        assert strongest.__wrapped__() == "limits"


@pytest.mark.parametrize(
    "bounds", [{"timeout_s": 0}, {"timeout_s": float("nan")}, {"memory_mb": 1}, {"processes": 0}]
)
def test_limits_that_cannot_be_meant_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(InputError, match="sandbox limits"):
        SandboxLimits(**bounds)  # type: ignore[arg-type]


def test_the_self_test_holds_here() -> None:
    probes = self_test(LEVEL)
    assert len(probes) >= 5 and all(probe.held for probe in probes), probes
