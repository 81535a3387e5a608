"""Estimates of the same episodes as a table on standard output: estimates.json of an evaluation."""

from __future__ import annotations

from forethought.report.tables import cell_text, difference_text, make_console, make_table
from forethought.types import JsonRow

SHOWN = ("brier_skill", "auroc", "ece", "aurc")
COMPARED = ("brier_skill", "auroc")


def print_estimates(document: JsonRow) -> None:
    """A table of the first turn and one of the last, a row an estimate."""
    fitted = document["fitted_on"]
    columns = ("estimate", "n", *SHOWN, *(f"q minus it: {name}" for name in COMPARED))
    console = make_console()
    for cut in dict.fromkeys(row["cut"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["cut"] == cut]
        title = (
            f"estimates at the {cut} turn of the same episodes, fitted on "
            f"{fitted['num_rollouts']} rollouts of {fitted['num_tasks']} other tasks"
        )
        told = [_cells(row) for row in rows if row["reason"] is None]
        console.print(make_table(title, columns, told))
        for row in rows:
            if row["reason"] is not None:
                console.print(f"{row['estimate']}: undefined, {row['reason']}", soft_wrap=True)


def _cells(row: JsonRow) -> list[str]:
    return [
        row["estimate"],
        str(row["n"]),
        *(cell_text(row[name]) for name in SHOWN),
        *(_difference(row, name) for name in COMPARED),
    ]


def _difference(row: JsonRow, metric: str) -> str:
    """The expected q minus this estimate, with its interval."""
    cell = (row["q_minus"] or {}).get(metric)
    return "-" if cell is None else difference_text(cell)
