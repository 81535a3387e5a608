"""Why episodes were lost, and which outcomes the estimate did not see coming. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from forethought.stats.rows import abstained
from forethought.types import Episode, JsonRow, StopReason

CAUSES: dict[str, str] = {
    "no route": "none of the task's routes can succeed, and only the estimate can be right",
    "no action": "a turn held nothing that could be carried out",
    "copied wrong": "a call or the answer names something that nothing had shown",
    "query wrong": "a call that no listed route makes",
    "plan wrong": "the first route is worth less than a random one",
    "call failed": "a tool refused a call",
    "evidence missing": "it ran out of calls or of tokens, or gave up",
    "evidence wrong": "it answered what it had read, and that was not right",
}
"""Cause -> its rule. An episode has the first cause that applies, in this order."""

SURE, UNSURE = 0.8, 0.2
_GIVE_UP = "none"


def cause(episode: Episode) -> str:
    """Why a lost episode was lost, by the rules of `CAUSES`."""
    turns, choice = episode.turns, episode.choice
    if choice is not None and choice.best <= 1e-9:
        return "no route"
    if any(turn.action is None for turn in turns):
        return "no action"
    if any(turn.copied is False for turn in turns) or _invented(episode):
        return "copied wrong"
    known = [turn.oracle_p is not None for turn in turns]
    if known and known[0] and not all(known):
        return "query wrong"
    if choice is not None and choice.chosen < choice.mean - 1e-9:
        return "plan wrong"
    if any(turn.tool_error for turn in turns):
        return "call failed"
    if episode.stop_reason != StopReason.ANSWER or _gave_up(episode):
        return "evidence missing"
    return "evidence wrong"


def _gave_up(episode: Episode) -> bool:
    return (episode.answer or "").strip().lower() in ("", _GIVE_UP)


def _invented(episode: Episode) -> bool:
    """An answer that stands in no observation, where the answers of the world do stand there."""
    if episode.choice is None or _gave_up(episode):
        return False
    seen = " ".join(turn.observation for turn in episode.turns).split()
    return episode.answer not in seen


def _lost(episode: Episode) -> bool:
    """Tried and failed: an abstained episode was not lost."""
    return episode.success == 0 and not abstained(episode)


def failures(episodes: Sequence[Episode]) -> JsonRow:
    """Counts of causes among the lost episodes, and how many of those were over-confident."""
    lost = [episode for episode in episodes if _lost(episode)]
    counts = Counter(cause(episode) for episode in lost)
    return {
        "lost": len(lost),
        "causes": {name: counts[name] for name in CAUSES},
        "over-confident": sum(1 for e in lost if (q := _last(e)) is not None and q >= SURE),
    }


def surprises(episodes: Sequence[Episode]) -> tuple[list[Episode], list[Episode]]:
    """Episodes lost behind a last estimate of at least .8, and won behind a first of at most .2."""
    sure = [e for e in episodes if _lost(e) and (q := _last(e)) is not None and q >= SURE]
    unsure = [
        e for e in episodes if e.success == 1 and (q := _first(e)) is not None and q <= UNSURE
    ]
    return sure, unsure


def _first(episode: Episode) -> float | None:
    return episode.turns[0].q_expected if episode.turns else None


def _last(episode: Episode) -> float | None:
    """The last estimate that could be read."""
    stated = [turn.q_expected for turn in episode.turns if turn.q_expected is not None]
    return stated[-1] if stated else None
