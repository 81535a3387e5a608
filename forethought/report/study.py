"""A study on the terminal, and its record: verdicts, outcomes of every episode, some to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forethought.errors import InputError
from forethought.files import read_text
from forethought.jsonl import read_json, read_jsonl, write_text_atomic
from forethought.report.record import check_sizes, new_folder, packed_episode, write_gz
from forethought.report.tables import cell_text, make_console, make_table
from forethought.runfiles import read_env
from forethought.types import JsonRow

SCHEMA = "forethought.study/1"
READ = 10  # whole episodes of each cell in a record


def is_study(path: Path) -> bool:
    """Whether a folder is that of a study with verdicts, or its record."""
    file = path / "study.json"
    return file.is_file() or _schema(path / "summary.json") == SCHEMA


def _schema(file: Path) -> Any:
    return read_json(file, "a summary").get("schema") if file.is_file() else None


def read_study(path: Path) -> JsonRow:
    """The document of a study or of its record.

    Raises:
        InputError: it is absent or of another schema.
    """
    file = path / "study.json" if (path / "study.json").is_file() else path / "summary.json"
    found = read_json(file, "the verdicts of a study")
    if found.get("schema") != SCHEMA:
        raise InputError(
            str(file),
            got=f"schema {found.get('schema')!r}",
            expected=SCHEMA,
            next_step="run `forethought study` to its end",
        )
    return found


def print_study(document: JsonRow) -> None:
    """Arms, then claims with their verdicts, on standard output."""
    console = make_console()
    arms = document["arms"]
    names = list(dict.fromkeys(name for metrics in arms.values() for name in metrics))
    rows = [
        [arm, *(cell_text(metrics.get(name)) for name in names)] for arm, metrics in arms.items()
    ]
    seeds = ", ".join(map(str, document["seeds"]))
    title = f"{document['name']}, seeds {seeds}: means, seeds and tasks resampled"
    console.print(make_table(title, ("arm", *names), rows))
    verdicts = [[row["verdict"], row["claim"], row["evidence"]] for row in document["verdicts"]]
    console.print(make_table("claims", ("verdict", "claim", "evidence"), verdicts))
    console.print(f"{len(document['cells'])} cells, {document['cpu_min']} CPU-minutes")
    if document["missing"]:
        console.print(f"missing: {', '.join(document['missing'])}")


def write_study_record(study: Path, out: Path) -> list[Path]:
    """Writes the record of a study; returns its files.

    summary.json is the study's document, config.toml its file, command.txt one command a cell;
    outcomes.jsonl.gz has success and every expected q of each episode (what the verdicts rest on),
    episodes.jsonl.gz some whole ones of each cell.

    Raises:
        InputError: no verdicts yet, a folder that is not empty, or a file over 1 MB.
    """
    document = read_study(study)
    new_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    cells = [study / "cells" / cell["id"] for cell in document["cells"]]
    texts = {"summary.json": "study.json", "config.toml": "study.toml"}
    for name, source in texts.items():
        write_text_atomic(out / name, read_text(study / source, "a file of a finished study"))
    write_text_atomic(out / "env.json", read_text(cells[0] / "env.json", "an environment"))
    commands = [str(read_env(cell / "env.json")["command"]) for cell in cells]
    write_text_atomic(out / "command.txt", "".join(f"{line}\n" for line in commands))
    write_gz(out / "outcomes.jsonl.gz", (_outcome(c.name, row) for c in cells for row in _rows(c)))
    write_gz(out / "episodes.jsonl.gz", (row for cell in cells for row in _to_read(cell)))
    return check_sizes(out, "evaluate fewer tasks, or keep this study elsewhere")


def _rows(cell: Path) -> Iterator[JsonRow]:
    name = str(read_json(cell / "summary.json", "a cell")["evaluation"])
    for _, row in read_jsonl(cell / "evals" / name / "episodes.jsonl"):
        yield row


def _outcome(cell: str, row: JsonRow) -> JsonRow:
    """What an episode's metrics of success and of the estimate are made of."""
    q = [None if t["q_expected"] is None else round(t["q_expected"], 3) for t in row["turns"]]
    return {
        "cell": cell,
        "task": row["task_id"],
        "n": row["rollout"],
        "won": row["success"],
        "q": q,
    }


def _to_read(cell: Path) -> Iterator[JsonRow]:
    rows = list(_rows(cell))
    for row in rows[:: max(1, len(rows) // READ)][:READ]:
        yield {"cell": cell.name, **packed_episode(row)}
