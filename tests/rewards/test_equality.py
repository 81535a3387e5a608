"""Laws of comparing expressions in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forethought.errors import MissingError
from forethought.rewards import equality
from forethought.rewards.equality import Comparer, Limits, any_equal, comparer
from forethought.rewards.grading import check_grader, grade
from forethought.rewards.maths import equal

ASKED = [  # none of them is decided by texts or digits
    ("\\frac{\\sqrt{3}}{2}", "\\frac{3}{2\\sqrt{3}}", True),
    ("x^2+2x+1", "(x+1)^2", True),
    ("x^2+2x", "(x+1)^2", False),
    ("\\{1,2\\}", "\\{2,1\\}", True),
    ("[1,2]\\cup[2,3]", "[1,4]", False),
    ("3.1415927", "\\pi", True),
]
ENDLESS = ["9^{9^{9}}", "((5!)!)!", "10^{99999999}", "(" * 40 + "1" + ")" * 40]
"""One for each pattern that `maths.equal` does not ask about, and one for the depth."""


def verdicts(_: object = None) -> list[bool]:
    """What the grader says of `ASKED`, without anything remembered."""
    any_equal.cache_clear()
    return [grade("maths", f"\\boxed{{{mine}}}", [gold]).correct for mine, gold, _ in ASKED]


EXPECTED = [expected for *_, expected in ASKED]


@pytest.fixture(scope="module")
def small() -> Iterator[Comparer]:
    made = Comparer(Limits(cpu_s=0.6, wall_s=1.0), size=1)
    made.start()
    yield made
    made.close()


def test_the_verdict_is_the_same_in_the_main_thread_in_many_threads_and_in_an_event_loop():
    async def inside() -> list[bool]:
        return verdicts()

    async def beside() -> list[list[bool]]:
        return await asyncio.gather(*(asyncio.to_thread(verdicts) for _ in range(3)))

    assert verdicts() == EXPECTED
    assert asyncio.run(inside()) == EXPECTED
    assert asyncio.run(beside()) == [EXPECTED] * 3
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(verdicts, range(6))) == [EXPECTED] * 6


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_verdict_is_the_same_in_a_child_process_which_leaves_that_of_its_parent_alone(start):
    assert verdicts() == EXPECTED
    with multiprocessing.get_context(start).Pool(1) as pool:
        running = pool.map_async(verdicts, range(2))
        assert verdicts() == EXPECTED  # both ask at the same time
        assert running.get(timeout=120) == [EXPECTED] * 2
    assert verdicts() == EXPECTED


def test_a_thread_that_ends_takes_no_process_with_it():
    before = comparer()
    for _ in range(3):
        thread = threading.Thread(target=verdicts)
        thread.start()
        thread.join(timeout=60)
    assert comparer() is before and verdicts() == EXPECTED


@pytest.mark.parametrize("expression", ENDLESS)
def test_what_is_not_asked_about_would_have_no_end_and_the_next_question_has_one(small, expression):
    assert small.any_equal(((f"${expression}$", "$7$"),)) is None
    assert equal(expression, "7").mark == "+text"
    assert small.any_equal((("$x+x$", "$2x$"),)) is True


def test_no_end_in_time_counts_as_not_equal_and_is_told(small, monkeypatch):
    monkeypatch.setattr(equality, "comparer", lambda: small)
    any_equal.cache_clear()
    hard = "\\boxed{\\prod_{k=1}^{4000} (x+k)}"
    begun = time.monotonic()
    verdict = grade("maths", hard, ["7x", "8x"])  # one limit for all accepted answers
    assert time.monotonic() - begun < 5
    assert (verdict.correct, verdict.method) == (False, "boxed+timeout")
    assert grade("maths", hard, ["7", "\\prod_{k=1}^{4000} (x+k)"]).correct
    any_equal.cache_clear()


def test_memory_is_bounded_and_a_process_that_came_near_the_bound_gives_no_verdict():
    with pytest.raises(MissingError):
        Comparer(Limits(memory_mb=32)).start()
    if sys.platform != "linux":  # elsewhere the address space is not bounded
        return
    usual = Comparer(size=1)
    usual.start()
    status = Path(f"/proc/{child_of(usual).pid}/status").read_text("ascii")
    usual.close()
    used_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    near = Comparer(Limits(memory_mb=int(1.6 * used_mb)), size=1)
    with pytest.raises(MissingError, match="it says None"):
        near.start()


def child_of(owner: Comparer) -> subprocess.Popen[bytes]:
    """The process of a comparer that has one."""
    (idle,) = owner._idle
    child: subprocess.Popen[bytes] = idle.end.peek()[2][0]
    return child


def test_a_process_that_was_ended_between_two_questions_is_replaced(small):
    assert small.any_equal((("$x+x$", "$2x$"),)) is True
    child = child_of(small)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(timeout=10)
    assert small.any_equal((("$x+x$", "$2x$"),)) is True


def test_a_process_that_ends_itself_after_a_verdict_changes_no_other(tmp_path, monkeypatch):
    one_shot = tmp_path / "worker.py"
    source = equality._WORKER.read_text("utf-8")
    assert source.count("if full:") == 1
    # Behind the known pairs it answers one question and ends.
    counted = source.replace("for text in stream:", "for number, text in enumerate(stream):")
    one_shot.write_text(counted.replace("if full:", "if number == 2:"), "utf-8")
    monkeypatch.setattr(equality, "_WORKER", one_shot)
    brief = Comparer(size=1)
    try:
        for _ in range(3):
            assert brief.any_equal((("$x+x$", "$2x$"),)) is True
    finally:
        brief.close()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("    said = {'equal': True}", "which is False"),
        ("    said = {'equal': False}", "which is True"),
        ("    said = {'equal': None}", "which is False"),
        ("    said = 1 / 0", "gone"),
    ],
)
def test_a_process_that_does_not_judge_is_refused_before_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    fake = tmp_path / "worker.py"
    fake.write_text(
        "import json, socket\n"
        "line = socket.socket(fileno=0).makefile('rw')\n"
        "print(json.dumps({'ready': True}), file=line, flush=True)\n"
        f"for _ in line:\n{program}\n    print(json.dumps(said), file=line, flush=True)\n"
    )
    monkeypatch.setattr(equality, "_WORKER", fake)
    broken = Comparer()
    monkeypatch.setattr(equality, "comparer", lambda: broken)
    with pytest.raises(MissingError, match="math-verify"):
        check_grader("maths")
    with pytest.raises(MissingError, match=said):
        broken.any_equal((("$x$", "$y$"),))
    check_grader("qa")  # needs none


def test_a_library_that_does_not_load_is_named(tmp_path, monkeypatch):
    (tmp_path / "math_verify.py").write_text("raise ImportError('of another version')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MissingError, match="ImportError: of another version"):
        Comparer().start()


def test_what_needs_no_algebra_asks_nobody(monkeypatch):
    def nobody(pairs: object) -> bool:
        raise AssertionError(pairs)

    monkeypatch.setattr("forethought.rewards.maths.any_equal", nobody)
    assert equal("1,234.50", "1234.5").equal and not equal("7", "8").equal
    assert equal("6/4", "\\frac{3}{2}").equal and not equal("none", "70/3").equal
    assert equal("50\\%", "0.5").equal and not equal("5 km", "5 m").equal
    with pytest.raises(AssertionError):
        equal("x+x", "2x")


def test_a_verdict_is_remembered_by_content(monkeypatch):
    any_equal.cache_clear()
    assert equal("x+x", "2x").equal
    monkeypatch.setattr(equality, "comparer", lambda: None)
    assert equal("x+x", "2x").equal
    any_equal.cache_clear()


def test_the_memory_of_the_caller_is_not_that_of_the_process() -> None:
    """`ru_maxrss` of a program begins with the peak of the one that started it: gigabytes."""
    program = (
        "held = bytearray(b'x') * (700 << 20)\n"
        "from forethought.rewards.grading import grade\n"
        "print(grade('maths', '(x+1)(x-1)', ['x^2-1'], is_answer=True))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "correct=True" in done.stdout, done.stderr
