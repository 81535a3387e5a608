"""The tokens of a micro-batch without padding, and who attends to whom, for `attention`.

Everything but attention treats tokens one by one, so they lie in one line. For attention documents
of about one length are put together; only there shorter ones are padded, and documents never meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forethought.algos.packing import PADDING, PackedBatch, followed

Ints = npt.NDArray[np.int64]

_QUERIES = 64  # of a block: the keys behind its last query are not looked at
_BUCKET = 4096  # what a bucket or a block costs beside its arithmetic, in pairs of query and key


@dataclass(frozen=True, slots=True)
class Document:
    """A range of tokens and what stands before it; a prefix is a document with nothing before."""

    start: int
    stop: int
    before: tuple[int, int] = (0, 0)  # range of the prefix

    @property
    def keys(self) -> int:
        """Tokens that its last token sees."""
        return self.before[1] - self.before[0] + self.stop - self.start


@dataclass(frozen=True, slots=True)
class Line:
    """The T tokens of a micro-batch, one after another."""

    ids: Ints  # [T]
    position: Ints  # [T] in the document, its prefix included
    place: Ints  # [G * P + B * L] of each position of prefixes and rows in the line; -1: padding
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Some queries of all documents of a bucket."""

    start: int
    stop: int
    seen: int  # keys that all of them see
    end: int  # keys that any of them sees
    hidden: Tensor  # [b or 1, 1, stop - start, 1, end - seen] 0 where seen, else minus infinity


@dataclass(frozen=True, slots=True)
class Bucket:
    """b documents of up to n queries and m keys."""

    rows: int  # b
    queries: Tensor  # [b * n] index of those who ask; their number where a document has fewer
    keys: Tensor  # [b * m] index of tokens; their number where a document has fewer
    blocks: tuple[Block, ...]

    @property
    def pairs(self) -> int:
        """Probabilities of one head."""
        return sum(self.rows * (block.stop - block.start) * block.end for block in self.blocks)


def line_up(batch: PackedBatch) -> Line:
    """Leaves padding out: the prefixes come first, then the rows."""
    parts = [(batch.ids, batch.position, batch.document != PADDING)]
    prefixes, ends = batch.prefixes, np.zeros(1, dtype=np.int64)
    before = [(0, 0)] * len(batch.ids)  # range of each row's prefix
    if prefixes is not None:
        columns = np.broadcast_to(np.arange(prefixes.ids.shape[1]), prefixes.ids.shape)
        parts.insert(0, (prefixes.ids, columns, columns < prefixes.lengths[:, None]))
        ends = np.concatenate([ends, np.cumsum(prefixes.lengths)])
        before = [(int(ends[n]), int(ends[n + 1])) for n in batch.prefix_of_row()]
    ids, position, real = (
        np.concatenate([x.ravel() for x in part]) for part in zip(*parts, strict=True)
    )
    found = [Document(int(start), int(stop)) for start, stop in pairwise(ends)]
    row, column = parts[-1][2].nonzero()
    number = batch.document[row, column]
    cuts = np.flatnonzero((np.diff(row) != 0) | (np.diff(number) != 0)) + 1
    for start, stop in pairwise((0, *cuts.tolist(), len(row))):
        found.append(Document(int(ends[-1]) + start, int(ends[-1]) + stop, before[row[start]]))
    place = np.where(real, np.cumsum(real) - 1, PADDING)
    return Line(ids[real], position[real], place, tuple(found))


def buckets_of(line: Line, asked: Ints | None = None) -> tuple[Bucket, ...]:
    """Who attends to whom.

    Args:
        line: the tokens.
        asked: the tokens that ask, in order; None: all. `Bucket.queries` are indices into it.
    """
    every = np.arange(len(line.ids)) if asked is None else asked
    spans = [np.searchsorted(every, (d.start, d.stop)) for d in line.documents]
    order = sorted(
        (n for n, (start, stop) in enumerate(spans) if stop > start),
        key=lambda n: -line.documents[n].keys,
    )
    sizes = np.array([line.documents[n].keys for n in order], dtype=np.int64)
    widths = np.array([spans[n][1] - spans[n][0] for n in order], dtype=np.int64)
    members = [(line.documents[n], int(spans[n][0]), int(spans[n][1])) for n in order]
    cuts = pairwise((0, *_cuts(sizes, widths)))
    return tuple(_bucket(line, every, members[start:stop]) for start, stop in cuts)


def _cuts(sizes: Ints, widths: Ints) -> list[int]:
    """Where buckets end so that arithmetic and calls together cost least; `sizes` descend."""
    count = len(sizes)
    costs, ends = np.zeros(count + 1), np.zeros(count, dtype=np.int64)
    for first in reversed(range(count)):
        widest = np.maximum.accumulate(widths[first:])
        members = np.arange(1, count - first + 1)
        calls = _BUCKET * (1 + -(-widest // _QUERIES))
        total = members * widest * sizes[first] / 2 + calls + costs[first + 1 :]
        best = int(np.argmin(total))
        costs[first], ends[first] = total[best], first + best + 1
    return followed(ends.tolist())


def _bucket(line: Line, every: Ints, members: Sequence[tuple[Document, int, int]]) -> Bucket:
    """Of documents, each with the range of its queries in `every`."""
    width = max(stop - start for _, start, stop in members)
    longest = max(document.keys for document, _, _ in members)
    queries = np.full((len(members), width), len(every))
    keys = np.full((len(members), longest), len(line.ids))
    positions = np.empty((len(members), width), dtype=np.int64)
    for row, (document, start, stop) in enumerate(members):
        count, before = stop - start, document.before[1] - document.before[0]
        queries[row, :count] = np.arange(start, stop)
        keys[row, :before] = np.arange(*document.before)
        keys[row, before : document.keys] = np.arange(document.start, document.stop)
        positions[row, :count] = line.position[every[start:stop]]
        # What only fills up goes on counting, as the queries of a longer document do.
        beyond = positions[row, count - 1] + np.arange(1, width - count + 1)
        positions[row, count:] = np.minimum(beyond, longest - 1)
    blocks = [
        _block(positions[:, start : start + _QUERIES], start) for start in range(0, width, _QUERIES)
    ]
    return Bucket(
        rows=len(members),
        queries=torch.from_numpy(queries.ravel()),
        keys=torch.from_numpy(keys.ravel()),
        blocks=tuple(blocks),
    )


def _block(positions: Ints, start: int) -> Block:
    seen, end = int(positions.min()) + 1, int(positions.max()) + 1
    if (positions == positions[0]).all():
        positions = positions[:1]
    later = np.arange(seen, end) > positions[:, :, None]
    hidden = np.where(later, np.float32("-inf"), np.float32(0))[:, None, :, None]
    return Block(start, start + positions.shape[1], seen, end, torch.from_numpy(hidden))
