"""`forethought diff A B`: how two runs differ in configuration and in figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from forethought.types import JsonRow

HELP = "how two runs differ, in configuration and in figures; exit 1 if they do"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("a", help="folder of a run")
    parser.add_argument("b", help="folder of a run")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Prints each differing key as `key: A -> B`."""
    from forethought.report.tables import evaluations
    from forethought.runfiles import read_head

    left, right = Path(args.a), Path(args.b)
    found = differences(
        read_head(left / "resolved.json"), read_head(right / "resolved.json"), "config"
    )
    mine, theirs = dict(evaluations(left)), dict(evaluations(right))
    for name in sorted({*mine, *theirs}):
        a, b = mine.get(name), theirs.get(name)
        if a is None or b is None:
            sides = ["absent" if side is None else "there" for side in (a, b)]
            found.append({"key": f"evals.{name}", "a": sides[0], "b": sides[1]})
            continue
        found += differences(_values(a), _values(b), f"evals.{name}")
    if args.json:
        print(json.dumps({"differences": found}))
    else:
        for row in found:
            print(f"{row['key']}: {row['a']!r} -> {row['b']!r}")
    return 1 if found else 0


def _values(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: cell["value"] for name, cell in summary["metrics"].items()}


def differences(a: Any, b: Any, path: str) -> list[JsonRow]:
    """The leaves at which two JSON values differ, as rows {"key", "a", "b"}."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b})
        return [d for key in keys for d in differences(a.get(key), b.get(key), f"{path}.{key}")]
    return [] if a == b else [{"key": path, "a": a, "b": b}]
