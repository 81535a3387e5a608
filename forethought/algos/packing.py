"""Packing: training sequences into rows of bounded length, rows into bounded micro-batches.

Short sequences share a row. `document` says which tokens belong together, so that attention can be
kept inside a document, and `position` starts anew in each. The plan is first-fit decreasing, a
function of the lengths and the order alone. Denominators of losses are the caller's: cutting a
batch into micro-batches never changes a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forethought.errors import InputError
from forethought.types import TrainingSequence

PADDING = -1
"""`document` of tokens that belong to no sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """One micro-batch: B rows of L tokens.

    Example (two documents of 3 and 2 tokens in a row of 6):
        document  0 0 0 1 1 -1
        position  0 1 2 0 1  0
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
    brier_position: npt.NDArray[np.int64]  # [S] column of the level token; predicted one before
    brier_target: npt.NDArray[np.float32]  # [S]
    members: tuple[tuple[int, ...], ...]  # [B] indices of the sequences in each row

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.document != PADDING).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """Bounds of rows and micro-batches."""

    max_row_tokens: int  # a longer sequence is refused
    max_batch_tokens: int  # rows x longest row, padding included
    share_rows: bool = True  # False: one sequence a row
    pad_id: int = 0


def pack(sequences: Sequence[TrainingSequence], config: PackConfig) -> list[PackedBatch]:
    """Packs all sequences, each exactly once; deterministic.

    Raises:
        InputError: a sequence longer than a row, a row that exceeds a micro-batch, or a weight on
            the first token of a sequence, which nothing predicts.
    """
    for sequence in sequences:
        _check(sequence, config)
    rows = plan_rows([len(sequence.ids) for sequence in sequences], config)
    lengths = [sum(len(sequences[i].ids) for i in row) for row in rows]
    order = sorted(range(len(rows)), key=lambda r: -lengths[r])  # stable: ties keep their order
    batches: list[PackedBatch] = []
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        stop = start + max(1, config.max_batch_tokens // max(longest, 1))
        batches.append(_build(sequences, [rows[r] for r in order[start:stop]], longest, config))
        start = stop
    return batches


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
    sequences: Sequence[TrainingSequence], rows: list[list[int]], length: int, config: PackConfig
) -> PackedBatch:
    shape = (len(rows), length)
    ids = np.full(shape, config.pad_id, dtype=np.int64)
    document = np.full(shape, PADDING, dtype=np.int64)
    position = np.zeros(shape, dtype=np.int64)
    streams = {
        name: np.zeros(shape, dtype=np.float32)
        for name in ("ce_weight", "pg_weight", "kl_weight", "advantage", "sampling_logprobs")
    }
    slots: list[tuple[int, int, float]] = []
    for r, members in enumerate(rows):
        start = number = 0
        for index in members:
            sequence = sequences[index]
            where = slice(start, start + len(sequence.ids))
            ids[r, where] = sequence.ids
            for begin, end in sequence.documents:
                document[r, start + begin : start + end] = number
                position[r, start + begin : start + end] = np.arange(end - begin)
                number += 1
            for name, stream in streams.items():
                stream[r, where] = getattr(sequence, name) or 0.0
            slots += [(r, start + slot.position, slot.target) for slot in sequence.brier]
            start += len(sequence.ids)
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
        members=tuple(tuple(row) for row in rows),
    )


def _column(slots: list[tuple[int, int, float]], index: int, kind: Any) -> npt.NDArray[Any]:
    return np.array([slot[index] for slot in slots], dtype=kind)
