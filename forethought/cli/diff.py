"""`forethought diff A B`: how two runs differ in configuration and in figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "how two runs differ, in configuration and in figures; exit 1 if they do"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("a", help="folder of a run")
    parser.add_argument("b", help="folder of a run")


def run(args: argparse.Namespace) -> int:
    """Prints each differing key as `key: A -> B`."""
    from forethought.report.tables import evaluations
    from forethought.runfiles import read_head

    left, right = Path(args.a), Path(args.b)
    lines = differences(
        read_head(left / "resolved.json"), read_head(right / "resolved.json"), "config"
    )
    mine, theirs = dict(evaluations(left)), dict(evaluations(right))
    for name in sorted({*mine, *theirs}):
        a, b = mine.get(name), theirs.get(name)
        if a is None or b is None:
            lines.append(f"evals.{name}: {'absent' if a is None else 'there'} -> "
                         f"{'absent' if b is None else 'there'}")  # fmt: skip
            continue
        lines += differences(_values(a), _values(b), f"evals.{name}")
    for line in lines:
        print(line)
    return 1 if lines else 0


def _values(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: cell["value"] for name, cell in summary["metrics"].items()}


def differences(a: Any, b: Any, path: str) -> list[str]:
    """The leaves at which two JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b})
        return [d for key in keys for d in differences(a.get(key), b.get(key), f"{path}.{key}")]
    return [] if a == b else [f"{path}: {a!r} -> {b!r}"]
