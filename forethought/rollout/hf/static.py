"""Decode steps that a GPU replays: every tensor of a step keeps its address and its shape.

A decode step of a small model is hundreds of kernels that take less time than their launch. A CUDA
graph launches them all at once, but it is a recording: it runs the same kernels on the same
addresses, and no Python. So all that a step reads and writes stands in buffers of one allocation,
rows and columns are rounded up to buckets, each bucket is recorded once, and what changes from
token to token (ids, positions, the column to write, who may be seen) is written into the buffers.

Rows past those of the wave hold whatever the last wave left; columns past those in use are hidden
by the mask until they are written. Recordings outlive a wave. They are dropped when the buffers
grow, and when a weight of the model is another tensor than it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from forethought.progress import say
from forethought.rollout.hf.cache import KvLayout, additive, kv_shape, windowed
from forethought.rollout.hf.steps import Prefilled, columns_for, forward

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes a function that may be called any number of times with the same outcome; returns one that
does what it did, on the tensors that it touched."""

_FEWEST_ROWS = 8
_COLUMNS = 256  # a bucket of columns; a multiple of 16, as attention kernels want of a mask


def row_bucket(rows: int) -> int:
    """The least of 8, 12, 16, 24, 32, 48, 64, .. that holds `rows`: less than half as many more."""
    power = max(_FEWEST_ROWS, 1 << (rows - 1).bit_length())
    between = power * 3 // 4
    return between if rows <= between and between > _FEWEST_ROWS else power


def column_bucket(columns: int) -> int:
    """The least multiple of 256 that holds `columns`."""
    return -(-columns // _COLUMNS) * _COLUMNS


def again(run: Callable[[], None]) -> Callable[[], None]:
    """A capture for devices that cannot replay: the function itself."""
    return run


def cuda_capture() -> Capture:
    """Captures with CUDA graphs. They share their memory: only one of them runs at a time.

    The first function must not wait for the device: a capture that breaks off leaves traces in the
    allocator, so it is asked before. `RuntimeError` where it does.
    """
    pool = torch.cuda.graph_pool_handle()
    asked = False

    def capture(run: Callable[[], None]) -> Callable[[], None]:
        nonlocal asked
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call,unused-ignore]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()  # libraries set up what they may not while a graph records
            if not asked:
                _run_without_waiting(run)
                asked = True
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # thread_local: threads of tools may use the GPU meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            run()
        replay: Callable[[], None] = graph.replay
        return replay

    return capture


