"""Public question sets by name: their rows as tasks, from a file or the hub.

`forethought.data.benchmark_table` says where a set is and how its rows are read. A set comes from a
local file, in its published form or as a tasks.jsonl, or from the Hugging Face hub. Only rows that
are called `train` may train, so a split is never guessed in that direction: a row's own `split`
decides, then what the caller or the file's name says, then `test`.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forethought.data.benchmark_rows import Place
from forethought.data.benchmark_table import ABOUT, BENCHMARKS, Benchmark
from forethought.data.hub import INSTALL, hub_rows
from forethought.data.tasks import KINDS, SPLITS, task_of_row
from forethought.errors import InputError, MissingError
from forethought.files import decoded, open_input
from forethought.jsonl import no_rows, parse_json, read_jsonl
from forethought.types import JsonRow, Task

__all__ = ["ABOUT", "BENCHMARKS", "Benchmark", "file_rows", "find_benchmark", "read_benchmark"]


def read_benchmark(
    name: str,
    *,
    split: str | None = None,
    path: str | Path | None = None,
    left_out: Counter[str] | None = None,
) -> Iterator[Task]:
    """The tasks of a set one by one, in the order of the source.

    Looks at `path`, then in the folder FORETHOUGHT_DATA, then at the Hugging Face hub.

    Args:
        name: one of `BENCHMARKS`.
        split: one of ours; None = every one that the source has.
        path: a file, plain or gzipped: JSON lines, one JSON array, or tab-separated values.
        left_out: counts rows that become no task, by reason.

    Raises:
        InputError: no such set or split, no row, an id that comes twice, or a malformed row.
        MissingError: the data are nowhere.
    """
    if name not in BENCHMARKS:
        raise InputError(
            "benchmark",
            got=repr(name),
            expected=", ".join(BENCHMARKS),
            next_step="correct the name",
        )
    counts: Counter[str] = Counter() if left_out is None else left_out
    seen: dict[str, tuple[int, int]] = {}
    for row, place in _rows(name, split, path):
        if split is not None and place.split != split:
            counts[f"of split {place.split}"] += 1
            continue
        task = _task_of(BENCHMARKS[name], row, place)
        if task is None:
            counts["without an answer"] += 1
            continue
        mark = hash(task.question)  # the web and the Wikipedia rows of TriviaQA repeat questions
        first, line = seen.setdefault(task.id, (mark, place.line))
        if first != mark:
            raise place.refuse(f"id {task.id!r} again (first in line {line})", "every id once")
        if line != place.line:
            counts["said before"] += 1
            continue
        yield task
    if not seen:
        source = str(path) if path is not None else name
        raise _nothing(source, split, counts)


def _task_of(benchmark: Benchmark, row: JsonRow, place: Place) -> Task | None:
    if place.split == "train" and "train" not in benchmark.splits:
        raise place.refuse(
            f"a row of split train, and {place.name} has none",
            f"a row of {' or '.join(benchmark.splits)}: what only measures must not train",
        )
    if _is_task(row):
        return task_of_row({**row, "split": place.split}, place.where, place.line)
    return benchmark.task_of(row, place)


def _is_task(row: JsonRow) -> bool:
    """True for a row of a tasks.jsonl."""
    return row.get("kind") in KINDS and "answers" in row and "id" in row


def _nothing(source: str, split: str | None, counts: Counter[str]) -> InputError:
    if not counts:
        return no_rows(source, "row")
    return InputError(
        source,
        got="; ".join(f"{number} rows {reason}" for reason, number in counts.items()),
        expected="at least one row" + (f" of split {split}" if split else ""),
        next_step="name another split or file; a row without a split is of the file name's, and a "
        "file that measures is not made to train by a flag",
    )


def _rows(name: str, split: str | None, path: str | Path | None) -> Iterator[tuple[JsonRow, Place]]:
    """Every row with its place, from the first source that is there."""
    benchmark = BENCHMARKS[name]
    if path is not None:
        yield from _from_file(name, Path(path), split)
        return
    wanted = [split] if split is not None else list(benchmark.splits)
    files = {each: file for each in wanted if (file := find_benchmark(name, each)) is not None}
    if files:
        for each, file in files.items():
            yield from _from_file(name, file, each)
        return
    for each in wanted:
        yield from _from_hub(name, each)


def find_benchmark(name: str, split: str) -> Path | None:
    """The file of a split under FORETHOUGHT_DATA, or None.

    Known places: `NAME_SPLIT.jsonl` and `NAME/SPLIT.jsonl`, of a set with one split `NAME.jsonl`,
    too; also with `.json`, gzipped, and inside a folder `search_qa` or `math`; SPLIT is ours or the
    hub's.
    """
    home = os.environ.get("FORETHOUGHT_DATA")
    if not home:
        return None
    splits = BENCHMARKS[name].splits
    stems = [
        stem
        for each in dict.fromkeys((split, splits.get(split, split)))
        for stem in (f"{name}_{each}", f"{name}/{each}")
    ]
    if len(splits) == 1 and split in splits:
        stems.append(name)
    for folder in (Path(home), Path(home, "search_qa"), Path(home, "math")):
        for stem in stems:
            for ending in (".jsonl", ".jsonl.gz", ".json", ".json.gz"):
                file = folder / f"{stem}{ending}"
                if file.is_file():
                    return file
    return None


def _from_hub(name: str, split: str) -> Iterator[tuple[JsonRow, Place]]:
    benchmark = BENCHMARKS[name]
    published = benchmark.splits.get(split)
    if published is None:
        raise InputError(
            f"{name}, split {split}",
            got="a split that the hub does not have with answers",
            expected=" or ".join(benchmark.splits),
            next_step="name one of these, or a file of your own (--from)",
        )
    ways = f"name its file (--from), put {name}_{split}.jsonl into the folder FORETHOUGHT_DATA"
    if benchmark.hub_id is None:
        raise MissingError(f"{name} ({split}): no local file", next_step=ways)
    rows = hub_rows(
        benchmark.hub_id,
        benchmark.config,
        published,
        what=f"{name} ({split})",
        next_step=f"{ways}, or {INSTALL}",
    )
    for line, row in enumerate(rows, start=1):
        yield row, Place(name=name, where=benchmark.hub_id, line=line, split=split)


def _from_file(name: str, file: Path, asked: str | None) -> Iterator[tuple[JsonRow, Place]]:
    """Rows of a file; a split that neither row nor file name states is the one asked for."""
    benchmark = BENCHMARKS[name]
    stated = split_named(file.name)
    if stated == "train" and stated not in benchmark.splits:
        # What the hub calls the only split of a set that measures.
        stated = next(
            (ours for ours, theirs in benchmark.splits.items() if theirs == stated), stated
        )
    for line, row in file_rows(file):
        # A tasks.jsonl says train by saying nothing (`load_tasks`); other forms never do.
        unsaid = "train" if _is_task(row) else asked or "test"
        split = _split_of(row, file, line) or stated or unsaid
        yield row, Place(name=name, where=str(file), line=line, split=split)


def split_named(text: str) -> str | None:
    """Our name of the one split that a text names in its words; None = none, or several."""
    found = {split for word in re.split(r"[^a-z]+", text.lower()) if (split := _SPLIT.get(word))}
    return found.pop() if len(found) == 1 else None


_SPLIT = {
    **{split: split for split in SPLITS},
    **dict.fromkeys(("training", "trainmodel"), "train"),
    **dict.fromkeys(("dev", "valid", "validation", "devtest"), "val"),
}


def _split_of(row: JsonRow, file: Path, line: int) -> str | None:
    """What the row itself says."""
    said = row.get("split")
    if said is None:
        return None
    split = _SPLIT.get(said.lower()) if isinstance(said, str) else None
    if split is None:
        raise InputError(
            str(file),
            line=line,
            got=f"split = {said!r}",
            expected=f"one of {', '.join(_SPLIT)}",
            next_step="correct the value",
        )
    return split


def file_rows(path: Path) -> Iterator[tuple[int, JsonRow]]:
    """Number from 1 and row of each entry: JSON lines, one JSON array, or tab-separated values.

    Raises:
        InputError: the file cannot be read, or an entry is no object.
    """
    ending = path.name.removesuffix(".gz").rpartition(".")[2]
    if ending == "tsv":
        text = decoded(_bytes(path), str(path), "tab-separated values")
        yield from enumerate(csv.DictReader(io.StringIO(text), delimiter="\t"), start=1)
        return
    entries = _array(path) if ending == "json" else None
    if entries is None:
        yield from read_jsonl(path)
        return
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise InputError(
                str(path),
                line=number,
                got=f"an entry of type {type(entry).__name__}",
                expected="an array of objects",
                next_step="use the published file",
            )
        yield number, entry


def _array(path: Path) -> list[Any] | None:
    """The array in a JSON document, or in its field `Data`; None: it is no such document."""
    try:
        value = parse_json(_bytes(path))
    except (ValueError, RecursionError):
        return None  # JSON lines, or a fault that their reader names
    if isinstance(value, dict):
        value = value.get("Data", value.get("data"))
    return value if isinstance(value, list) else None


def _bytes(path: Path) -> bytes:
    with open_input(path, "a file of questions") as stream:
        packed = path.name.endswith(".gz")
        try:
            return gzip.GzipFile(fileobj=stream).read() if packed else stream.read()
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                str(path),
                got=f"bytes that cannot be read ({error})",
                expected="a whole file",
                next_step="download it again",
            ) from error
