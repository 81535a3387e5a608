"""Tables for the terminal, and the check of figures quoted in a README. Reads files only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from forethought.files import read_text
from forethought.jsonl import read_json
from forethought.runfiles import read_run_summary, read_summary
from forethought.runlog import RunPaths
from forethought.types import JsonRow

HEADLINE = (
    "success",
    "format_ok",
    "auroc_expected.first",
    "brier_skill_expected.first",
    "brier_skill_expected.all",
    "ece_expected.first",
    "keyword_lift",
)
"""What the tables show of a summary."""
JUDGED = "success (judge)"
"""A column of its own: `success` is exact match in every table, so that rows can be compared."""

COMPARED = ("a", "b", "metric", "difference")

_QUOTE = re.compile(r"<!-- record: (?P<file>\S+) (?P<key>\S+) -->\s*\**(?P<value>[-+]?[\d.]+)")


def cell_text(cell: Any) -> str:
    """A metric with its interval, such as `0.48 [0.43, 0.53]`; `-` where it is undefined."""
    if not cell or cell.get("value") is None:
        return "-"
    text = f"{cell['value']:.3f}"
    if cell.get("lo") is None:
        return text
    return f"{text} [{cell['lo']:.3f}, {cell['hi']:.3f}]"


def evaluations(run: Path) -> list[tuple[str, JsonRow]]:
    """Name and summary of every finished evaluation of a run, in the order they were made."""
    folder = run / "evals"
    files = list(folder.glob("*/summary.json")) if folder.is_dir() else []
    ordered = sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.parent.name))
    return [(file.parent.name, read_summary(file)) for file in ordered]


def make_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Rows under a title."""
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    return table


def headline(all_metrics: Iterable[JsonRow]) -> tuple[str, ...]:
    """The columns that these evaluations need: one more where a judge is on in any of them."""
    judged = any("success_em" in metrics for metrics in all_metrics)
    return (HEADLINE[0], JUDGED, *HEADLINE[1:]) if judged else HEADLINE


def figures(metrics: JsonRow, columns: Sequence[str]) -> list[str]:
    """The cells of one evaluation under the columns of `headline`."""
    judged = "success_em" in metrics
    own = {"success": "success_em" if judged else "success", JUDGED: "success" if judged else ""}
    return [cell_text(metrics.get(own.get(column, column))) for column in columns]


def _difference(row: JsonRow) -> list[str]:
    """What is compared, and the difference with its interval."""
    return [row["a"], row["b"], row["metric"], difference_text(row)]


def difference_text(row: JsonRow) -> str:
    """A difference with its interval, such as `+0.12 [+0.08, +0.16]`."""
    return f"{row['diff']:+.3f} [{row['lo']:+.3f}, {row['hi']:+.3f}]"


def make_console() -> Console:
    """Wide enough for one line a row where the output is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=180)


def print_summary(summary: JsonRow) -> None:
    """One summary on standard output, a metric a line."""
    console = make_console()
    console.print(
        f"{summary['num_rollouts']} rollouts of {summary['num_tasks']} tasks, "
        f"{summary['num_failed']} lost, split {summary['split']}, seed {summary['seed']}"
        + ("  (smoke)" if summary["smoke"] else "")
        + (f", success by {judge}" if (judge := summary.get("judge", "exact")) != "exact" else "")
    )
    for name, cell in summary["metrics"].items():
        if cell["value"] is not None:
            console.print(f"{name:28s} {cell_text(cell)}  n={cell['n']}")


def print_run(run: str | Path) -> None:
    """The evaluations and comparisons of a run on standard output."""
    root = Path(run)
    console = make_console()
    made = evaluations(root)
    columns = headline(found["metrics"] for _, found in made)
    rows = [
        [
            name,
            str(found["num_rollouts"] - found["num_failed"]),
            *figures(found["metrics"], columns),
        ]
        for name, found in made
    ]
    console.print(make_table(str(root), ("evaluation", "n", *columns), rows))
    file = RunPaths(root).summary
    if not file.is_file():
        return
    print_run_summary(read_run_summary(file))
    console.print(f"page: {root / 'page.html'}")


def print_run_summary(summary: JsonRow) -> None:
    """What a finished run compared and cost, on standard output."""
    console = make_console()
    rows = [[*_difference(row), f"{row['p']:.3f}"] for row in summary["comparisons"]]
    title = "paired differences (a - b, same tasks, same noise)"
    console.print(make_table(title, (*COMPARED, "p"), rows))
    if summary.get("dose"):
        console.print(f"block tokens trained (dose): {json.dumps(summary['dose'])}")
    total = sum(summary["cpu_s"].values())
    console.print(f"CPU {total / 60:.1f} min, peak memory {summary['peak_rss_mb']:.0f} MB")


def print_pooled(summary: JsonRow) -> None:
    """Figures of several seeds together on standard output."""
    console = make_console()
    seeds = ", ".join(map(str, summary["seeds"]))
    columns = headline(summary["evaluations"].values())
    rows = [[name, *figures(metrics, columns)] for name, metrics in summary["evaluations"].items()]
    title = f"seeds {seeds}: means, tasks resampled inside seeds"
    console.print(make_table(title, ("evaluation", *columns), rows))
    rows = [
        [*_difference(row), f"[{row['lo_seeds']:+.3f}, {row['hi_seeds']:+.3f}]"]
        for row in summary["comparisons"]
    ]
    title = "paired differences (a - b); second interval: seeds resampled too"
    console.print(make_table(title, (*COMPARED, "over seeds"), rows))


PRINTERS: dict[str, Callable[[JsonRow], None]] = {
    "forethought.summary/1": print_summary,
    "forethought.run/1": print_run_summary,
    "forethought.pooled/1": print_pooled,
}
"""How a summary is printed, by its schema."""


def drifted(readme: Path, root: Path) -> list[str]:
    """Figures of a README that differ from the record they name, as messages.

    A figure is written as `<!-- record: records/NAME/summary.json metrics.success.value -->0.48`
    and is compared with as many decimals as it shows.

    Raises:
        InputError: the README or a record cannot be read.
    """
    problems: list[str] = []
    for found in _QUOTE.finditer(read_text(readme, "a README")):
        value = _value(read_json(root / found["file"]), found["key"])
        decimals = len(found["value"].partition(".")[2])
        quoted = found["value"].lstrip("+")
        if not isinstance(value, int | float) or f"{value:.{decimals}f}" != quoted:
            problems.append(f"{found['file']} {found['key']}: README {quoted}, record {value}")
    return problems


def _value(value: Any, key: str) -> Any:
    """What stands at a dotted key, or None; names of metrics hold dots: the longest known wins."""
    rest = key
    while rest:
        name = rest.partition(".")[0]
        if isinstance(value, dict):
            names = sorted(value, key=len, reverse=True)
            name = next((n for n in names if rest == n or rest.startswith(n + ".")), name)
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
        rest = rest[len(name) + 1 :]
    return value
