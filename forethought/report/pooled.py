"""Several runs of one configuration with different seeds, as one set of figures.

Each figure is the mean over seeds; its interval resamples tasks inside each seed. Differences carry
a second interval that resamples the seeds too: the first is about these models, the second about
the method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from forethought.errors import InputError
from forethought.jsonl import read_json
from forethought.report.tables import HEADLINE
from forethought.runlog import RunPaths, read_episodes
from forethought.stats.bootstrap import hierarchical_difference, pooled_metric
from forethought.types import Episode, JsonRow

SCHEMA = "forethought.pooled/1"
METRICS = (*HEADLINE, "choice_gain", "copy_accuracy", "q_missing", "turns", "sampled_tokens")


def pool(runs: Sequence[Path], *, seed: int = 0, resamples: int = 2000) -> JsonRow:
    """The summary of several finished runs (schema forethought.pooled/1).

    Raises:
        InputError: a run that is not finished, or two runs of one seed.
    """
    summaries = [read_json(RunPaths(run).summary, "the summary of a finished run") for run in runs]
    seeds = [summary["seed"] for summary in summaries]
    if len(set(seeds)) < len(seeds):
        raise InputError(
            "report",
            got=f"runs with the seeds {', '.join(map(str, seeds))}",
            expected="one run a seed",
            next_step="leave out the double one",
        )
    episodes = {name: _episodes(runs, name) for name in _shared(runs)}
    metrics = {
        name: {
            metric: asdict(pooled_metric(found, metric, seed=seed, resamples=resamples))
            for metric in METRICS
        }
        for name, found in episodes.items()
    }
    return {
        "schema": SCHEMA,
        "seeds": seeds,
        "evaluations": metrics,
        "comparisons": _comparisons(summaries, episodes, seed, resamples),
        "cpu_min": [round(sum(s["cpu_s"].values()) / 60, 2) for s in summaries],
        "peak_rss_mb": [s["peak_rss_mb"] for s in summaries],
    }


def _shared(runs: Sequence[Path]) -> list[str]:
    """Evaluations that every run has, by name."""
    found = [
        [file.parent.name for file in sorted((run / "evals").glob("*/summary.json"))]
        for run in runs
    ]
    return [name for name in found[0] if all(name in names for names in found)]


def _episodes(runs: Sequence[Path], name: str) -> list[list[Episode]]:
    return [read_episodes(RunPaths(run).eval_dir(name) / "episodes.jsonl") for run in runs]


def _comparisons(
    summaries: Sequence[JsonRow],
    episodes: dict[str, list[list[Episode]]],
    seed: int,
    resamples: int,
) -> list[JsonRow]:
    rows: list[JsonRow] = []
    for cell in summaries[0]["comparisons"]:
        a, b, metric = cell["a"], cell["b"], cell["metric"]
        same = [row for s in summaries for row in s["comparisons"] if _key(row) == (a, b, metric)]
        if len(same) < len(summaries):
            continue
        found: JsonRow | None
        if metric.startswith("block_loss"):
            found = _combined(same)
        else:
            pairs = list(zip(episodes[a], episodes[b], strict=True))
            found = _difference(pairs, metric, seed, resamples)
        if found is not None:
            rows.append({"a": a, "b": b, "metric": metric, **found})
    return rows


def _key(row: JsonRow) -> tuple[str, str, str]:
    return row["a"], row["b"], row["metric"]


def _difference(
    pairs: Sequence[tuple[Sequence[Episode], Sequence[Episode]]],
    metric: str,
    seed: int,
    resamples: int,
) -> JsonRow | None:
    inner = hierarchical_difference(pairs, metric, seed=seed, resamples=resamples, over_seeds=False)
    outer = hierarchical_difference(pairs, metric, seed=seed, resamples=resamples)
    if inner is None or outer is None:
        return None
    return {**inner, "lo_seeds": outer["lo"], "hi_seeds": outer["hi"], "unit": "task in seed"}


def _combined(rows: Sequence[JsonRow]) -> JsonRow:
    """The mean of independent differences; half-widths add in quadrature."""
    mean = sum(row["diff"] for row in rows) / len(rows)
    below = math.sqrt(sum((row["diff"] - row["lo"]) ** 2 for row in rows)) / len(rows)
    above = math.sqrt(sum((row["hi"] - row["diff"]) ** 2 for row in rows)) / len(rows)
    return {"diff": mean, "lo": mean - below, "hi": mean + above, "unit": "task in seed"}
