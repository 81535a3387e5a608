"""The page of a GPU record: reads the files of its parts, writes tables and verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu_cells import SCHEMA, Cell

PARTS = ("correctness", "rollout", "train", "pipeline")


def write_page(folder: Path) -> str:
    """Writes `folder`/README.md from the parts that are there; returns it.

    Raises:
        SystemExit: no part is there, or parts are of different devices.
    """
    files = {name: folder / f"{name}.json" for name in PARTS}
    found = {name: json.loads(p.read_text("utf-8")) for name, p in files.items() if p.is_file()}
    if not found:
        raise SystemExit(f"{folder} holds none of {', '.join(p.name for p in files.values())}")
    places = {(part["schema"], part["device"], part["quick"]) for part in found.values()}
    if len(places) > 1 or next(iter(places))[0] != SCHEMA:
        raise SystemExit(f"{folder} holds parts of different machines or sizes: {sorted(places)}")
    _, device, quick = next(iter(places))
    cells = {name: found[name]["cells"] if name in found else {} for name in PARTS}
    lines = [f"# One GPU: {device}", ""]
    if quick:
        lines += ["Toy sizes (`--quick`): this tries the scripts out and is no record.", ""]
    lines += ["## Verdicts", "", *(f"- {line}" for line in _verdicts(cells)), ""]
    for name, section in SECTIONS.items():
        if cells[name]:
            lines += [*section(cells[name]), ""]
    lines += ["## Machine", "", *_machines(found), ""]
    text = "\n".join(lines)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return text


def _verdicts(cells: dict[str, dict[str, Cell]]) -> list[str]:
    """What the figures say, and what is not there to say anything."""
    lines = []
    checks = {name: cell for name, cell in cells["correctness"].items() if "ok" in cell}
    bad = [name for name, cell in checks.items() if not cell["ok"]]
    if checks:
        what = f"failed: {', '.join(bad)}" if bad else "all passed"
        lines.append(f"Correctness: {len(checks) - len(bad)} of {len(checks)} checks; {what}.")
    ratios = [row["ratio"] for row in _rollout_rows(cells["rollout"]) if row["ratio"] is not None]
    if ratios:
        word = "quicker at every size" if min(ratios) > 1 else "NOT quicker at every size"
        lines.append(
            f"Rollouts: {min(ratios):.2f} to {max(ratios):.2f} times the tokens a second of "
            f"`generate`; {word}."
        )
    gains = [ratio for ratio in _train_gains(cells["train"]).values() if ratio is not None]
    if gains:
        word = "quicker for every model" if min(gains) > 1 else "NOT quicker for every model"
        lines.append(
            f"Training: the best row length has {min(gains):.2f} to {max(gains):.2f} times the "
            f"tokens a second of the best padded rows; {word}."
        )
    runs = [cell for name, cell in cells["pipeline"].items() if name.startswith("demo")]
    if runs:
        same = cells["pipeline"].get("twice", {}).get("same_bytes")
        told = {True: "the same weights", False: "different weights", None: "not compared"}[same]
        done = sum(cell["ok"] for cell in runs)
        lines.append(f"Pipeline: {done} of {len(runs)} runs to their end; two runs: {told}.")
    missing = [name for name in PARTS if not cells[name]]
    errors = [
        f"{part}: {name}: {cell['error']}"
        for part in PARTS
        for name, cell in cells[part].items()
        if "error" in cell
    ]
    lines += [f"Error in {error}" for error in errors]
    return [*lines, *([f"Not run: {', '.join(missing)}."] if missing else [])]


def _correctness(cells: dict[str, Cell]) -> list[str]:
    """A row a check."""
    rows = []
    for name, cell in cells.items():
        model, check = name.split("/", 1)
        verdict = "skipped" if "skipped" in cell else "passed" if cell["ok"] else "FAILED"
        rest = {k: v for k, v in cell.items() if k not in ("ok", "seconds", "skipped")}
        rows.append((model, check, verdict, _told(rest)))
    return ["## Correctness", "", *_table(("model", "check", "verdict", "figures"), rows)]


def _told(cell: Cell) -> str:
    parts = []
    for key, value in cell.items():
        shown = (
            ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        )
        parts.append(f"{key.replace('_', ' ')} {shown}")
    return "; ".join(parts).replace("|", "/")


def _rollout_rows(cells: dict[str, Cell]) -> list[dict[str, Any]]:
    """The sides of each model and batch beside one another."""
    rows = []
    for key in dict.fromkeys(name.rsplit("/", 1)[0] for name in cells if "/" in name):
        sides = {
            side: cells.get(f"{key}/{side}", {})
            for side in ("recorded", "growing", "generate", "limit")
        }
        speed = {side: cell.get("tokens_per_s") for side, cell in sides.items()}
        ours, theirs, most = speed["recorded"], speed["generate"], speed["limit"]
        rows.append(
            {
                "key": key,
                **speed,
                "ratio": ours / theirs if ours and theirs else None,
                "share": ours / most if ours and most else None,
                "captures": sides["recorded"].get("captures"),
                "first_s": sides["recorded"].get("first_s"),
            }
        )
    return rows


def _rollout(cells: dict[str, Cell]) -> list[str]:
    """Tokens a second, episodes of several turns."""
    head = (
        *("model, batch", "recorded", "growing", "generate", "recorded / generate"),
        *("limit", "recorded / limit", "recordings", "first episodes, s"),
    )
    rows = [
        (
            row["key"].replace("/", ", "),
            *(_number(row[side]) for side in ("recorded", "growing", "generate", "ratio")),
            *(_number(row[name]) for name in ("limit", "share", "captures", "first_s")),
        )
        for row in _rollout_rows(cells)
    ]
    return [
        "## Rollouts",
        "",
        "Sampled tokens a second over episodes of several turns, prefill of prompts and replies",
        "included. The limit reads weights, head and keys once a step at the speed of a copy, and",
        f"nothing else costs time. {_ceilings(cells)}",
        "",
        *_table(head, rows),
    ]


def _train_gains(cells: dict[str, Cell]) -> dict[str, float | None]:
    """Best of ours over best of the peer's, by model."""
    found: dict[str, float | None] = {}
    for model in dict.fromkeys(name.split("/")[0] for name in cells if "/" in name):
        best = {"packed": 0.0, "padded": 0.0}
        for name, cell in cells.items():
            if name.startswith(f"{model}/"):
                side = name.split("/")[1].split()[0]
                best[side] = max(best[side], cell.get("tokens_per_s", 0.0))
        found[model] = best["packed"] / best["padded"] if all(best.values()) else None
    return found


