"""Sessions: what is kept, what is not, and what a program can spoil."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from forethought.tools.sandbox import LEVELS, SandboxLimits, SandboxSession, open_sandbox
from forethought.tools.sandbox import session as module
from forethought.tools.sandbox.session import LocalSession

LIMITS = SandboxLimits(timeout_s=1.0, memory_mb=128, output_bytes=400_000)
WHO = "import os; print(os.getpid())"


@pytest.fixture
def shared() -> Iterator[LocalSession]:
    """Programs that share a process and no names."""
    made = LocalSession("limits", LIMITS, keep=False)
    yield made
    made.close()


@pytest.fixture(params=LEVELS)
def session(request: pytest.FixtureRequest) -> Iterator[SandboxSession]:
    made = open_sandbox(request.param).session(LIMITS)
    yield made
    made.close()


def test_programs_of_our_own_share_nothing_but_the_process(shared: LocalSession) -> None:
    assert shared.run("x = 6; print(x * 7)").stdout == "42\n"
    assert "NameError: name 'x'" in shared.run("print(x)").stderr
    assert shared.run(WHO).stdout == shared.run(WHO).stdout


def test_it_starts_anew_after_a_number_of_programs(
    shared: LocalSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RESTART_AFTER", 2)
    pids = [shared.run(WHO).stdout for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_names_modules_and_files_are_kept_for_the_next_program(session: SandboxSession) -> None:
    assert session.run("import math\ndef f(n): return math.factorial(n)").exit == 0
    assert session.run("open('a', 'w').write('kept')\nprint(f(5))").stdout == "120\n"
    assert session.run("print(open('a').read(), f(3))").stdout == "kept 6\n" and session.alive


def test_another_session_and_a_fresh_program_see_nothing_of_it(session: SandboxSession) -> None:
    session.run("import builtins, os\nbuiltins.secret = 'x'\nopen('a', 'w').write('x')")
    look = "import builtins, os\nprint(hasattr(builtins, 'secret'), os.listdir('.'))"
    place = open_sandbox(session.run("print()").level)
    other = place.session(LIMITS)
    assert other.run(look).stdout == place.run(look, LIMITS).stdout == "False []\n"
    other.close()


def test_an_error_keeps_the_session_and_is_told_with_what_was_printed(
    session: SandboxSession,
) -> None:
    session.run("x = 3")
    result = session.run("print(1)\nprint(1 / 0)")
    assert (result.stdout, result.exit, result.killed) == ("1\n", 1, None)
    assert result.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert session.run("import sys; sys.exit(7)").exit == 7
    assert session.run("print(x)").stdout == "3\n"


@pytest.mark.parametrize(
    ("code", "killed"),
    [
        ("while True: pass", "time"),
        ("x = bytearray(1 << 30)", "memory"),
        ("while True: print('x' * 999)", "output"),
        (
            "import os, time\nfor _ in range(40): os.fork() or (time.sleep(5), os._exit(0))\n"
            "time.sleep(5)",
            "processes",
        ),
        ("import os; os._exit(7)", None),
        ("import os; os.kill(os.getpid(), 9)", None),
    ],
)
def test_what_stops_a_program_ends_the_session_and_the_next_one_begins_anew(
    session: SandboxSession, code: str, killed: str | None
) -> None:
    session.run("kept = 1")
    result = session.run(code)
    assert result.killed == killed and result.exit != 0 and not session.alive
    again = session.run("print('kept' in dir())")
    assert again.stdout == "False\n" and session.alive


@pytest.mark.parametrize(
    "code",
    [
        "import os, sys; os.close(1); os.close(2); sys.stdout.close()",
        "import sys; sys.stdout = sys.stderr = sys.__stdout__ = None",
        "import os; os.close(0); os.dup2(os.open('/dev/null', os.O_RDONLY), 1)",
        "import sys; sys.modules.clear()",
        "import os\nif os.fork() == 0: raise SystemExit(3)\nos.wait()",
        "input()",
    ],
)
def test_a_program_that_breaks_its_streams_spoils_no_other_call(
    session: SandboxSession, code: str
) -> None:
    session.run(code)
    result = session.run("print('here')")
    assert (result.stdout, result.exit) == ("here\n", 0)


@pytest.mark.parametrize(
    "line",
    [
        r"d 99 0 0\n",
        r"d 2 0 7\n",
        r"\x80\x04pickle.\n",
        r"s 1\n",
        r"e 0\n",
        "x" * 5000,
        r"r\n' * 99 + b'",
    ],
)
def test_a_forged_reply_ends_its_own_session_with_an_error(
    session: SandboxSession, line: str
) -> None:
    session.run("x = 1")
    forge = f"for fd in range(3, 20):\n    try: os.write(fd, b'{line}')\n    except OSError: pass"
    result = session.run(f"import os\n{forge}\nwhile True: pass")
    assert result.exit < 0 and not session.alive
    assert session.run("print('here')").stdout == "here\n"


def test_a_forged_reply_of_the_right_form_harms_the_forger_only(session: SandboxSession) -> None:
    forge = (
        "for fd in range(3, 20):\n    try: os.write(fd, b'd 1 0 0\\n')\n    except OSError: pass"
    )
    assert session.run(f"import os\n{forge}\nwhile True: pass").exit == 0
    assert session.run("print('lost')").killed == "time"
    assert session.run("print('here')").stdout == "here\n"


def test_no_process_of_a_program_outlives_its_call(session: SandboxSession) -> None:
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)"
    result = session.run(code)
    if result.level == "bwrap":  # ended from inside
        assert result.killed is None and session.alive
    else:
        assert result.killed == "processes" and not session.alive


def test_the_environment_is_hidden(
    session: SandboxSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETHOUGHT_TEST_SECRET", "x")
    session.close()
    hidden = session.run("import os; print('FORETHOUGHT_TEST_SECRET' in os.environ)")
    assert hidden.stdout == "False\n"


def test_a_session_outlives_the_thread_that_began_it(session: SandboxSession) -> None:
    begun = threading.Thread(target=session.run, args=("x = 5",))
    begun.start()
    begun.join()
    assert session.run("print(x)").stdout == "5\n"


def test_closing_ends_the_process(shared: LocalSession) -> None:
    pid = int(shared.run(WHO).stdout)
    shared.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_large_program_and_a_large_reply_come_through(session: SandboxSession) -> None:
    text = "x" * 300_000
    assert session.run(f"print({text!r})").stdout == text + "\n"


def test_a_fork_of_the_caller_has_a_session_of_its_own() -> None:
    code = (
        "import os\nfrom forethought.tools.sandbox import SandboxLimits, open_sandbox\n"
        "s = open_sandbox('limits').session(SandboxLimits())\ns.run('x = 1')\n"
        "if os.fork() == 0:\n    print(s.run('print(\"x\" in dir())').stdout, flush=True)\n"
        "    s.close(); os._exit(0)\nos.wait()\nprint(s.run('print(x)').stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "1"]


def test_nothing_runs_between_calls(session: SandboxSession) -> None:
    count = "import threading, time\nn = 0\ndef f():\n    global n\n    while True:\n        n += 1"
    session.run(
        f"{count}\n        time.sleep(.001)\nthreading.Thread(target=f, daemon=True).start()"
    )
    session.run("before = n")
    time.sleep(0.5)
    assert int(session.run("print(n - before)").stdout) < 100 and session.alive


def test_a_forger_starts_no_processes_between_calls(session: SandboxSession) -> None:
    assert isinstance(session, LocalSession)
    forge = (
        "for fd in range(3, 20):\n    try: os.write(fd, b'd 1 0 0\\n')\n    except OSError: pass"
    )
    later = "time.sleep(.1)\nfor _ in range(3): os.fork()\ntime.sleep(60)"
    assert session.run(f"import os, time\n{forge}\n{later}").exit == 0
    time.sleep(0.4)
    assert session._watch is not None and len(session._watch.live()) == 1


def test_children_that_have_ended_do_not_add_up(session: SandboxSession) -> None:
    """Nobody has waited for them, and they are processes of the control group until then."""
    code = "import os\nfor _ in range(10):\n    pid = os.fork()\n    if pid == 0: os._exit(0)\n"
    code += "    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)"
    assert {session.run(code).exit for _ in range(20)} == {0} and session.alive
