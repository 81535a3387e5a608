"""What an import leaves on disk: import.json and imported.jsonl. Needs no model and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forethought.data.benchmarks import split_named
from forethought.hindsight.importers.build import ImportOptions
from forethought.hindsight.importers.file import TestFile, import_file, read_tests
from forethought.hindsight.records import Label, Labelled, labelled_to_row
from forethought.hindsight.trajectory import Trajectory
from forethought.jsonl import write_json, write_jsonl
from forethought.progress import say
from forethought.types import JsonRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is imported, and how."""

    file: str
    form: str  # a key of `importers.FORMATS`
    options: ImportOptions
    tests: tuple[str, ...] = ()  # files of questions that must not be imported


def with_outcomes(trajectories: Sequence[Trajectory]) -> list[Labelled]:
    """Trajectories whose label is their outcome at every turn: nothing was run to measure it."""
    prior = sum(t.success for t in trajectories) / max(len(trajectories), 1)
    return [
        Labelled(
            trajectory=each,
            labels=(
                Label(
                    value=float(each.success),
                    source="outcome",
                    s=int(each.success),
                    k=1,
                    prior=prior,
                ),
            )
            * len(each.steps),
        )
        for each in trajectories
    ]


def write_import(
    folder: Path, source: Source, more_tests: Sequence[TestFile] = ()
) -> tuple[list[Labelled], JsonRow]:
    """Imports a file and writes import.json and imported.jsonl; returns what stands in them.

    Args:
        folder: where both files are written.
        source: what is imported.
        more_tests: questions that must not be imported, beside those of the source.

    Raises:
        InputError: a file cannot be read, or has no row.
    """
    if not source.tests:
        say("no --decontaminate: only what the rows say of their split keeps test questions out")
    split = split_named(Path(source.file).name)
    if split not in (None, "train"):
        say(f"the name of {source.file} speaks of a split for measuring ({split})")
    tests = [*read_tests(source.tests), *more_tests]
    trajectories, account = import_file(source.file, source.form, source.options, tests)
    items = with_outcomes(trajectories)
    write_jsonl(folder / "imported.jsonl", map(labelled_to_row, items))
    write_json(folder / "import.json", account)
    return items, account
