"""Maths environment: what a program's end reads like."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from forethought.envs.base import call_tool, fork, snapshot
from forethought.envs.maths import MathsPython, MathsSession
from forethought.errors import InputError, MissingError
from forethought.tools.sandbox import SandboxLimits, levels, open_sandbox


def env(max_calls: int | None = None, max_chars: int = 1000) -> MathsPython:
    made = MathsPython(SandboxLimits(timeout_s=1.0, memory_mb=128), max_calls, max_chars)
    made.reset(question="?")
    return made


def test_the_printed_text_is_the_observation() -> None:
    seen = env().python("print(48 / 2)\nprint('b')")
    assert seen == "24.0\nb" and not seen.failed and not seen.done
    assert seen.info == {"exit": 0, "killed": None, "calls": 1}
    assert env().python("x = 3") == "The program printed nothing."


def test_an_error_is_its_last_line_and_failed() -> None:
    seen = env().python("print(1)\n1 / 0")
    assert seen == "ZeroDivisionError: division by zero" and seen.failed
    assert "SyntaxError" in env().python("print(")
    assert env().python("import sys; sys.exit(3)") == "Error: the program ended with 3."


def test_a_program_that_was_stopped_says_why() -> None:
    seen = env().python("while True: pass")
    assert seen == "Error: the program was stopped: no end within 1 seconds." and seen.failed
    assert "128 MB of memory" in env().python("x = bytearray(1 << 40)")


def test_an_empty_program_is_a_failed_call() -> None:
    assert env().python(" \n").failed


def test_nothing_is_kept_between_calls() -> None:
    made = env()
    made.python("x = 3")
    assert "NameError" in made.python("print(x)")


@pytest.fixture
def kept() -> Iterator[MathsSession]:
    made = MathsSession(SandboxLimits(timeout_s=1.0, memory_mb=128))
    made.reset(question="?")
    yield made
    made.reset()


def test_a_session_keeps_names_within_an_episode_and_no_longer(kept: MathsSession) -> None:
    assert kept.python("x = 3") == "The program printed nothing."
    assert kept.python("print(x)") == "3"
    assert "division by zero" in kept.python("y = 4\n1 / 0")
    assert kept.python("print(x + y)") == "7"
    kept.reset()
    assert "NameError" in kept.python("print(x)") and kept.state.made == 1


def test_a_program_that_is_stopped_takes_the_names_with_it(kept: MathsSession) -> None:
    kept.python("x = 3")
    assert "no end within 1 seconds" in kept.python("while True: pass")
    assert "NameError" in kept.python("print(x)")
    kept.python("x = 5")
    kept.python("import os; os._exit(0)")
    assert "NameError" in kept.python("print(x)")


def test_a_fork_goes_on_from_what_was_kept_and_shares_nothing(kept: MathsSession) -> None:
    kept.python("x = [1]")
    moment = snapshot(kept)
    kept.python("x.append(2)")
    other = fork(lambda: MathsSession(SandboxLimits(timeout_s=1.0, memory_mb=128)), moment)
    assert other.python("x.append(3); print(x)") == "[1, 3]"
    assert kept.python("print(x)") == "[1, 2]"
    asyncio.run(other.__aexit__(None, None, None))


def test_without_a_sandbox_there_is_no_tool_for_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "why_not", lambda name: "not here")
    levels.strongest.cache_clear()
    with pytest.raises(MissingError, match="apt install bubblewrap"):
        MathsPython()
    levels.strongest.cache_clear()
    monkeypatch.undo()
    named = MathsPython(sandbox=open_sandbox("limits"))
    named.reset()
    assert named.python("print(1)") == "1"


def test_a_long_output_is_cut() -> None:
    seen = env(max_chars=20).python("print('a' * 500)")
    assert len(seen) == 20 and seen.endswith(" ...")


def test_the_call_after_the_last_one_ends_the_episode() -> None:
    made = env(max_calls=1)
    assert not made.python("print(1)").done
    assert made.python("print(1)").done
    made.reset()
    assert call_tool(made, "python", {"code": "print(1)"}) == "1"


def test_options_that_leave_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="maths"):
        MathsPython(max_chars=1)
