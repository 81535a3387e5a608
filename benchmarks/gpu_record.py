"""Is the package correct and quick on one CUDA GPU? A record in parts that are short by design.

    make gpu-record PART=correctness|rollout|train|pipeline|report [OUT=FOLDER] [ARGS=--quick]

Every part writes OUT/PART.json cell by cell, skips cells that are there, and stops before a cell
that would begin after `--minutes`: parts are short so that they fit a session on a borrowed
machine. Run `correctness` first: it says what only a GPU can show. Models have the sizes of
SmolLM2-135M and Qwen2.5-0.5B and random weights, which are made on the device. `report` reads the
files and writes OUT/README.md. Parts but `pipeline` need torch, transformers and numpy alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from gpu_cells import Cell, Machine, Part

MODULES = {"correctness": "gpu_checks", "rollout": "gpu_rollout", "train": "gpu_train"}
PARTS = (*MODULES, "pipeline")


def run_pipeline(part: Part, scratch: Path, minutes: float) -> int:
    """The demo at its smallest, end to end, twice: all stages run, and both runs are the same."""
    for number in (1, 2):
        part.do(f"demo {number}", lambda n=number: _demo(scratch / f"demo-{n}", part.on, minutes))
    shas = [part.cells.get(f"demo {n}", {}).get("policy_sha256") for n in (1, 2)]
    if all(shas):
        part.do("twice", lambda: {"same_bytes": shas[0] == shas[1]})
    return part.end()


def _demo(folder: Path, on: Machine, minutes: float) -> Cell:
    """One run; a folder that a stopped run has left is gone on with."""
    small = ["--rl.updates", "1", "--prepare.num_episodes", "20"] if on.quick else []
    words = ["demo", "--fast", "--controls", "none", "--out", str(folder), "--json", *small]
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "forethought", *words],
        env={**os.environ, "FORETHOUGHT_DEVICE": str(on.device)},
        capture_output=True,
        text=True,
        timeout=60 * minutes,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-3:]
        return {"ok": False, "error": f"exit code {done.returncode}: {' | '.join(last)}"[:600]}
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    from forethought.training.policy import Policy

    stages = {
        stage["eval"]: stage["metrics"]["success"]["value"]
        for stage in summary["stages"]
        if "success" in stage.get("metrics", {})
    }
    return {
        "ok": bool(stages),
        "wall_s": round(time.monotonic() - begin, 1),
        "stage_wall_s": summary["wall_s"],
        "success": stages,
        "policy_sha256": Policy.load(folder / "rl" / "model", device="cpu").sha256(),
    }


def main(words: list[str]) -> int:
    """Runs a part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=[*PARTS, "report"])
    parser.add_argument("--out", required=True, metavar="FOLDER", help="of the part's JSON file")
    parser.add_argument("--quick", action="store_true", help="toy sizes, on any device")
    parser.add_argument("--device", help="default: cuda if there is one, with --quick also cpu")
    parser.add_argument("--minutes", type=float, default=7.0, help="begin no cell later")
    parser.add_argument("--scratch", default="runs/gpu-record-demo", help="where `pipeline` runs")
    args = parser.parse_args(words)
    out = Path(args.out)
    if args.part == "report":
        from gpu_page import write_page

        write_page(out)
        return 0
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and not args.quick:
        parser.error("no GPU here: --quick tries the parts out on a CPU")
    part = Part(args.part, out, Machine(torch.device(device), args.quick), args.minutes)
    if args.part == "pipeline":
        return run_pipeline(part, Path(args.scratch), args.minutes)
    result: int = importlib.import_module(MODULES[args.part]).run(part)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
