"""The page of a run: one static file, written from the files of the run and nothing else.

It is written again after each stage, so it exists from the first minute; what is not there yet is
shown as pending. No network, no script, no external font.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment

from forethought.jsonl import write_text_atomic
from forethought.report.failures import CAUSES, failures, surprises
from forethought.report.figures import curve, reliability
from forethought.report.findings import findings
from forethought.report.selective import selective_figures
from forethought.report.tables import evaluations, figures, headline
from forethought.report.token_view import token_view
from forethought.runfiles import read_env, read_head, read_metrics, read_run_summary, read_state
from forethought.runlog import RunPaths, episode_to_row, read_episodes
from forethought.types import Episode, JsonRow

EPISODES_SHOWN = 10
SURPRISES_SHOWN = 3
CURVES = {
    "base": (("ce_loss", "cross-entropy"),),
    "midtrain": (("ce_loss", "cross-entropy"),),
    "sft": (("ce_loss", "cross-entropy"),),
    "rl": (("reward", "reward"), ("q_mean", "mean stated q"), ("format_ok", "format")),
}
STAGES = ("base", "prepare", "midtrain", "sft", "rl")


def build_page(run: str | Path) -> Path:
    """Writes RUN/page.html; returns its path."""
    paths = RunPaths(run)
    config = read_head(paths.resolved)
    rows = evaluations(paths.root)
    columns = headline(row["metrics"] for _, row in rows)
    summary = read_run_summary(paths.summary) if paths.summary.is_file() else {}
    state = read_state(paths.state) if paths.state.is_file() else {"done": [], "cpu_s": {}}
    episodes = {name: _read(paths, name) for name, _ in rows}
    last = _last_stage(episodes)
    scripted = not last and paths.examples.is_file()
    shown = read_episodes(paths.examples) if scripted else episodes.get(last, [])
    text = _template().render(
        name=config["name"],
        seed=config["seed"],
        smoke=config["smoke"],
        command=_command(paths),
        findings=findings(dict(rows), summary.get("comparisons", [])),
        stages=[(stage, stage in state["done"]) for stage in STAGES],
        columns=columns,
        table=[_table_row(name, row, columns) for name, row in rows],
        beside=[cells for name, row in rows if (cells := _beside(name, row))],
        comparisons=summary.get("comparisons", []),
        dose=summary.get("dose") or state.get("dose"),
        cpu=sorted(state["cpu_s"].items()),
        cpu_total=sum(state["cpu_s"].values()) / 60,
        curves=_curves(paths.root),
        diagrams=[_diagram(name, found) for name, found in episodes.items() if "-" not in name],
        selective=selective_figures(episodes),
        causes=CAUSES,
        failures=[
            (name, failures(found))
            for name, found in episodes.items()
            if found and name.endswith(("sft", "rl"))
        ],
        surprises=_surprises(episodes.get(last, []), last),
        episodes=_episodes(shown, last or "scripted"),
        scripted=scripted,
        tokens=token_view(paths.root / "rl" / "example.json"),
    )
    write_text_atomic(paths.page, text)
    return paths.page


def _template() -> Any:
    source = resources.files("forethought") / "report" / "templates" / "page.html.j2"
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        source.read_text(encoding="utf-8")
    )


def _command(paths: RunPaths) -> str:
    return str(read_env(paths.env)["command"]) if paths.env.is_file() else ""


def _table_row(name: str, summary: JsonRow, columns: Sequence[str]) -> JsonRow:
    return {
        "name": name,
        "n": summary["num_rollouts"] - summary["num_failed"],
        "cells": figures(summary["metrics"], columns),
    }


def _beside(name: str, summary: JsonRow) -> list[str] | None:
    """Floor, trivial estimate and oracles of the first turn as cells; None where there are none."""
    beside = summary.get("beside") or {}
    sources = [beside.get(f"{key}.first") or {} for key in ("trivial", "oracle", "oracle_route")]
    values = [source.get(metric) for metric in ("auroc", "brier_skill") for source in sources]
    values.append(beside.get("ece_floor_expected.first"))
    if all(value is None for value in values):
        return None
    return [name, *("-" if value is None else f"{value:.3f}" for value in values)]


def _curves(root: Path) -> list[str]:
    found: list[str] = []
    for name, folder in RunPaths(root).arms():
        arm = "" if name == "full" else f"{name} "
        for stage, series in CURVES.items():
            file = folder / stage / "metrics.jsonl"
            if not file.is_file():
                continue
            rows = read_metrics(file)
            for key, label in series:
                found.append(curve(f"{arm}{stage}: {label}", _smooth(rows, key), label))
    return [figure for figure in found if figure]


def _smooth(rows: Sequence[JsonRow], key: str, points: int = 80) -> list[float | None]:
    """Means of consecutive steps, at most `points` of them."""
    values = [row[key] for row in rows if row.get(key) is not None]
    width = max(1, len(values) // points)
    return [
        sum(values[i : i + width]) / len(values[i : i + width])
        for i in range(0, len(values), width)
    ]


def _read(paths: RunPaths, name: str) -> list[Episode]:
    file = paths.eval_dir(name) / "episodes.jsonl"
    return read_episodes(file) if file.is_file() else []


def _diagram(name: str, episodes: Sequence[Episode]) -> str:
    pairs = [
        (q, float(episode.success or 0))
        for episode in episodes
        if episode.error is None
        and episode.turns
        and (q := episode.turns[0].q_expected) is not None
    ]
    return reliability(f"{name}, first turn", pairs)


def _surprises(episodes: Sequence[Episode], name: str) -> list[tuple[str, int, list[JsonRow]]]:
    """Title, number and some episodes of each kind of surprise, of the last stage."""
    if name not in ("rl", "sft"):
        return []
    titles = ("sure of success, and lost", "sure of failure, and won")
    return [
        (f"{name}: {title}", len(found), [_shown(e, name) for e in found[:SURPRISES_SHOWN]])
        for title, found in zip(titles, surprises(episodes), strict=True)
    ]


def _episodes(found: Sequence[Episode], name: str) -> list[JsonRow]:
    """Ten evenly spaced episodes."""
    step = max(1, len(found) // EPISODES_SHOWN)
    return [_shown(episode, name) for episode in found[::step][:EPISODES_SHOWN]]


def _last_stage(names: Container[str]) -> str:
    return next((name for name in ("rl", "sft", "midtrain", "base") if name in names), "")


def _shown(episode: Episode, name: str) -> JsonRow:
    return {**episode_to_row(episode), "eval": name}
