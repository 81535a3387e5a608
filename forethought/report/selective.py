"""Risk against coverage for each way to act of each policy: figures of the page, from episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from forethought.report.figures import WAYS, risk_coverage
from forethought.stats.rows import answered, valid_episodes
from forethought.stats.selective import risk_curve
from forethought.types import Episode

Curve = list[tuple[float, float]]


def selective_figures(evaluations: Mapping[str, Sequence[Episode]]) -> list[str]:
    """Figures with a line an evaluation; none unless several evaluations have an estimate.

    Evaluations of one policy share a figure: `rl`, `rl-greedy` and `rl-imagine4`. It has at most
    as many lines as the style sheet tells apart; further ones go into another.
    """
    curves = {name: curve for name, found in evaluations.items() if (curve := _curve(found))}
    if len(curves) < 2:
        return []
    groups: dict[str, list[tuple[str, Curve]]] = {}
    for name, curve in curves.items():
        groups.setdefault(policy_of(name, evaluations), []).append((name, curve))
    return [
        risk_coverage(f"{policy}: risk and coverage", lines[first : first + WAYS])
        for policy, lines in groups.items()
        for first in range(0, len(lines), WAYS)
    ]


def policy_of(name: str, names: Mapping[str, object]) -> str:
    """The evaluation that another is a way of: the shortest name that it continues, or its own."""
    begun = [other for other in names if name.startswith(f"{other}-")]
    return min(begun, key=len, default=name)


def _curve(episodes: Sequence[Episode]) -> Curve:
    """By the expected q of the last turn, over the share of all episodes.

    An abstained episode has no outcome: the curve of a mode that abstains ends where it does, on
    the curve of the same policy without.
    """
    valid = valid_episodes(episodes)
    pairs = [
        (q, float(episode.success or 0))
        for episode in answered(valid)
        if episode.turns and (q := episode.turns[-1].q_expected) is not None
    ]
    if not pairs:
        return []
    stated, outcomes = zip(*pairs, strict=True)
    share = len(pairs) / len(valid)
    return [(share * c, risk) for c, risk in risk_curve(np.array(stated), np.array(outcomes))]
