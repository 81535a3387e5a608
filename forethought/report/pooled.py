"""Several runs of one configuration with different seeds, as one set of figures.

Each figure is the mean over seeds; its interval resamples tasks inside each seed. Differences carry
a second interval that resamples the seeds too: the first is about these models, the second about
the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from forethought.errors import InputError
from forethought.report.tables import HEADLINE
from forethought.runfiles import read_run_summary
from forethought.runlog import RunPaths, read_block_losses, read_episodes
from forethought.stats.blocks import block_loss_draws
from forethought.stats.bootstrap import (
    Draws,
    difference,
    interval,
    mean_over_seeds,
    metric_draws,
    paired_draws,
)
from forethought.types import JsonRow

SCHEMA = "forethought.pooled/1"
METRICS = (
    *HEADLINE,
    "success_em",
    "choice_gain",
    "copy_accuracy",
    "q_missing",
    "turns",
    "sampled_tokens",
)

Key = tuple[str, ...]
"""What a figure is of: (evaluation, metric), or (a, b, metric) of a difference."""


def pool(runs: Sequence[Path], *, seed: int = 0, resamples: int = 2000) -> JsonRow:
    """The summary of several finished runs (schema forethought.pooled/1).

    Raises:
        InputError: a run that is not finished, or two runs of one seed.
    """
    summaries = [read_run_summary(RunPaths(run).summary) for run in runs]
    seeds = [summary["seed"] for summary in summaries]
    if len(set(seeds)) < len(seeds):
        raise InputError(
            "report",
            got=f"runs with the seeds {', '.join(map(str, seeds))}",
            expected="one run a seed",
            next_step="leave out the double one",
        )
    drawn = [
        _draws(run, summary, seed=seed + 1009 * (number + 1), resamples=resamples)
        for number, (run, summary) in enumerate(zip(runs, summaries, strict=True))
    ]
    evaluations: dict[str, JsonRow] = {}
    comparisons: list[JsonRow] = []
    for key in drawn[0]:
        of_runs = [found[key] for found in drawn if key in found]
        if len(of_runs) < len(runs):
            continue
        *names, metric = key
        if len(names) == 1:
            cell = asdict(interval(mean_over_seeds(of_runs)))
            evaluations.setdefault(names[0], {})[metric] = cell
        elif (row := _difference(of_runs, seed)) is not None:
            comparisons.append({"a": names[0], "b": names[1], "metric": metric, **row})
    return {
        "schema": SCHEMA,
        "seeds": seeds,
        "evaluations": evaluations,
        "comparisons": comparisons,
        "cpu_min": [round(sum(s["cpu_s"].values()) / 60, 2) for s in summaries],
        "peak_rss_mb": [s["peak_rss_mb"] for s in summaries],
    }


def _draws(run: Path, summary: JsonRow, *, seed: int, resamples: int) -> dict[Key, Draws]:
    """Every figure of one run that can be pooled: those of its evaluations and comparisons."""
    names = [file.parent.name for file in sorted((run / "evals").glob("*/summary.json"))]
    files = {name: read_episodes(RunPaths(run).eval_dir(name) / "episodes.jsonl") for name in names}
    found: dict[Key, Draws] = {}
    for name, episodes in files.items():
        drawn = metric_draws(episodes, METRICS, seed=seed, resamples=resamples)
        found |= {(name, metric): draws for metric, draws in drawn.items()}
    losses = block_loss_draws(read_block_losses(run), seed=seed, resamples=resamples)
    compared = [(row["a"], row["b"], row["metric"]) for row in summary["comparisons"]]
    for a, b in dict.fromkeys((a, b) for a, b, _ in compared):
        metrics = [key[2] for key in compared if key[:2] == (a, b)]
        drawn = {metric: losses[metric] for metric in metrics if metric in losses}
        if a in files and b in files:
            drawn |= paired_draws(files[a], files[b], metrics, seed=seed, resamples=resamples)
        found |= {(a, b, metric): draws for metric, draws in drawn.items()}
    return found


def _difference(draws: Sequence[Draws], seed: int) -> JsonRow | None:
    """A difference over seeds with both intervals; None where it is undefined."""
    inner, outer = difference(mean_over_seeds(draws)), difference(mean_over_seeds(draws, seed))
    if inner is None or outer is None:
        return None
    return {**inner, "lo_seeds": outer["lo"], "hi_seeds": outer["hi"], "unit": "task in seed"}
