"""A small run folder with labelled trajectories, without any training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from forethought.config import load_config
from forethought.domains import make_domain, make_tokenizer
from forethought.hindsight.records import Branch, Label, Labelled, labelled_to_row
from forethought.hindsight.trajectory import Trajectory
from forethought.jsonl import write_json, write_jsonl

CONFIG = "demo/atlas"


@cache
def tokenizer() -> Any:
    config = load_config(CONFIG)
    return make_tokenizer(config, make_domain(config))


@cache
def items(num: int = 24) -> tuple[Labelled, ...]:
    """Episodes of the wanderer with random labels, some with an executed alternative."""
    rng = random.Random("corpus")
    found = make_domain(load_config(CONFIG)).trajectories(num, tokenizer())
    return tuple(_labelled(trajectory, rng) for trajectory in found)


def _labelled(trajectory: Trajectory, rng: random.Random) -> Labelled:
    labels = []
    for _ in trajectory.steps:
        s = rng.randrange(6)
        labels.append(Label(value=(s + 1) / 7, source="monte_carlo", s=s, k=5, prior=0.5))
    step = rng.randrange(trajectory.num_calls)
    branch = Branch(step=step, steps=trajectory.steps[step:], success=rng.random() < 0.5, s=2, k=5)
    return Labelled(
        trajectory=trajectory,
        labels=tuple(labels),
        branches=(branch,) if rng.random() < 0.4 else (),
    )


def make_run(folder: Path, made: Sequence[Labelled] | None = None, **overrides: str) -> Path:
    """A folder as `forethought prepare` leaves it; keys of overrides have `__` for the dot."""
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    rows = [labelled_to_row(item) for item in (items() if made is None else made)]
    write_jsonl(folder / "prepare/trajectories.jsonl", rows)
    write_json(folder / "prepare/report.json", {"kept": len(rows)})
    config = load_config(CONFIG, dotted).model_dump(mode="json")
    write_json(folder / "resolved.json", config)
    return folder
