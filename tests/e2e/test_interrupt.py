"""Ctrl-C in a run: exit code 130, the command to go on with, and no traceback."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = [
    "--base.drill_tokens",
    "2000",
    "--base.page_tokens",
    "500",
    "--base.episode_tokens",
    "2000",
]
SMALL += ["--eval.num_tasks", "4", "--control.arms", "[]", "--eval.imagine_k", "0"]
MARKS = {"training": "base/metrics.jsonl", "sampling": "prepare/labels.jsonl"}


@pytest.mark.parametrize("moment", MARKS)
def test_an_interrupted_run_says_how_to_go_on(moment: str, tmp_path: Path) -> None:
    words = ["run", "demo/atlas-fast", "--out", str(tmp_path / "a run"), *SMALL]
    words += ["--prepare.num_episodes", "2000", "--prepare.branch_states", "0"]
    if moment == "training":
        words += ["--base.drill_tokens", "200000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "forethought", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    mark = tmp_path / "a run" / MARKS[moment]
    while process.poll() is None and not (mark.is_file() and mark.stat().st_size > 0):
        time.sleep(0.01)
    time.sleep(0.3)  # into the next step or wave
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "Error" not in said, said
    last = said.strip().splitlines()[-1]
    assert "saved" in last
    assert shlex.split(last.partition("Next: ")[2]) == ["forethought", *words, "--resume"]
