"""A run that is killed three times in every stage, at random moments, resumes to the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = {
    "base.drill_tokens": "6000",
    "base.page_tokens": "1000",
    "base.episode_tokens": "6000",
    "base.checkpoint_every": "3",
    "midtrain.checkpoint_every": "1",
    "sft.checkpoint_every": "1",
    "rl.checkpoint_every": "1",
    "prepare.num_episodes": "24",
    "prepare.branch_states": "4",
    "prepare.max_wave": "8",
    "sft.num_episodes": "24",
    "sft.batch_sequences": "2",
    "midtrain.batch_sequences": "2",
    "rl.updates": "8",
    "eval.num_tasks": "6",
    "eval.greedy_too": "false",
    "eval.imagine_k": "0",
    "control.arms": "[]",
}
MARKS = {
    "prepare": "prepare/labels.jsonl",
    "midtrain": "midtrain/metrics.jsonl",
    "sft": "sft/metrics.jsonl",
    "rl": "rl/metrics.jsonl",
}
KILLS = 3  # of each stage


def command(out: Path, *more: str) -> list[str]:
    options = [part for key, value in SMALL.items() for part in (f"--{key}", value)]
    return [sys.executable, "-m", "forethought", "run", "demo/atlas-fast", "--out", str(out),
            *options, *more]  # fmt: skip


def fingerprint(run: Path) -> dict[str, str]:
    found = {}
    for stage in ("base", "midtrain", "sft", "rl"):
        data = (run / stage / "model" / "model.safetensors").read_bytes()
        found[stage] = hashlib.sha256(data).hexdigest()
    for file in sorted((run / "evals").glob("*/episodes.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        text = json.dumps([{**row, "wall_s": 0} for row in rows], sort_keys=True)
        found[file.parent.name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def kill_in(stage: str, out: Path, rng: random.Random, *more: str) -> None:
    """Starts the run and kills it a random moment after the stage has left its next mark."""
    process = subprocess.Popen(
        command(out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    mark = out / MARKS[stage]
    begun = mark.stat().st_size if mark.is_file() else 0
    while process.poll() is None:
        if mark.is_file() and mark.stat().st_size > begun:
            time.sleep(rng.random() * 0.05)
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait() == -signal.SIGKILL, f"{stage} ended before it could be killed"


def test_a_run_killed_three_times_in_every_stage_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    subprocess.run(command(whole), check=True, capture_output=True)
    broken = tmp_path / "broken"
    rng = random.Random(7)
    for stage in MARKS:
        for _ in range(KILLS):
            kill_in(stage, broken, rng, *(["--resume"] if broken.exists() else []))
    subprocess.run(command(broken, "--resume"), check=True, capture_output=True)
    assert fingerprint(broken) == fingerprint(whole)
