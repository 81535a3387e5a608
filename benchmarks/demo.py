"""How many CPU seconds does each stage of the demo take, beside another checkout of this package?

    python benchmarks/demo.py [--quick] --json FILE [--beside FOLDER] [--pairs N] [--SECTION.KEY V]

`forethought demo --controls none` of this checkout and of the one in FOLDER (such as a `git
worktree` of an earlier commit; without it this one again, which shows the noise), in turns, with
the same seed in a pair. Seconds are user + system of all processes: those of a stage as the run
itself records them, `speedrun` the sum of those that docs/speedrun.md counts, the total as the
system counts it, start, page and all. The limit of a stage that trains is the time of its matrix
products alone: 6 operations for each weight of the layers and token that was forwarded (8 in stage
3, whose reference reads along), at the speed of one large product on one thread; sampling,
attention and the vocabulary come on top. Keys behind the options are those of the configuration,
for both sides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from child import ROOT, run_child, take_turns
from measured import write
from sides import compared
from speedrun import COUNTED

UNIT = "CPU s"
OPERATIONS = {"base": 6, "midtrain": 6, "sft": 6, "rl": 8}
SPEEDRUN, TOTAL = "speedrun", "total"


def command(seed: int, out: str, quick: bool, keys: Sequence[str]) -> list[str]:
    """The demo of one side."""
    line = [sys.executable, "-m", "forethought", "demo", "--controls", "none", "--seed", str(seed)]
    return [*line, "--out", out, *(["--fast"] if quick else []), *keys]


def check_checkout(root: Path) -> None:
    """Whether Python finds the package of a checkout there, and not another one.

    Raises:
        SystemExit: it does not.
    """
    look = [sys.executable, "-c", "import forethought; print(forethought.__file__)"]
    found = Path(run_child(look, root=root).out.strip())
    if not found.is_relative_to(root):
        raise SystemExit(f"{root}: Python imports {found} instead")


def commit_of(root: Path) -> str:
    """Short commit of a checkout, with "+" where files differ from it."""

    def git(*words: str) -> str:
        line = ["git", "-C", str(root), *words]
        return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        "+" if git("status", "--porcelain", "-uno") else ""
    )


def run_demo(root: Path, quick: bool, keys: Sequence[str], seeds: list[int]) -> dict[str, Any]:
    """CPU seconds by stage and in total, and the bounds of the stages; takes the next seed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        done = run_child(command(seeds.pop(0), str(out), quick, keys), root=root)
        summary = json.loads((out / "summary.json").read_text())
        spent = summary["cpu_s"]
        sums = {SPEEDRUN: sum(spent.get(step, 0.0) for step in COUNTED), TOTAL: done.cpu}
        return {"cpu": {**spent, **sums}, "operations": operations(out)}


def operations(run: Path) -> dict[str, float]:
    """Operations of the matrix products of each stage that trains."""
    shape = json.loads((run / "resolved.json").read_text())["model"]
    found = {}
    for stage, each in OPERATIONS.items():
        log = run / stage / "metrics.jsonl"
        rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        tokens = sum(row.get("forwarded_tokens", 0.0) for row in rows)
        found[stage] = each * layer_weights(shape) * tokens
    return found


def layer_weights(shape: Mapping[str, Any]) -> int:
    """Weights of the matrices of all layers of a Llama."""
    hidden, grouped = shape["hidden"], shape["hidden"] * shape["kv_heads"] // shape["heads"]
    attention = 2 * hidden * hidden + 2 * hidden * grouped
    return int(shape["layers"] * (attention + 3 * hidden * shape["ffn"]))


def speed(size: int = 1024, repeats: int = 8) -> float:
    """Operations in a CPU second of one thread, from products of [size, size] in float32."""
    torch.set_num_threads(1)
    a, b = torch.ones(size, size), torch.ones(size, size)
    a @ b
    began = time.process_time()
    for _ in range(repeats):
        a @ b
    return 2 * size**3 * repeats / (time.process_time() - began)


def rows(runs: Mapping[str, Sequence[Mapping[str, Any]]], rate: float) -> list[dict[str, Any]]:
    """A row for each stage that both sides have, then the sums; without what took nothing."""
    found = []
    for stage in runs["ours"][0]["cpu"]:
        times = {
            side: [run["cpu"].get(stage, 0.0) for run in of_side] for side, of_side in runs.items()
        }
        if min(times["ours"] + times["peer"]) <= 0:
            continue
        row = {
            "x": {"stage": stage, "measure": "cpu"},
            **compared(times["ours"], times["peer"], UNIT),
        }
        work = runs["ours"][0]["operations"].get(stage, 0.0)
        if work:
            least = work / rate
            row["limit"] = {
                "what": f"matrix products of the trained rows, {UNIT}",
                "value": round(least, 4),
                "share": round(least / row["ours"]["median"], 4),
            }
        found.append(row)
    return found


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="`demo --fast`, a smoke")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--beside", metavar="FOLDER", help="a checkout (default: this one again)")
    parser.add_argument("--pairs", type=int, default=1, help="runs of each side (default 1)")
    parser.add_argument("--seed", type=int, default=100, help="of the first pair (default 100)")
    args, keys = parser.parse_known_args(words)
    if args.pairs < 1:
        parser.error(f"--pairs {args.pairs}: at least one")
    roots = {"ours": ROOT, "peer": Path(args.beside).resolve() if args.beside else ROOT}
    for root in set(roots.values()):
        check_checkout(root)
    seeds = range(args.seed, args.seed + args.pairs)
    calls = {
        side: partial(run_demo, root, args.quick, keys, list(seeds)) for side, root in roots.items()
    }
    runs = take_turns(args.pairs, calls)
    found = rows(runs, speed())
    for row in found:
        row["peer"] |= {"name": "another checkout", "version": commit_of(roots["peer"])}
        told = f"{row['x']['stage']}: {row['ours']['median']} {UNIT}"
        print(f"{told}, beside {row['peer']['median']}, ratio {row['ratio']['value']}")
    about = {"commit": commit_of(ROOT), "pairs": args.pairs, "keys": keys}
    write(args.json, __doc__.splitlines()[0], found, **about)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
