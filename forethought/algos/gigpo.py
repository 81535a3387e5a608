"""Step groups by anchor state: GiGPO (arXiv 2505.10978), credit without foresight.

    A(i,t) = A_E(i) + omega A_S(i,t)
    A_E    = norm over the members of R_i
    A_S    = norm over the turns with the same anchor of G_{i,t} = gamma^(T_i - 1 - t) R_i

An anchor is the state that a turn began in: what the environment last said, whoever was told it and
at whichever step (nothing yet, at the first turn: the members of a group share the question). Its
authors' code calls texts equal that are alike enough; `anchor_similarity` is that threshold, on
the ratio of `difflib`. A turn whose anchor nobody shares has A_S = 0. Our reward comes at the end,
penalties included, so the return of a turn is the discounted R.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from forethought.algos.advantages import Normaliser

Place = tuple[int, int]
"""Member and turn."""


def step_advantages(
    anchors: Sequence[Sequence[str | None]],
    rewards: Sequence[float],
    *,
    gamma: float,
    similarity: float,
    normalise: Normaliser,
) -> dict[Place, float]:
    """A_S of every turn of a group.

    Args:
        anchors: [n][T_i] the state before each turn; None = the turn is left out.
        rewards: [n] R.
        gamma: discount a turn, in (0, 1].
        similarity: in (0, 1]; anchors at least so alike are one, 1 = equal texts.
        normalise: how a return compares with the others of its step group.
    """
    result: dict[Place, float] = {}
    for places in step_groups(anchors, similarity):
        returns = [gamma ** (len(anchors[i]) - 1 - t) * rewards[i] for i, t in places]
        for place, value in zip(places, normalise(returns), strict=True):
            result[place] = (value or 0.0) if len(places) > 1 else 0.0
    return result


def step_groups(anchors: Sequence[Sequence[str | None]], similarity: float) -> list[list[Place]]:
    """Turns by anchor, in the order of members, then turns.

    A turn joins the first group whose first anchor is alike enough, so groups depend on that order
    where `similarity` is below 1.
    """
    groups: dict[str, list[Place]] = {}
    for i, member in enumerate(anchors):
        for t, text in enumerate(member):
            if text is None:
                continue
            key = text if text in groups or similarity >= 1 else _alike(text, groups, similarity)
            groups.setdefault(key, []).append((i, t))
    return list(groups.values())


def _alike(text: str, known: dict[str, list[Place]], similarity: float) -> str:
    """The first known anchor that is alike enough, else the text itself."""
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(text)
    for other in known:
        matcher.set_seq1(other)
        if matcher.real_quick_ratio() >= similarity and matcher.ratio() >= similarity:
            return other
    return text
