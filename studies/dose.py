"""Does mid-training give what more fine-tuning would not? The dose curve of FE-SFT on atlas.

    python studies/dose.py --out DIR [--seed 100] [--doses 300,1000,3000] [--arms true,none,recap]

One base model and one corpus; stage 1 on true futures, on the same episodes without blocks, or on
equally long recaps of the past, all with as many trained tokens; then stage 2 on the first N
episodes, two passes. Each cell is evaluated at temperature 1 and appended to DIR/cells.jsonl; cells
that are there are not run again. Labels are the base's in every cell, so that arms differ in stage
1 alone.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from forethought.config import load_config
from forethought.hindsight.records import Labelled
from forethought.jsonl import dumps, read_jsonl
from forethought.runlog import read_episodes
from forethought.schema import RunConfig
from forethought.stages import base, midtrain, prepare, sft
from forethought.stages.context import Context, open_run, set_threads
from forethought.stages.evaluate import evaluate_stage
from forethought.stats.bootstrap import difference, paired_draws
from forethought.training.policy import Policy

METRICS = (
    "success",
    "format_ok",
    "auroc_expected.first",
    "brier_skill_expected.first",
    "keyword_lift",
    "choice_gain",
)


def configuration(seed: int, num: int, corpus: str, dose: int, epochs: float) -> RunConfig:
    """The configuration of one cell."""
    overrides = {
        "seed": str(seed),
        "prepare.num_episodes": str(num),
        "midtrain.corpus": corpus,
        "midtrain.epochs": str(epochs),
        "sft.num_episodes": str(dose),
        "sft.relabel": "false",
        "eval.num_tasks": "500",
        "eval.greedy_too": "false",
        "eval.imagine_k": "0",
        "control.arms": "[]",
    }
    return load_config("demo/atlas", overrides)


def trained_tokens(context: Context, items: list[Labelled], policy: Policy) -> float:
    """The weight of one pass of stage 1."""
    made = midtrain.corpus(context, items, policy)
    return sum(sum(written.sequence.ce_weight) for written in made)


class Dose:
    """The shared base and corpus, and the cells run from them."""

    def __init__(self, out: Path, seed: int, num: int) -> None:
        self.out, self.seed, self.num = out, seed, num
        config = configuration(seed, num, "true", num, 1.0)
        set_threads(config)
        folder = out / "shared"
        shared = open_run(config, folder, resume=(folder / "resolved.json").is_file())
        saved = folder / "base" / "model"
        self.base = Policy.load(str(saved)) if saved.is_dir() else base.run(shared)
        self.items = prepare.run(shared, self.base)
        self.shared = shared
        self.tokens = trained_tokens(shared, self.items, self.base)

    def open(self, name: str, corpus: str, dose: int) -> Context:
        """A run in DIR/name; its stage 1 has as many trained tokens as that on true blocks."""
        once = configuration(self.seed, self.num, corpus, dose, 1.0)
        tokens = trained_tokens(replace(self.shared, config=once), self.items, self.base)
        epochs = round(self.tokens / tokens, 4)
        config = configuration(self.seed, self.num, corpus, dose, epochs)
        folder = self.out / name
        return open_run(config, folder, resume=(folder / "resolved.json").is_file())

    def mid_trained(self, corpus: str) -> Policy:
        """The model after stage 1 of an arm, trained or read."""
        saved = self.out / corpus / "midtrain" / "model"
        if saved.is_dir():
            return Policy.load(str(saved))
        context = self.open(corpus, corpus, self.num)
        return midtrain.run(context, self.items, self.base.copy())

    def cell(self, corpus: str, dose: int) -> dict[str, Any]:
        """Runs one cell; returns its row."""
        context = self.open(f"{corpus}-{dose}", corpus, dose)
        items = self.items[:dose]
        block_tokens, _ = sft.dose(context, items, self.base)
        policy = sft.run(context, items, self.mid_trained(corpus), fresh_labels=True)
        metrics = evaluate_stage(context, policy, "sft")["sft"]["metrics"]
        return {
            "arm": corpus,
            "dose": dose,
            "block_tokens": block_tokens,
            "metrics": {name: metrics[name] for name in METRICS},
        }


def main() -> None:
    """Runs the missing cells and prints every one, and each arm against `none`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--num", type=int, default=4000, help="episodes of stage 1")
    parser.add_argument("--doses", default="300,1000,3000")
    parser.add_argument("--arms", default="true,none,recap")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "cells.jsonl"
    known = {(r["arm"], r["dose"]) for _, r in read_jsonl(file)} if file.is_file() else set()
    study = Dose(args.out, args.seed, args.num)
    cells = [(arm, int(dose)) for dose in args.doses.split(",") for arm in args.arms.split(",")]
    for arm, dose in cells:
        if (arm, dose) not in known:
            row = study.cell(arm, dose)
            with file.open("a", encoding="utf-8") as stream:
                stream.write(dumps(row) + "\n")
    for arm, dose in cells:
        if arm != "none" and (args.out / f"none-{dose}").is_dir():
            print(f"{arm} - none at {dose}: {json.dumps(compared(args.out, arm, dose))}")


def compared(out: Path, arm: str, dose: int) -> dict[str, Any]:
    """Differences of an arm to `none` at one dose, on the same tasks with the same noise."""
    mine, other = (
        read_episodes(out / f"{name}-{dose}" / "evals" / "sft" / "episodes.jsonl")
        for name in (arm, "none")
    )
    draws = paired_draws(mine, other, METRICS, seed=0)
    found = {name: difference(drawn) for name, drawn in draws.items()}
    return {
        name: [round(cell[key], 3) for key in ("diff", "lo", "hi")]
        for name, cell in found.items()
        if cell is not None
    }


if __name__ == "__main__":
    main()
