"""`forethought diff A B`: how two runs differ in configuration, in figures and task by task."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forethought.types import JsonRow

HELP = "how two runs differ, in configuration, in figures and task by task; exit 1 if they do"
SHOWN = ("only_a", "only_b")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("a", help="folder of a run, of an evaluation or of a cell of a study")
    parser.add_argument("b", help="folder of another")
    parser.add_argument(
        "--show", type=int, default=5, help="attempts printed that one side won (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, all attempts")


def run(args: argparse.Namespace) -> int:
    """Prints each differing key as `key: A -> B`, then the evaluations of both, attempt by attempt.

    Raises:
        InputError: a folder is neither a run nor an evaluation.
    """
    from forethought.report.paired import by_exact_match, compare
    from forethought.runlog import read_episodes

    left, right = _open(Path(args.a)), _open(Path(args.b))
    found = differences(left.config, right.config, "config")
    paired: list[JsonRow] = []
    for name in sorted({*left.summaries, *right.summaries}):
        a, b = left.summaries.get(name), right.summaries.get(name)
        label = f"evals.{name}" if name else "eval"
        if a is None or b is None:
            sides = ["absent" if side is None else "there" for side in (a, b)]
            found.append({"key": label, "a": sides[0], "b": sides[1]})
            continue
        found += differences(_values(a), _values(b), label)
        mine, theirs = (side.folder(name) / "episodes.jsonl" for side in (left, right))
        if mine.is_file() and theirs.is_file():
            ours, others = read_episodes(mine), read_episodes(theirs)
            if a.get("judge", "exact") != b.get("judge", "exact"):
                ours, others = by_exact_match(ours), by_exact_match(others)
            paired.append(compare(name, ours, others))
    if args.json:
        print(json.dumps({"differences": found, "paired": paired}))
    else:
        for row in found:
            print(f"{row['key']}: {row['a']!r} -> {row['b']!r}")
        for row in paired:
            _print_paired(row, args.show)
    return 1 if found or any(_differs(row) for row in paired) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """What is compared: a run, or one evaluation under the name ""."""

    root: Path
    config: JsonRow
    summaries: dict[str, JsonRow]

    def folder(self, name: str) -> Path:
        """Where the episodes of an evaluation lie."""
        return self.root / "evals" / name if name else self.root


def _open(root: Path) -> _Side:
    from forethought.report.tables import evaluations
    from forethought.runfiles import read_head, read_summary

    alone = (root / "episodes.jsonl").is_file() and not (root / "resolved.json").is_file()
    if alone:
        return _Side(root=root, config={}, summaries={"": read_summary(root / "summary.json")})
    config = read_head(root / "resolved.json")
    return _Side(root=root, config=config, summaries=dict(evaluations(root)))


def _differs(row: JsonRow) -> bool:
    return any(row["won"][group] for group in SHOWN)


def _print_paired(row: JsonRow, shown: int) -> None:
    won = row["won"]
    print(
        f"\n{row['eval'] or 'evaluation'}: {row['num_attempts']} attempts at {row['num_tasks']}"
        f" tasks of both; won by A alone {won['only_a']}, by B alone {won['only_b']},"
        f" by both {won['both']}, by neither {won['neither']}"
    )
    for cell in row["comparisons"]:
        print(
            f"  {cell['metric']}: A - B {cell['diff']:+.3f} [{cell['lo']:+.3f}, {cell['hi']:+.3f}],"
            f" p {cell['p']:.3f} (unit: {cell['unit']})"
        )
    for group in SHOWN:
        for attempt in row["attempts"][group][:shown]:
            sides = ", ".join(f"{side.upper()} {_told(attempt[side])}" for side in ("a", "b"))
            print(
                f"  won by {group[-1].upper()} alone: {attempt['task_id']} #{attempt['rollout']}"
                f" {attempt['question']} (right: {attempt['right']}): {sides}"
            )


def _told(side: JsonRow) -> str:
    q = "" if side["q_first"] is None else f", q {side['q_first']:.0%} to {side['q_last']:.0%}"
    return f"{side['answer']!r} ({side['stop_reason']}, {side['turns']} turns{q})"


def _values(summary: dict[str, Any]) -> dict[str, Any]:
    figures = {name: cell["value"] for name, cell in summary["metrics"].items()}
    return {"judge": summary.get("judge", "exact"), **figures}


def differences(a: Any, b: Any, path: str) -> list[JsonRow]:
    """The leaves at which two JSON values differ, as rows {"key", "a", "b"}."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b})
        return [d for key in keys for d in differences(a.get(key), b.get(key), f"{path}.{key}")]
    return [] if a == b else [{"key": path, "a": a, "b": b}]
