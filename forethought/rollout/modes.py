"""Ways to use foresight when acting, by name: which prompt a mode asks with, and what it does.

How each is played is `forethought.evals.ways`; this module knows names alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from forethought.errors import InputError

MODES = {
    "faithful": "one block a turn, and the action behind it",
    "plain": "no block: the action hidden from any foresight",
    "imagine-K": "K first blocks; the one with the highest expected q is followed",
    "imagine-K-random": "K first blocks; one is drawn",
    "imagine-K-short": "K first blocks; the shortest is followed",
    "filler": "every block becomes one word, as often as the block had words",
    "abstain-Q": "an episode whose last expected q is below Q % is not answered",
    "abstain-Q-first": "one whose first expected q is below Q % ends behind its first turn",
    "escalate-Q-K": "one whose first expected q is below Q % is begun anew as imagine-K",
    "adaptive": "no block on the turn behind two equal estimates, a new one otherwise",
}

FORMAT_STAGES = ("sft", "rl")
"""Stages behind which a model knows the format of the blocks."""

PLAIN_ARM, PROMPTED_ARM = "plain-grpo", "prompted"
"""Controls: trained without any block; the base model, asked for a block that it never learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A parsed mode name."""

    prompt: str  # "foresight" | "plain"
    imagine: int = 0  # candidates of the first block; 0 = no choice
    pick: Literal["q", "random", "short"] = "q"  # how one of them is chosen
    way: Literal["", "filler", "adaptive", "abstain", "abstain-first", "escalate"] = ""
    threshold: float = 0.0  # of the expected q, below which a way holds an episode back


def parse_mode(name: str) -> Mode:
    """Reads a mode name.

    Raises:
        InputError: an unknown name.
    """
    if name in ("faithful", "plain"):
        return Mode(prompt="plain" if name == "plain" else "foresight")
    if name == "filler":
        return Mode(prompt="foresight", way="filler")
    if name == "adaptive":
        return Mode(prompt="foresight", way="adaptive")
    found = _imagining(name) or _holding_back(name)
    if found is not None:
        return found
    raise InputError(
        "--mode",
        got=repr(name),
        expected=", ".join(MODES)
        + " with K >= 2 and Q of 0 to 100 (such as imagine-4, abstain-40)",
        next_step="see `forethought list modes`",
    )


def _imagining(name: str) -> Mode | None:
    found = re.fullmatch("imagine-([0-9]{1,4})(-random|-short)?", name)
    if found is None or int(found[1]) < 2:
        return None
    pick: Literal["q", "random", "short"] = "q"
    if found[2]:
        pick = "random" if found[2] == "-random" else "short"
    return Mode(prompt="foresight", imagine=int(found[1]), pick=pick)


def _holding_back(name: str) -> Mode | None:
    found = re.fullmatch("abstain-([0-9]{1,3})(-first)?|escalate-([0-9]{1,3})-([0-9]{1,4})", name)
    if found is None or int(found[1] or found[3]) > 100 or int(found[4] or 2) < 2:
        return None
    if found[4]:
        threshold, k = int(found[3]) / 100, int(found[4])
        return Mode(prompt="foresight", way="escalate", threshold=threshold, imagine=k)
    way: Literal["abstain", "abstain-first"] = "abstain-first" if found[2] else "abstain"
    return Mode(prompt="foresight", way=way, threshold=int(found[1]) / 100)


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
