"""trajectories.jsonl as a sequence that reads an item when it is asked for.

The first pass keeps where each line begins and what other items need to know of an item: its task,
its turns and its first label, some fifty bytes. So a corpus can be built from a file that is larger
than memory. `forethought.hindsight.corpus` takes such a file where it takes a list of items.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

from forethought.errors import InputError
from forethought.files import open_input
from forethought.hindsight.records import Labelled, labelled_from_row, miscounted
from forethought.jsonl import no_rows, parse_line

KEPT_ITEMS = 8  # read last: one item is written in several ways, and the next one is its twin
_KEY = 16  # bytes of a digest of a task id


@dataclass(frozen=True, slots=True)
class Outline:
    """What the choice of another item's block needs to know of an item."""

    task: bytes  # digest of the task's id
    num_calls: int
    num_steps: int


def outline_of(item: Labelled) -> Outline:
    """The outline of an item."""
    trajectory = item.trajectory
    task = hashlib.blake2b(trajectory.task.id.encode(), digest_size=_KEY).digest()
    return Outline(task, trajectory.num_calls, len(trajectory.steps))


class LabelledFile(Sequence[Labelled]):
    """The items of a file, in order; each is read anew unless it is one of the last few."""

    def __init__(self, path: Path, *, num: int | None = None, limit: int | None = None) -> None:
        """Reads the file once, line by line.

        Args:
            path: a trajectories.jsonl.
            num: how many items it must hold, where that is known.
            limit: how many of them count; None = all.

        Raises:
            InputError: the file is absent, empty or cut off, or a line does not fit.
        """
        self._path = path
        self._places, self._lines = array("Q"), array("Q")
        self._calls, self._steps = array("I"), array("I")
        self._first_labels = array("d")
        self._tasks = bytearray()
        self._kept: OrderedDict[int, Labelled] = OrderedDict()
        digest = hashlib.sha256()
        found = place = 0
        with open_input(path, "a JSON lines file") as stream:
            for line, text in enumerate(stream, start=1):
                digest.update(text)
                if text.strip():
                    item = labelled_from_row(parse_line(text, str(path), line), str(path), line)
                    found += 1
                    if limit is None or found <= limit:
                        self._note(item, place, line)
                place += len(text)
        if not found:
            raise no_rows(path, "trajectory")
        if num is not None and found != num:
            raise miscounted(path, found, num)
        self.sha256 = digest.hexdigest()

    def _note(self, item: Labelled, place: int, line: int) -> None:
        outline = outline_of(item)
        self._places.append(place)
        self._lines.append(line)
        self._calls.append(outline.num_calls)
        self._steps.append(outline.num_steps)
        self._tasks += outline.task
        self._first_labels.append(item.labels[0].value)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Labelled: ...
    @overload
    def __getitem__(self, index: slice) -> list[Labelled]: ...
    def __getitem__(self, index: int | slice) -> Labelled | list[Labelled]:
        """An item, or a list of some.

        Raises:
            InputError: the file was changed after the first pass.
        """
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if number not in self._kept:
            self._kept[number] = self._read(number)
            if len(self._kept) > KEPT_ITEMS:
                self._kept.popitem(last=False)
        return self._kept[number]

    def _read(self, number: int) -> Labelled:
        where, line = str(self._path), self._lines[number]
        with open_input(self._path, "a JSON lines file") as stream:
            stream.seek(self._places[number])
            text = stream.readline()
        item = labelled_from_row(parse_line(text, where, line), where, line)
        if outline_of(item) != self.outline(number):
            raise InputError(
                where,
                line=line,
                got="another trajectory than a moment ago",
                expected="a file that nothing writes to",
                next_step="wait until the stage that writes it has ended",
            )
        return item

    def outline(self, index: int) -> Outline:
        """What is known of an item without reading it."""
        task = bytes(self._tasks[_KEY * index : _KEY * (index + 1)])
        return Outline(task, self._calls[index], self._steps[index])

    @property
    def first_labels(self) -> Sequence[float]:
        """The label of each item's first turn."""
        return self._first_labels

    def keep(self, indices: Sequence[int]) -> None:
        """Leaves out all other items; before any item has been read."""
        for name in ("_places", "_lines", "_calls", "_steps", "_first_labels"):
            column = getattr(self, name)
            setattr(self, name, array(column.typecode, (column[index] for index in indices)))
        self._tasks = bytearray().join(
            self._tasks[_KEY * index : _KEY * (index + 1)] for index in indices
        )

    @cached_property
    def mean_label(self) -> float:
        """The mean label of the first turns."""
        return sum(self._first_labels) / max(len(self), 1)
