"""Which numbers stage 2 teaches: measured labels, spread over the levels, low ones not too few.

A label (s + a p0) / (k + a) from few continuations takes few values, and what is never taught is
never stated. The posterior of the success probability behind it is

    Beta(s + a p0, k - s + a (1 - p0))

and its mean is the label: draws use all levels, and their mean over many turns stays what was
measured, so a model that learns the distribution of the number has the right expected q. Our own
derivation.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from forethought.errors import InputError
from forethought.hindsight.records import Label, Labelled

LOW = 0.5
"""A label below it says that failure is likelier."""

TINY = 1e-9
"""Slack for shares, whose rounding must not decide."""


def drawn_label(item: Labelled, step: int, strength: float, seed: int) -> float:
    """A draw from the posterior of a label, a function of seed, task and turn.

    Args:
        item: labelled by counts.
        step: the turn.
        strength: a, `prepare.prior_strength`.
        seed: of the run.
    """
    rng = random.Random(f"targets/{seed}/{item.trajectory.task.id}/{step}")
    return _drawn(item.labels[step], strength, rng)


def _drawn(label: Label, strength: float, rng: random.Random) -> float:
    won = label.s + strength * label.prior
    lost = label.k - label.s + strength * (1.0 - label.prior)
    return rng.betavariate(won, lost) if won > 0 and lost > 0 else label.value


def balanced(first_labels: Sequence[float], bounds: tuple[float, float]) -> list[int]:
    """Which items stay: all but the last of those that are too many, so that the share fits.

    An item is low when its first label is below .5.

    Args:
        first_labels: of the items, in the order of the corpus.
        bounds: least and largest share of low items.

    Returns:
        Their indices, in order.

    Raises:
        InputError: there are too few of one kind for the bounds.
    """
    least, most = bounds
    low = sum(label < LOW for label in first_labels)
    high = len(first_labels) - low
    left = {True: min(low, _room(high, most)), False: min(high, _room(low, 1.0 - least))}
    share = left[True] / max(left[True] + left[False], 1)
    if first_labels and (not sum(left.values()) or not least - TINY <= share <= most + TINY):
        raise InputError(
            "sft.low_share",
            got=f"{low} of {len(first_labels)} episodes with a label below {LOW}",
            expected=f"enough of both kinds for a share of {least} to {most}",
            next_step="widen sft.low_share, or collect other trajectories",
        )
    kept: list[int] = []
    for index, label in enumerate(first_labels):
        if left[label < LOW] > 0:
            left[label < LOW] -= 1
            kept.append(index)
    return kept


def _room(others: int, most: float) -> float:
    """How many of one kind make at most a share `most` beside `others` of the other."""
    return float("inf") if most >= 1.0 else int(others * most / (1.0 - most) + TINY)
