"""Ways to use foresight when acting, by name: which prompt a mode asks with.

`faithful` writes one block a turn and acts on it; `plain` leaves the block out; `imagine-K` (K a
number) samples K first blocks and goes on from the one with the highest expected q.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forethought.errors import InputError

MODES = {"faithful": "foresight", "plain": "plain", "imagine-K": "foresight"}

FORMAT_STAGES = ("sft", "rl")
"""Stages behind which a model knows the format of the blocks."""

PLAIN_ARM, PROMPTED_ARM = "plain-grpo", "prompted"
"""Controls: trained without any block; the base model, asked for a block that it never learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A parsed mode name."""

    prompt: str  # "foresight" | "plain"
    imagine: int = 0  # candidates of the first block; 0 = no choice


def parse_mode(name: str) -> Mode:
    """Reads a mode name.

    Raises:
        InputError: an unknown name.
    """
    if name in ("faithful", "plain"):
        return Mode(prompt=MODES[name])
    head, _, number = name.partition("-")
    if head == "imagine" and re.fullmatch("[0-9]{1,4}", number) and int(number) >= 2:
        return Mode(prompt="foresight", imagine=int(number))
    raise InputError(
        "--mode",
        got=repr(name),
        expected="faithful, plain or imagine-K with K >= 2 (such as imagine-4)",
        next_step="see `forethought list modes`",
    )


def mode_after(stage: str, arm: str = "full", *, blocks: bool = True) -> str:
    """How the model that a stage of an arm left acts: before stage 2 it knows no block.

    Args:
        stage: the stage.
        arm: `plain-grpo` never learns blocks; `prompted` is asked for one without having learnt it.
        blocks: whether stage 2 of the run teaches them.
    """
    if arm == PROMPTED_ARM:
        return "faithful"
    taught = blocks and arm != PLAIN_ARM
    return "faithful" if taught and stage in FORMAT_STAGES else "plain"
