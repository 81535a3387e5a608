"""From episodes to summary.json: every metric with its interval, by step, floors beside it.

The summary is a function of the episodes alone, so anybody can compute it again from
episodes.jsonl. Metrics and their definitions: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from forethought.stats.bootstrap import interval, metric_draws
from forethought.stats.floors import ece_floor, trivial_estimate
from forethought.stats.metrics import FORECAST_METRICS
from forethought.stats.rows import answered, q_of, valid_episodes
from forethought.types import Episode, JsonRow

SCHEMA = "forethought.summary/1"
FORESEEN = ("keyword_lift", "auroc_expected.first")  # of each kind of task


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a summary says about where its episodes come from."""

    seed: int  # of the evaluation, and of the resampling
    split: str = "val"
    smoke: bool = False  # too small for conclusions
    judge: str = "exact"  # who decided where an answer is no exact match: "exact" = nobody
    model_sha256: str = ""
    data_sha256: str = ""


def summarise(episodes: Sequence[Episode], labels: Labels, *, resamples: int = 2000) -> JsonRow:
    """The summary of a file of episodes.

    Args:
        episodes: all of the file, failed rollouts included (they are counted and left out).
        labels: carried on into the summary; its seed is that of the resampling.
        resamples: bootstrap draws.
    """
    seed = labels.seed
    valid = valid_episodes(episodes)
    draws = metric_draws(episodes, seed=seed, resamples=resamples)
    return {
        "schema": SCHEMA,
        "num_tasks": len({episode.task_id for episode in episodes}),
        "num_rollouts": len(episodes),
        "num_failed": len(episodes) - len(valid),
        **asdict(labels),
        "metrics": {name: asdict(interval(drawn)) for name, drawn in draws.items()},
        "beside": _beside(answered(valid), seed),
        "by_step": _by_step(answered(valid)),
        "groups": _groups(valid),
    }


def _beside(valid: Sequence[Episode], seed: int) -> JsonRow:
    """Floors, ceilings and trivial estimates of the first turn.

    `oracle`: the exact success probability of the state scored as if it were the q: what a policy
    could reach that knows the law but not yet its own plan. `oracle_route`: that of the route which
    it then takes, the ceiling of a q that stands behind a plan.
    """
    beside: JsonRow = {"trivial.first": trivial_estimate(valid, seed=seed)}
    for source in ("", "_expected"):
        q = [value for e in valid if e.turns and (value := q_of(e.turns[0], source)) is not None]
        beside[f"ece_floor{source}.first"] = ece_floor(np.array(q, dtype=np.float64), seed=seed)
    pairs = [
        (p, float(e.success or 0))
        for e in valid
        if e.turns and (p := e.turns[0].oracle_p) is not None
    ]
    beside["oracle.first"] = _scores(pairs) if pairs else None
    routes = [(e.choice.chosen, float(e.success or 0)) for e in valid if e.turns and e.choice]
    beside["oracle_route.first"] = _scores(routes) if routes else None
    return beside


def _scores(pairs: Sequence[tuple[float, float]]) -> JsonRow:
    q = np.array([value for value, _ in pairs])
    y = np.array([outcome for _, outcome in pairs])
    one = np.ones((1, len(q)))
    values = {name: float(metric(q, y, one)[0]) for name, metric in FORECAST_METRICS.items()}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _by_step(valid: Sequence[Episode]) -> list[JsonRow]:
    """One row for each turn number that any episode reached."""
    rows: list[JsonRow] = []
    for step in range(max((len(episode.turns) for episode in valid), default=0)):
        there = [episode for episode in valid if len(episode.turns) > step]
        row: JsonRow = {
            "step": step,
            "n": len(there),
            "success": float(np.mean([episode.success or 0 for episode in there])),
        }
        for source in ("", "_expected"):
            pairs = [
                (q, float(e.success or 0))
                for e in there
                if (q := q_of(e.turns[step], source)) is not None
            ]
            row[f"n_q{source}"] = len(pairs)
            if pairs:
                row |= {f"{name}{source}": value for name, value in _scores(pairs).items()}
        rows.append(row)
    return rows


def _groups(valid: Sequence[Episode]) -> JsonRow:
    """Success by how the episode ended and, where tasks are of several kinds, by kind.

    A kind also has what is foreseen in it: `keyword_lift` and `auroc_expected.first`, None where
    they are undefined.
    """
    members: dict[str, list[Episode]] = {}
    for episode in valid:
        names = [f"stop_reason={episode.stop_reason.value}"]
        names += [f"group={episode.group}"] if episode.group else []
        for name in names:
            members.setdefault(name, []).append(episode)
    groups: JsonRow = {}
    for name, there in sorted(members.items()):
        won = [episode.success or 0 for episode in there]
        groups[name] = {"n": len(there), "success": float(np.mean(won))}
        if name.startswith("group="):
            drawn = metric_draws(there, FORESEEN, seed=0, resamples=1)
            values = {metric: interval(draws).value for metric, draws in drawn.items()}
            groups[name] |= {metric: values.get(metric) for metric in FORESEEN}
    return groups
