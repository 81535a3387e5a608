"""Tasks from a `tasks.jsonl` file.

A row is `{"id","question","answers":[..],"kind":"qa"|"maths"}`; `split` and `world_seed` are read
where present, and every further column reaches `env.reset(**row)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from forethought.errors import InputError
from forethought.jsonl import dumps, need, no_rows, read_jsonl, write_jsonl
from forethought.types import JsonRow, Task

KINDS = ("qa", "maths")
SPLITS = ("train", "val", "test", "acceptance")
_FIELDS = ("id", "question", "answers", "kind", "split", "world_seed")
_RESERVED = ("self",)  # cannot be keyword arguments of a method


def load_tasks(path: str | Path) -> list[Task]:
    """All tasks of a file, in its order.

    Raises:
        InputError: no file, no task, a malformed field or an id that occurs twice.
    """
    where = str(path)
    tasks: list[Task] = []
    lines: dict[str, int] = {}
    for line, row in read_jsonl(path):
        task = task_of_row(row, where, line)
        if task.id in lines:
            raise InputError(
                where,
                line=line,
                got=f"id {task.id!r} again (first in line {lines[task.id]})",
                expected="every id once",
                next_step="rename or remove one of the two",
            )
        lines[task.id] = line
        tasks.append(task)
    if not tasks:
        raise no_rows(where, "task")
    return tasks


def task_of_row(row: JsonRow, where: str, line: int) -> Task:
    """One task from one row.

    Raises:
        InputError: a field is absent or malformed.
    """
    answers = tuple(need(row, "answers", list, where, line))
    if not answers or not all(isinstance(each, str) and each.strip() for each in answers):
        raise _malformed(where, line, "answers", row, "a list of one or more texts")
    for key, known in (("kind", KINDS), ("split", SPLITS)):
        value = row.get(key, "train" if key == "split" else None)
        if value not in known:
            raise _malformed(where, line, key, row, "one of " + ", ".join(known))
    seed = row.get("world_seed")
    if seed is not None and type(seed) is not int:
        raise _malformed(where, line, "world_seed", row, "a whole number or null")
    for key in _RESERVED:
        if key in row:
            raise _malformed(where, line, key, row, "another name for this column")
    return Task(
        id=_text(row, "id", where, line),
        question=_text(row, "question", where, line),
        answers=answers,
        kind=row["kind"],
        split=row.get("split", "train"),
        world_seed=seed,
        columns={key: value for key, value in row.items() if key not in _FIELDS},
    )


def _text(row: JsonRow, key: str, where: str, line: int) -> str:
    value: str = need(row, key, str, where, line)
    if not value.strip():
        raise _malformed(where, line, key, row, "a text that is not blank")
    return value


def _malformed(where: str, line: int, key: str, row: JsonRow, expected: str) -> InputError:
    got = f"{key} = {dumps(row[key])[:60]}" if key in row else f"no {key}"
    return InputError(
        where,
        line=line,
        got=got,
        expected=f'field "{key}": {expected}',
        next_step="correct the value",
    )


def save_tasks(path: Path, tasks: Iterable[Task]) -> int:
    """Writes tasks so that `load_tasks` gives them back; returns their number."""
    return write_jsonl(path, (_row(task) for task in tasks))


def _row(task: Task) -> JsonRow:
    row: JsonRow = {
        "id": task.id,
        "question": task.question,
        "answers": list(task.answers),
        "kind": task.kind,
        "split": task.split,
    }
    if task.world_seed is not None:
        row["world_seed"] = task.world_seed
    return {**row, **task.columns}