def _train(cells: dict[str, Cell]) -> list[str]:
    """A row a kind of step."""
    names = ("tokens_per_s", "matmul_share", "padding_share", "peak_gib")
    rows = [
        (*name.split("/", 1), *(_number(cell.get(key)) for key in names))
        for name, cell in cells.items()
        if "/" in name
    ]
    return [
        "## Training",
        "",
        "Whole optimiser steps under bfloat16 autocast. `packed M x R`: ours, micro-batches of M",
        "tokens, rows shared up to R; `padded M`: transformers and torch's AdamW, logits of every",
        "position. The share is of the matrix product, for operations that waste nothing.",
        _ceilings(cells),
        "",
        *_table(
            ("model", "step", "tokens/s", "share of matmul", "padding", "peak GiB"),
            rows,
        ),
    ]


def _pipeline(cells: dict[str, Cell]) -> list[str]:
    """Seconds of the stages of each run."""
    rows = [
        (name, "yes" if cell["ok"] else "NO", _number(cell.get("wall_s")), _told(stages))
        for name, cell in cells.items()
        if (stages := cell.get("stage_wall_s", {})) or name.startswith("demo")
    ]
    return [
        "## Pipeline",
        "",
        "`forethought demo --fast` on the device, all stages.",
        "",
        *_table(("run", "to its end", "seconds", "of its stages"), rows),
    ]


SECTIONS = {
    "correctness": _correctness,
    "rollout": _rollout,
    "train": _train,
    "pipeline": _pipeline,
}


def _ceilings(cells: dict[str, Cell]) -> str:
    cell = cells.get("ceilings", {})
    if "copy_gb_s" not in cell:
        return "The ceilings of the card were not measured."
    copy, product = _number(cell["copy_gb_s"]), _number(cell["matmul_tflop_s"])
    return f"This card, this run: copy {copy} GB/s, matrix product {product} TFLOP/s."


def _machines(found: dict[str, Any]) -> list[str]:
    rows = []
    for name, part in found.items():
        at = part["machine"]
        words = (
            f"{k} {at[k]}" for k in ("python", "torch", "transformers", "cuda", "cpu") if k in at
        )
        rows.append((name, "; ".join(words)))
    return _table(("part", "where"), rows)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]
