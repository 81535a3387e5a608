"""Packing: training sequences into rows of bounded length, rows into bounded micro-batches.

Short sequences share a row. `document` says which tokens belong together, so that attention can be
kept inside a document, and `position` starts anew in each. The plan is first-fit decreasing, a
function of the lengths and the order alone. Denominators of losses are the caller's: cutting a
batch into micro-batches never changes a loss.

With `share_prefixes` what several sequences begin with stands once in a micro-batch, apart from the
rows, which hold the rest of these sequences; `forethought.algos.prefixes` says where that pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, islice, pairwise, takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from forethought.algos.prefixes import Family, find_families
from forethought.errors import InputError
from forethought.types import TrainingSequence

PADDING = -1
"""`document` of tokens that belong to no sequence."""

PASS_TOKENS = 64
"""What one more pass through the model costs, in tokens."""

MASKED = 1.125
"""Cost of a token that attends through a mask, where one that knows its order by itself costs 1.
Both figures are those of a model of a million parameters on a CPU; for larger ones they are less.
"""

FAMILY = 8
"""What one more prefix costs where tokens are read one by one: a bucket of attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """What the documents of a micro-batch begin with: G prefixes of up to P tokens."""

    ids: npt.NDArray[np.int64]  # [G, P], padding behind
    lengths: npt.NDArray[np.int64]  # [G] in tokens
    rows: tuple[int, ...]  # [G] number of rows that go on behind each, one after another


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """One micro-batch: B rows of L tokens.

    Example (two documents of 3 and 2 tokens in a row of 6):
        document  0 0 0 1 1 -1
        position  0 1 2 0 1  0
    The same behind a prefix of 4 tokens:
        position  4 5 6 4 5  0
    """

    ids: npt.NDArray[np.int64]  # [B, L]
    document: npt.NDArray[np.int64]  # [B, L] number of the document in its row; -1 = padding
    position: npt.NDArray[np.int64]  # [B, L] index in the document; 0 on padding
    ce_weight: npt.NDArray[np.float32]  # [B, L]
    pg_weight: npt.NDArray[np.float32]  # [B, L]
    kl_weight: npt.NDArray[np.float32]  # [B, L]
    advantage: npt.NDArray[np.float32]  # [B, L]
    sampling_logprobs: npt.NDArray[np.float32]  # [B, L]
    brier_row: npt.NDArray[np.int64]  # [S]
    brier_position: npt.NDArray[np.int64]  # [S] column of the level token
    brier_target: npt.NDArray[np.float32]  # [S]
    members: tuple[tuple[int, ...], ...]  # [B] indices of the sequences in each row
    prefixes: Prefixes | None = None  # of all rows, which then hold what follows it; None: of none

    @property
    def num_tokens(self) -> int:
        """Tokens that are read: prefixes once, no padding."""
        own = 0 if self.prefixes is None else int(self.prefixes.lengths.sum())
        return own + int((self.document != PADDING).sum())

    @property
    def size(self) -> int:
        """Tokens that are read with the padding."""
        return self.document.size + (0 if self.prefixes is None else self.prefixes.ids.size)

    @property
    def shared_tokens(self) -> int:
        """Tokens that are not read because a prefix stands once for all of its documents."""
        if self.prefixes is None:
            return 0
        before = self.prefixes.lengths[self.prefix_of_row()]  # [B]
        documents = [len(row) for row in self.members]
        return int(before @ np.array(documents) - self.prefixes.lengths.sum())

    def prefix_of_row(self) -> npt.NDArray[np.int64]:
        """[B] number of the prefix of each row."""
        assert self.prefixes is not None
        return np.repeat(np.arange(len(self.prefixes.rows)), self.prefixes.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """Bounds of rows and micro-batches."""

    max_row_tokens: int  # a longer sequence is refused
    max_batch_tokens: int  # rows x longest row, padding included; without it if `ragged`
    share_rows: bool = True  # False: one sequence a row
    share_prefixes: bool = False  # whether common beginnings stand once in a micro-batch
    ragged: bool = False  # tokens are read one by one: padding and masks cost nothing
    pad_id: int = 0


def pack(sequences: Sequence[TrainingSequence], config: PackConfig) -> list[PackedBatch]:
    """Packs all sequences, each exactly once; deterministic.

    Raises:
        InputError: a sequence longer than a row, a row that exceeds a micro-batch, or a weight on
            the first token of a sequence, which nothing predicts.
    """
    for sequence in sequences:
        _check(sequence, config)
    families: list[Family] = []
    if config.share_prefixes:
        families = find_families(sequences, partial(_cost, sequences, config))
    shared = {index for family in families for index in family.members}
    alone = Family(length=0, members=tuple(n for n in range(len(sequences)) if n not in shared))
    batches = [[block] for block in _blocks(sequences, config, alone)]
    behind = [b for family in families for b in _blocks(sequences, config, family)]
    return [_build(sequences, blocks, config) for blocks in batches + _joined(behind, config)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Rows of a micro-batch behind one prefix, which may be empty."""

    prefix: tuple[int, ...]  # ids
    rows: list[list[int]]  # indices of sequences
    used: list[int]  # tokens of each row, without the prefix; they descend

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return self.used[0]


def _cost(sequences: Sequence[TrainingSequence], config: PackConfig, family: Family) -> float:
    """In tokens that are read without a mask."""
    blocks = _blocks(sequences, config, family)
    return sum(_block_cost(family.length, block.used, config) for block in blocks)


def _block_cost(first: int, used: Sequence[int], config: PackConfig) -> float:
    """Of a prefix of `first` tokens and the rows behind it."""
    if config.ragged:
        return first + FAMILY + sum(used)
    return first + PASS_TOKENS + MASKED * len(used) * used[0]  # two passes, padding included


def _blocks(
    sequences: Sequence[TrainingSequence], config: PackConfig, family: Family
) -> list[_Block]:
    """The members in rows, the longest first, cut so that a block fits into a micro-batch."""
    first, members = family.length, family.members
    lengths = [len(sequences[index].ids) - first for index in members]
    rows = plan_rows(lengths, replace(config, max_row_tokens=config.max_row_tokens - first))
    used = [sum(lengths[i] for i in row) for row in rows]
    order = sorted(range(len(rows)), key=lambda r: -used[r])  # stable: ties keep their order
    cut = _even_cuts if first else _full_cuts
    stops = cut([used[r] for r in order], first, config)
    return [
        _Block(
            prefix=sequences[members[0]].ids[:first],
            rows=[[members[i] for i in rows[r]] for r in order[start:stop]],
            used=[used[r] for r in order[start:stop]],
        )
        for start, stop in pairwise((0, *stops))
    ]


def _full_cuts(used: Sequence[int], first: int, config: PackConfig) -> list[int]:
    """Where micro-batches end that take as many rows as fit, which are `used` tokens long."""
    stops: list[int] = []
    start = 0
    while start < len(used):
        start = _full(used, start, first, config)
        stops.append(start)
    return stops


def _full(used: Sequence[int], start: int, first: int, config: PackConfig) -> int:
    """End of the rows from `start` on that fit behind a prefix of `first` tokens; at least one."""
    room = config.max_batch_tokens - first
    if not config.ragged:
        return min(len(used), start + max(1, room // max(used[start], 1)))
    sums = accumulate(islice(used, start, None))
    return start + max(1, sum(1 for _ in takewhile(lambda total: total <= room, sums)))


def _even_cuts(used: Sequence[int], first: int, config: PackConfig) -> list[int]:
    """Where blocks end so that passes, their prefixes and padding together cost least."""
    costs, ends = [0.0] * (len(used) + 1), [0] * len(used)  # from a row on, and of its block
    for start in reversed(range(len(used))):
        costs[start], ends[start] = min(
            (_block_cost(first, used[start:stop], config) + costs[stop], stop)
            for stop in range(start + 1, _full(used, start, first, config) + 1)
        )
    return followed(ends)


def followed(ends: Sequence[int]) -> list[int]:
    """Stops on the way from 0, where a piece that begins at `n` ends at `ends[n]`."""
    stops: list[int] = []
    start = 0
    while start < len(ends):
        start = ends[start]
        stops.append(start)
    return stops


def _joined(blocks: Sequence[_Block], config: PackConfig) -> list[list[_Block]]:
    """Neighbours in size together, as many as fit, while padding costs less than passes."""
    batches: list[list[_Block]] = []
    for block in sorted(blocks, key=lambda block: -block.longest):
        if batches:
            size = _size([*batches[-1], block], config)
            apart = _size(batches[-1], config) + _size([block], config)
            if size <= min(config.max_batch_tokens, apart + PASS_TOKENS):
                batches[-1].append(block)
                continue
        batches.append([block])
    return batches


def _size(blocks: Sequence[_Block], config: PackConfig) -> int:
    """Tokens of a micro-batch that are read, padding included."""
    if config.ragged:
        return sum(len(block.prefix) + sum(block.used) for block in blocks)
    prefix = max(len(block.prefix) for block in blocks)
    longest = max(block.longest for block in blocks)
    return len(blocks) * prefix + sum(len(block.rows) for block in blocks) * longest


def plan_rows(lengths: Sequence[int], config: PackConfig) -> list[list[int]]:
    """First-fit decreasing: which sequences share a row, as lists of indices."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    if not config.share_rows:
        return [[index] for index in order]
    rows: list[list[int]] = []
    space: list[int] = []
    for index in order:
        need = lengths[index]
        found = next((r for r, free in enumerate(space) if free >= need), None)
        if found is None:
            rows.append([index])
            space.append(config.max_row_tokens - need)
        else:
            rows[found].append(index)
            space[found] -= need
    return rows


def _check(sequence: TrainingSequence, config: PackConfig) -> None:
    bound = min(config.max_row_tokens, config.max_batch_tokens)
    if len(sequence.ids) > bound:
        raise InputError(
            f"sequence {sequence.source or '?'}",
            got=f"{len(sequence.ids)} tokens",
            expected=f"at most {bound} (the bound of a row and of a micro-batch)",
            next_step="raise micro_batch_tokens or lower rollout.max_context_tokens",
        )
    streams = (sequence.ce_weight, sequence.pg_weight, sequence.kl_weight)
    first = [w for weights in streams for start in sequence.starts for w in weights[start:][:1]]
    if any(first) or any(slot.position in sequence.starts for slot in sequence.brier):
        raise InputError(
            f"sequence {sequence.source or '?'}",
            got="a weight on its first token",
            expected="weight 0 there: no token before it predicts it",
            next_step="start the sequence with a prompt or a BOS token",
        )


def _build(
    sequences: Sequence[TrainingSequence], blocks: Sequence[_Block], config: PackConfig
) -> PackedBatch:
    rows = [(row, len(block.prefix)) for block in blocks for row in block.rows]
    shape = (len(rows), max(block.longest for block in blocks))
    ids = np.full(shape, config.pad_id, dtype=np.int64)
    document = np.full(shape, PADDING, dtype=np.int64)
    position = np.zeros(shape, dtype=np.int64)
    streams = {
        name: np.zeros(shape, dtype=np.float32)
        for name in ("ce_weight", "pg_weight", "kl_weight", "advantage", "sampling_logprobs")
    }
    slots: list[tuple[int, int, float]] = []
    for r, (members, first) in enumerate(rows):
        start = number = 0
        for index in members:
            sequence = sequences[index]
            where = slice(start, start + len(sequence.ids) - first)
            ids[r, where] = sequence.ids[first:]
            for begin, end in sequence.documents:  # one, where there is a prefix
                here = slice(start + begin, start + end - first)
                document[r, here] = number
                position[r, here] = np.arange(first, end - begin)
                number += 1
            for name, stream in streams.items():
                stream[r, where] = getattr(sequence, name)[first:] or 0.0
            slots += [(r, start + s.position - first, s.target) for s in sequence.brier]
            start = where.stop
    return PackedBatch(
        ids=ids,
        document=document,
        position=position,
        ce_weight=streams["ce_weight"],
        pg_weight=streams["pg_weight"],
        kl_weight=streams["kl_weight"],
        advantage=streams["advantage"],
        sampling_logprobs=streams["sampling_logprobs"],
        brier_row=_column(slots, 0, np.int64),
        brier_position=_column(slots, 1, np.int64),
        brier_target=_column(slots, 2, np.float32),
        members=tuple(tuple(row) for row, _ in rows),
        prefixes=_prefixes(blocks, config) if blocks[0].prefix else None,
    )


def _prefixes(blocks: Sequence[_Block], config: PackConfig) -> Prefixes:
    lengths = np.array([len(block.prefix) for block in blocks], dtype=np.int64)
    ids = np.full((len(blocks), lengths.max()), config.pad_id, dtype=np.int64)
    for number, block in enumerate(blocks):
        ids[number, : len(block.prefix)] = block.prefix
    return Prefixes(ids=ids, lengths=lengths, rows=tuple(len(block.rows) for block in blocks))


def _column(slots: list[tuple[int, int, float]], index: int, kind: Any) -> npt.NDArray[Any]:
    return np.array([slot[index] for slot in slots], dtype=kind)