def _run_without_waiting(run: Callable[[], None]) -> None:
    """Runs it; RuntimeError where the host would wait for a number of the device."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode(before)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Buffers:
    """Everything that a step reads and writes, besides the weights."""

    store: torch.Tensor  # [2 * layers, R, K, S, D] keys and values
    ids: torch.Tensor  # [R, 1] to read
    positions: torch.Tensor  # [R, 1] of the ids
    column: torch.Tensor  # [1] where their keys and values go
    mask: torch.Tensor  # [R, 1, 1, S] additive
    places: torch.Tensor  # [R, S] positions of what stands in the columns
    logits: torch.Tensor  # [R, V] of the next tokens

    @classmethod
    def make(cls, layout: KvLayout, rows: int, columns: int, like: torch.Tensor) -> _Buffers:
        """All hidden, all zero; logits like `like` [.., V]."""
        device = layout.device
        return cls(
            store=torch.zeros(kv_shape(layout, rows, columns), dtype=layout.dtype, device=device),
            ids=torch.zeros((rows, 1), dtype=torch.long, device=device),
            positions=torch.zeros((rows, 1), dtype=torch.long, device=device),
            column=torch.zeros(1, dtype=torch.long, device=device),
            mask=additive(
                torch.zeros((rows, 1, 1, columns), dtype=torch.bool, device=device), layout
            ),
            places=torch.zeros((rows, columns), dtype=torch.long, device=device),
            logits=like.new_zeros((rows, like.shape[-1])),
        )

    @property
    def rows(self) -> int:
        return self.store.shape[1]

    @property
    def columns(self) -> int:
        return self.store.shape[3]

    def part(self, rows: int, columns: int) -> _Buffers:
        """Views of the first rows and columns."""
        return _Buffers(
            store=self.store[:, :rows, :, :columns],
            ids=self.ids[:rows],
            positions=self.positions[:rows],
            column=self.column,
            mask=self.mask[:rows, ..., :columns],
            places=self.places[:rows, :columns],
            logits=self.logits[:rows],
        )

    def copy_from(self, other: _Buffers) -> None:
        """Takes over the contents of smaller buffers."""
        part = self.part(other.rows, other.columns)
        for name in (field.name for field in fields(self)):
            getattr(part, name).copy_(getattr(other, name))


class StaticSteps:
    """Decodes wave after wave in the same buffers, see the head of this file; a kind of `Steps`."""

    def __init__(self, model: Any, layout: KvLayout, capturing: Callable[[], Capture]) -> None:
        """Nothing is allocated before the first wave.

        Args:
            model: a causal language model, in evaluation mode whenever a wave runs.
            layout: of its keys and values.
            capturing: makes a capture whose recordings are dropped together.
        """
        self._model, self._layout, self._capturing = model, layout, capturing
        self._buffers: _Buffers | None = None
        self._recordings: dict[tuple[int, int, bool], Callable[[], None]] = {}
        self._weights: tuple[int, ...] = ()
        self._capture = capturing()
        self._windowed = False
        self._rows = self._last = self._farthest = self.used = 0
        self.captures = 0  # recordings made so far

    def begin(self, start: Prefilled) -> None:
        """Takes a wave's prompts over; the wave before it is forgotten."""
        if self._weights != _addresses(self._model):
            self.close()
            self._weights = _addresses(self._model)
        rows, end = start.logits.shape[0], start.end
        self._rows, self.used = rows, end
        self._last, self._farthest = start.last, start.farthest
        self._windowed = start.places is not None
        self._reserve(row_bucket(rows), column_bucket(columns_for(end, start.last)), start.logits)
        at = self._part(rows)
        for number, old in enumerate(start.cache.store):
            at.store[number, :, :, :end] = old if start.source is None else old[start.source]
        at.mask.fill_(torch.finfo(at.mask.dtype).min)
        at.mask[:, 0, 0, :end] = additive(start.visible, self._layout)
        at.positions.copy_(start.positions)
        if start.places is not None:
            at.places[:, :end] = start.places[:, :end]

    def narrows(self, live: int, rows: int) -> bool:
        """True when the live rows fit a smaller bucket."""
        return row_bucket(live) < row_bucket(rows)

    def keep(self, rows: torch.Tensor) -> None:
        """As `Steps.keep`."""
        old, self._rows = self._part(self._rows), len(rows)
        new = self._part(self._rows)
        for number in range(old.store.shape[0]):  # one at a time: the copy is small
            new.store[number, :, :, : self.used] = old.store[number, :, :, : self.used][rows]
        for name in ("mask", "places", "positions"):
            getattr(new, name).copy_(getattr(old, name)[rows])

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """As `Steps.step`. The logits stand in a buffer that the next step overwrites."""
        shape = (row_bucket(self._rows), column_bucket(self.used + 1))
        if shape[1] > self._all.columns:
            most = min(column_bucket(self._all.columns * 3 // 2), column_bucket(self._last))
            self._reserve(self._all.rows, max(shape[1], most), self._all.logits)
        at = self._part(self._rows)
        at.ids.copy_(ids[:, None])
        at.column.fill_(self.used)
        self._recording(*shape)()
        at.positions.add_(1).clamp_(max=self._farthest)
        self.used += 1
        return at.logits

    def take(self, row: int, begin: int, before: torch.Tensor | None) -> torch.Tensor:
        """As `Steps.take`."""
        part = self._all.store[:, row, :, begin : self.used]
        return part.clone() if before is None else torch.cat([before, part], dim=2)

    def rehearse(self) -> None:
        """Records and runs a step of the smallest bucket on zeros."""
        ids = torch.zeros((1, 1), dtype=torch.long, device=self._layout.device)
        logits = self._model(input_ids=ids, use_cache=False, logits_to_keep=1).logits
        self._weights = _addresses(self._model)
        self._reserve(_FEWEST_ROWS, _COLUMNS, logits[:, -1])
        self._recording(_FEWEST_ROWS, _COLUMNS)()

    def close(self) -> None:
        """Gives the memory back."""
        self._drop()
        self._buffers = None

    @property
    def _all(self) -> _Buffers:
        assert self._buffers is not None, "begin() comes first"
        return self._buffers

    def _part(self, rows: int) -> _Buffers:
        return self._all.part(rows, self._all.columns)

    def _recording(self, rows: int, columns: int) -> Callable[[], None]:
        """What runs one step of so many rows and columns."""
        key = (rows, columns, self._windowed)
        if key not in self._recordings:
            part = self._all.part(rows, columns)
            run = partial(_run, self._model, part, self._layout, self._windowed)
            self._recordings[key] = self._capture(run)
            self.captures += 1
        return self._recordings[key]

    def _reserve(self, rows: int, columns: int, like: torch.Tensor) -> None:
        """Makes the buffers large enough and keeps their contents."""
        old = self._buffers
        if old is not None and rows <= old.rows and columns <= old.columns:
            return
        self._drop()
        if old is not None:
            rows, columns = max(rows, old.rows), max(columns, old.columns)
        self._buffers = _Buffers.make(self._layout, rows, columns, like)
        if old is not None:
            self._buffers.copy_from(old)

    def _drop(self) -> None:
        """Forgets all recordings: what they point to is about to go."""
        self._recordings.clear()
        self._capture = self._capturing()


class _StaticLayer(CacheLayerMixin):  # type: ignore[misc,unused-ignore]
    """One layer's view of the buffers; writes where `column` says."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, column: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self._column = keys, values, column
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the buffers are there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one column; returns all of the bucket ([B, K, S, D] each)."""
        self.keys.index_copy_(2, self._column, key_states.to(self.keys.dtype))
        self.values.index_copy_(2, self._column, value_states.to(self.values.dtype))
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Width and offset of the mask."""
        return self.keys.shape[-2], 0

    def get_seq_length(self) -> int:
        """Columns of the bucket: a recording does not know how many are in use."""
        return int(self.keys.shape[-2])

    def get_max_length(self) -> int:
        """Columns of the bucket."""
        return int(self.keys.shape[-2])


def _addresses(model: Any) -> tuple[int, ...]:
    """Where the weights are; a recording knows no others."""
    return tuple(tensor.data_ptr() for tensor in chain(model.parameters(), model.buffers()))


def _run(model: Any, at: _Buffers, layout: KvLayout, near: bool) -> None:
    """One step on the buffers; doing it again changes nothing."""
    at.mask.index_fill_(3, at.column, 0.0)
    mask: Any = at.mask
    if near:
        at.places.index_copy_(1, at.column, at.positions)
        mask = windowed(mask, at.places, at.positions, layout)
    halves = [(at.store[2 * n], at.store[2 * n + 1]) for n in range(layout.layers)]
    cache = Cache(layers=[_StaticLayer(keys, values, at.column) for keys, values in halves])
    kind = layout.device.type
    # Weights that autocast keeps for later would be kept in memory of the recording.
    with torch.autocast(
        kind,
        dtype=torch.get_autocast_dtype(kind),
        enabled=torch.is_autocast_enabled(kind),
        cache_enabled=False,
    ):
        at.logits.copy_(forward(model, at.ids, at.positions, mask, cache))


@torch.inference_mode()
def static_steps(
    model: Any, layout: KvLayout, capturing: Callable[[], Capture]
) -> StaticSteps | None:
    """Steps for this model, tried out on one token; None where it cannot be captured.

    A model whose forward pass waits for its own numbers (experts that are chosen on the host, a
    context that stretches the rotation) is decoded step by step instead.
    """
    if layout.slides == "unknown":
        return None
    steps = StaticSteps(model, layout, capturing)
    try:
        steps.rehearse()
    except RuntimeError as error:  # what CUDA says of a call that a graph cannot hold
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        say(f"decoding step by step: {type(model).__name__} is not captured ({reason})")
        return None
    return steps
