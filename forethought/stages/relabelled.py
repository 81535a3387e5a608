"""trajectories.jsonl with the labels of another student, written without holding it.

Stage 2 measures the labels again with the model that starts it and keeps the counts in
RUN/sft/labels.jsonl. From these the labels are made anew, as `labels.measure_labels` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from forethought.errors import InputError
from forethought.hindsight.records import Labelled, labelled_to_row
from forethought.jsonl import dumps, read_jsonl
from forethought.stages.labels import Count, count_of, labels_of, priors_of


def write_relabelled(
    items: Sequence[Labelled], counts: Path, out: Path, *, strength: float
) -> None:
    """Writes the items with labels made of counts.

    Args:
        items: in the order in which they were measured.
        counts: a finished labels.jsonl of these items.
        out: the file to write.
        strength: `prepare.prior_strength`.

    Raises:
        InputError: the counts are of other items, or not of all.
    """
    priors = priors_of((item.trajectory, found) for item, found in _counted(items, counts))
    part = out.with_name(f"{out.name}.tmp")
    with part.open("w", encoding="utf-8") as stream:
        for item, found in _counted(items, counts):
            labels = labels_of(item.trajectory, found, priors, strength)
            stream.write(dumps(labelled_to_row(replace(item, labels=labels))) + "\n")
    part.replace(out)


def _counted(
    items: Sequence[Labelled], counts: Path
) -> Iterator[tuple[Labelled, list[Count | None]]]:
    """Each item with the count of each turn; the last turn has none."""
    rows, where, line = read_jsonl(counts), str(counts), 0
    for number, item in enumerate(items):
        found: list[Count | None] = []
        for step in range(len(item.labels) - 1):
            line, row = next(rows, (line, None))
            if row is None:
                raise InputError(
                    where,
                    line=line,
                    got=f"no count of turn {step} of trajectory {number}",
                    expected="a count of every turn but the last of each trajectory",
                    next_step="let the stage finish its measurement: add --resume to its command",
                )
            found.append(count_of(row, (number, step), where, line))
        yield item, [*found, None]
    for line, row in rows:
        count_of(row, None, where, line)
