"""Which world seeds train, validate and test. The same for every synthetic world."""

from __future__ import annotations

SPLIT_STARTS = {"train": 0, "val": 100_000, "test": 200_000}
"""First world seed of each split; a split has 100,000."""

TASKS_A_WORLD = 5
"""Tasks that a seed makes."""

TRAINING_SEEDS = range(SPLIT_STARTS["train"], SPLIT_STARTS["val"])


def split_of(world_seed: int) -> str:
    """The split that a world seed belongs to; seeds from 300,000 on are kept for acceptance."""
    if world_seed in TRAINING_SEEDS:
        return "train"
    if SPLIT_STARTS["val"] <= world_seed < SPLIT_STARTS["test"]:
        return "val"
    return "test" if SPLIT_STARTS["test"] <= world_seed < 300_000 else "acceptance"
