"""The rows of the public sets that a configuration names, each task once, and their splits."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from forethought.data.benchmarks import BENCHMARKS, read_benchmark
from forethought.data.decontaminate import question_key, tokens_of
from forethought.errors import InputError
from forethought.schema import DataConfig
from forethought.types import Task


def rows_of(data: DataConfig, kind: str) -> list[Task]:
    """The first `data.max_rows` rows of each set and split, in the order of the sets.

    Raises:
        InputError: a task that two entries have, or a set or file that cannot be read.
        MissingError: a set is nowhere.
    """
    found = [task for entry in data.benchmarks for task in _read(entry, data.max_rows, kind)]
    again = [name for name, num in Counter(task.id for task in found).items() if num > 1]
    if again:
        raise InputError(
            "data.benchmarks",
            got=f"task {again[0]} in two of {', '.join(data.benchmarks)}",
            expected="every task once",
            next_step="name every file once",
        )
    return found


def dealt(rows: Sequence[Task], to: Sequence[str] = ("val", "test")) -> dict[str, list[Task]]:
    """The rows of train, val and test; development rows go in turn to the splits of `to`.

    A question that is held out is so in all rows that ask it, and in one split.
    """
    dev = [task for task in rows if task.split == "val"]
    home = {_key(task): task.split for task in rows if task.split not in ("train", "val")}
    fresh = dict.fromkeys(key for key in map(_key, dev) if key not in home)
    home |= zip(fresh, itertools.cycle(to), strict=False)
    splits: dict[str, list[Task]] = {"train": [], "val": [], "test": []}
    for task in (*(task for task in rows if task.split != "val"), *dev):
        name = home.get(_key(task), "train")
        if name in splits and (name == "train") == (task.split == "train"):
            splits[name].append(task)
    return splits


def _key(task: Task) -> str:
    return question_key(tokens_of(task.question))


def too_few(rows: Iterable[Task], split: str, got: str, expected: str) -> InputError:
    """What a domain says of a split that has nothing to give."""
    return InputError(
        f"data.benchmarks ({split})",
        got=f"{got} (rows read: {dict(Counter(task.split for task in rows))})",
        expected=expected,
        next_step="name a set or file that has such rows",
    )


def grouped(task: Task) -> Task:
    """The task with the set in the name of its group: two sets may call a kind the same."""
    parts = (task.columns.get("benchmark"), task.columns.get("group"))
    group = " ".join(part for part in parts if part)
    return replace(task, columns={**task.columns, "group": group}) if group else task


def _read(entry: str, most: int, kind: str) -> Iterator[Task]:
    """The first `most` tasks of each split of NAME or NAME:FILE."""
    name, _, file = entry.partition(":")
    if file:
        yield from _first(read_benchmark(name, path=file), most, kind)
        return
    for split in BENCHMARKS[name].splits if name in BENCHMARKS else (None,):
        yield from _first(read_benchmark(name, split=split), most, kind, stop=True)


def _first(tasks: Iterable[Task], most: int, kind: str, *, stop: bool = False) -> Iterator[Task]:
    """At most `most` tasks of each split; `stop`: all are of one, so the rest is not read."""
    counts: Counter[str] = Counter()
    for task in tasks:
        if task.kind != kind:
            continue
        counts[task.split] += 1
        if counts[task.split] <= most:
            yield task
        if stop and counts[task.split] >= most:
            return
