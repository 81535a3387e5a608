from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from forethought.tools import session as module
from forethought.tools.python import SandboxLimits
from forethought.tools.session import PythonSession


@pytest.fixture
def session() -> Iterator[PythonSession]:
    made = PythonSession(SandboxLimits(timeout_s=1.0, memory_mb=128))
    yield made
    made.close()


def test_programs_share_nothing_but_the_process(session: PythonSession) -> None:
    assert session.run("x = 6; print(x * 7)").stdout == "42\n"
    assert session.run("print(x)").error == "NameError: name 'x' is not defined"
    assert session.run("import os; print(os.getpid())") == session.run(
        "import os; print(os.getpid())"
    )


def test_an_error_is_told_with_what_was_printed_before(session: PythonSession) -> None:
    result = session.run("print(1)\nprint(1 / 0)")
    assert (result.stdout, result.error) == ("1\n", "ZeroDivisionError: division by zero")


def test_a_program_without_end_is_stopped_and_the_next_one_runs(session: PythonSession) -> None:
    assert session.run("while True: pass").error == "stopped"
    assert session.run("print(3)").stdout == "3\n"


def test_a_dead_interpreter_is_replaced(session: PythonSession) -> None:
    assert session.run("import os; os._exit(7)").error == "stopped"
    assert session.run("print(4)").stdout == "4\n"


def test_it_starts_anew_after_a_number_of_programs(
    session: PythonSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RESTART_AFTER", 2)
    pids = [session.run("import os; print(os.getpid())").stdout for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_the_environment_is_hidden_and_memory_is_bounded(session: PythonSession) -> None:
    os.environ["FORETHOUGHT_TEST_SECRET"] = "x"
    try:
        hidden = session.run("import os; print('FORETHOUGHT_TEST_SECRET' in os.environ)")
    finally:
        del os.environ["FORETHOUGHT_TEST_SECRET"]
    assert hidden.stdout == "False\n"
    assert session.run("x = bytearray(1 << 30)").error.startswith("MemoryError")


def test_closing_ends_the_process(session: PythonSession) -> None:
    pid = int(session.run("import os; print(os.getpid())").stdout)
    session.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_large_program_and_a_large_reply_come_through(session: PythonSession) -> None:
    text = "x" * 300_000
    assert session.run(f"print({text!r})").stdout == text + "\n"
