"""Peak memory is that of the whole process tree, and no later process makes it smaller."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from forethought.stages.memory import (  # noqa: E402
    MemoryWatch,
    own_peak_bytes,
    settle,
    tree_bytes,
)
from forethought.stages.pipeline import Ledger  # noqa: E402

MIB = 1 << 20
HOLD = "import sys; x = bytearray(150 << 20); print('held', flush=True); sys.stdin.read()"


def test_memory_of_processes_below_counts_and_the_peak_outlives_them() -> None:
    alone = tree_bytes(os.getpid())
    with MemoryWatch(every_s=0.01) as watch:
        nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}])"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", nested], **pipes) as below:
            assert below.stdout is not None and below.stdin is not None
            assert below.stdout.readline() == b"held\n"
            if Path("/proc/self/statm").exists():
                assert tree_bytes(os.getpid()) > alone + 150 * MIB
            time.sleep(0.2)
            below.stdin.close()
        assert tree_bytes(os.getpid()) < alone + 100 * MIB
        if Path("/proc/self/statm").exists():
            assert watch.peak_mb() * MIB > alone + 150 * MIB
    assert watch.peak_mb() * MIB >= own_peak_bytes() - MIB


def test_a_later_process_of_a_run_keeps_the_larger_peak_and_the_first_command(
    tmp_path: Path,
) -> None:
    file = tmp_path / "state.json"
    first = Ledger(file)
    first.note(900.5, "forethought run x")
    first.timed("base", lambda: sum(range(3_000_000)))
    spent = first.state["cpu_s"]
    again = Ledger(file)
    again.note(80.0, "forethought run x --resume")
    assert again.state["peak_rss_mb"] == 900.5
    assert again.state["command"] == "forethought run x"
    assert spent["base"] > 0 and Ledger(file).state["cpu_s"] == spent


def test_times_of_a_failed_try_count(tmp_path: Path) -> None:
    def fail() -> None:
        sum(range(3_000_000))
        raise RuntimeError

    file = tmp_path / "state.json"
    with pytest.raises(RuntimeError):
        Ledger(file).timed("rl", fail)
    ledger = Ledger(file)
    spent = ledger.state["cpu_s"]["rl"]
    assert spent > 0 and not ledger.is_done("rl")
    ledger.timed("rl", lambda: sum(range(3_000_000)))
    assert ledger.state["cpu_s"]["rl"] > spent and ledger.is_done("rl")


def test_settling_takes_what_is_there_out_of_garbage_collection() -> None:
    before = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
