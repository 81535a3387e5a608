"""What the cells say: contrasts with intervals over seeds and tasks, and a verdict a claim."""

from __future__ import annotations

from pathlib import Path

from forethought.jsonl import read_json, write_json
from forethought.runlog import read_episodes
from forethought.stats.bootstrap import (
    Draws,
    contrast_draws,
    difference,
    holm,
    interval,
    mean_over_seeds,
    metric_draws,
)
from forethought.study.cells import cell_folder, is_done
from forethought.study.nodes import Nodes
from forethought.study.plan import Cell, Claim, Plan
from forethought.types import Episode, JsonRow

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"


def finish(plan: Plan, out: Path, stages: Path) -> JsonRow:
    """Writes OUT/study.json from the cells that are done; returns it.

    Figures are means over seeds; intervals resample seeds, then tasks. A claim whose cells are not
    all there is undecided.
    """
    done = [cell for cell in plan.cells if is_done(out, cell)]
    files = {cell.id: _episodes(out, cell) for cell in done}
    rows = [read_json(cell_folder(out, cell) / "summary.json") for cell in done]
    comparisons = [row for claim in plan.claims for row in _comparisons(plan, claim, files)]
    nodes = Nodes(stages)
    spent: dict[str, float] = {}
    for cell, row in zip(done, rows, strict=True):
        for stage, seconds in row["cpu_s"].items():
            shared = stage != "eval"
            spent[nodes.folder(cell.config, stage).name if shared else cell.id] = seconds
    result: JsonRow = {
        "schema": "forethought.study/1",
        "name": plan.name,
        "seeds": list(plan.seeds),
        "cells": [
            {"id": cell.id, "arm": cell.arm, "seed": cell.seed, "metrics": _kept(plan, row)}
            for cell, row in zip(done, rows, strict=True)
        ],
        "arms": _arms(plan, files),
        "comparisons": comparisons,
        "verdicts": _verdicts(plan, comparisons),
        "missing": [cell.id for cell in plan.cells if cell not in done],
        "cpu_min": round(sum(spent.values()) / 60, 2),
    }
    write_json(out / "study.json", result)
    return result


def _episodes(out: Path, cell: Cell) -> list[Episode]:
    folder = cell_folder(out, cell)
    name = read_json(folder / "summary.json")["evaluation"]
    return read_episodes(folder / "evals" / name / "episodes.jsonl")


def _kept(plan: Plan, row: JsonRow) -> JsonRow:
    return {name: row["metrics"].get(name) for name in plan.metrics}


def _arms(plan: Plan, files: dict[str, list[Episode]]) -> JsonRow:
    """Mean and interval of each metric of each arm whose every seed is there."""
    result: JsonRow = {}
    for arm in dict.fromkeys(cell.arm for cell in plan.cells):
        ids = [f"{seed}-{arm}" for seed in plan.seeds]
        if not all(cell_id in files for cell_id in ids):
            continue
        drawn = [
            metric_draws(files[cell_id], plan.metrics, seed=_seed(number))
            for number, cell_id in enumerate(ids)
        ]
        result[arm] = {
            name: {"value": cell.value, "lo": cell.lo, "hi": cell.hi, "n": cell.n}
            for name in drawn[0]
            if all(name in found for found in drawn)
            for cell in [interval(mean_over_seeds([found[name] for found in drawn], 0))]
        }
    return result


def _comparisons(plan: Plan, claim: Claim, files: dict[str, list[Episode]]) -> list[JsonRow]:
    """The contrast of a claim in every metric of the study."""
    per_seed: list[dict[str, Draws]] = []
    for number, seed in enumerate(plan.seeds):
        sides = [(weight, f"{seed}-{arm}") for arm, weight in claim.cells.items()]
        if not all(cell_id in files for _, cell_id in sides):
            return []
        weighed = [(weight, files[cell_id]) for weight, cell_id in sides]
        per_seed.append(contrast_draws(weighed, plan.metrics, seed=_seed(number)))
    rows: list[JsonRow] = []
    for metric in plan.metrics:
        drawn = [found[metric] for found in per_seed if metric in found]
        if len(drawn) < len(plan.seeds):
            continue
        inner, outer = difference(mean_over_seeds(drawn)), difference(mean_over_seeds(drawn, 0))
        if inner is not None and outer is not None:
            rows.append(
                {
                    "claim": claim.claim,
                    "cells": dict(claim.cells),
                    "metric": metric,
                    **inner,
                    "lo_seeds": outer["lo"],
                    "hi_seeds": outer["hi"],
                    "p_seeds": outer["p"],
                    "by_seed": [one.point for one in drawn],
                    "unit": "task in seed",
                }
            )
    return rows


def _verdicts(plan: Plan, comparisons: list[JsonRow]) -> list[JsonRow]:
    """One a claim: supported or refuted where the whole interval over seeds says so.

    `p_holm` corrects the p-values of all claims that could be decided, with the seed as unit.
    """
    rows = {(row["claim"], row["metric"]): row for row in comparisons}
    found = [rows.get((claim.claim, claim.metric)) for claim in plan.claims]
    known = [row["p_seeds"] for row in found if row is not None]
    corrected = iter(holm(known))
    verdicts: list[JsonRow] = []
    for claim, row in zip(plan.claims, found, strict=True):
        if row is None:
            verdicts.append(
                {"claim": claim.claim, "verdict": UNDECIDED, "evidence": "cells are missing"}
            )
            continue
        low, high = row["lo_seeds"], row["hi_seeds"]
        verdict = UNDECIDED
        if low > claim.margin:
            verdict = SUPPORTED
        elif high < claim.margin:
            verdict = REFUTED
        p = next(corrected)
        evidence = (
            f"{claim.metric} {row['diff']:+.3f} [{low:+.3f}, {high:+.3f}], margin "
            f"{claim.margin:g}, p {p:.3g} (Holm, {len(known)} claims), unit: seed, n = "
            f"{len(plan.seeds)}"
        )
        verdicts.append(
            {"claim": claim.claim, "verdict": verdict, "evidence": evidence, "p_holm": p}
        )
    return verdicts


def _seed(number: int) -> int:
    return 1009 * (number + 1)
