"""Rollouts of stage 3 token by token: what each token earned, from RUN/rl/example.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forethought.runfiles import read_example
from forethought.types import JsonRow

FAINTEST = 0.12  # of the tint of a token that earned anything


def token_view(file: Path) -> JsonRow | None:
    """What the page shows of the example, or None where none was kept."""
    if not file.is_file():
        return None
    example = read_example(file)
    every = [token for shown in example["rollouts"] for token in shown["tokens"]]
    largest = max(abs(_push(token)) for token in every) or 1.0
    return {
        "step": example["update"],
        "attempts": len(example["group"]),
        "won": sum(example["group"]),
        "rollouts": [
            {
                "success": shown["success"],
                "turns": _by_turn(shown["tokens"], largest),
                "spans": _by_span(shown["tokens"]),
            }
            for shown in example["rollouts"]
        ],
    }


def _by_turn(tokens: Sequence[JsonRow], largest: float) -> list[list[JsonRow]]:
    """The tokens of the prompt, then those of each turn."""
    turns: dict[int, list[JsonRow]] = {}
    for token in tokens:
        number = -1 if token["turn"] is None else token["turn"]
        turns.setdefault(number, []).append(_shown(token, largest))
    return [turns[number] for number in sorted(turns)]


def _push(token: JsonRow) -> float:
    """What the policy gradient multiplies the gradient of the token's log-probability by."""
    return float(token["pg_weight"] * token["advantage"])


def _shown(token: JsonRow, largest: float) -> JsonRow:
    push = _push(token)
    told = f"weight {token['pg_weight']:g}, advantage {token['advantage']:+.3f}"
    kind = "up" if push > 0 else "down" if push < 0 else ""
    if not token["sampled"]:
        kind, told = "given", "does not train"
    elif token["number"]:
        kind, told = "number", "trained by the Brier score"
    tint = max(FAINTEST, abs(push) / largest) if kind in ("up", "down") else 0.0
    title = f"{token['span']}, {told}"
    return {"text": token["text"], "kind": kind, "tint": round(tint, 2), "title": title}


def _by_span(tokens: Sequence[JsonRow]) -> list[JsonRow]:
    """Of each span of sampled tokens: how many, mean weight, lowest and highest advantage."""
    spans: dict[str, list[JsonRow]] = {}
    for token in tokens:
        if token["sampled"]:
            spans.setdefault(token["span"], []).append(token)
    return [
        {
            "span": name,
            "n": len(found),
            "weight": sum(token["pg_weight"] for token in found) / len(found),
            "low": min(token["advantage"] for token in found),
            "high": max(token["advantage"] for token in found),
        }
        for name, found in spans.items()
    ]
