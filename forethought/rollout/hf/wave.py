"""One wave: requests that are prefilled and decoded together as a batch.

What a row samples does not depend on its neighbours beyond the rounding of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from forethought.rollout.backend import Request, StopKind
from forethought.rollout.hf.cache import (
    KvLayout,
    WaveCache,
    additive,
    column_positions,
    prefill_mask,
    visible_columns,
    windowed,
)
from forethought.rollout.hf.sampler import RowSampler, StopRule

_COMPACT_BELOW = 0.8  # share of live rows under which a copy costs less than idle rows


@dataclass(slots=True, kw_only=True)
class Row:
    """A request in a wave, its reusable prefix, and what is sampled for it."""

    request: Request
    budget: int  # most tokens to sample, >= 1
    cached: int = 0  # ids whose keys and values are known
    kv: torch.Tensor | None = None  # [2 * layers, K, cached, D]; None when cached = 0
    ids: list[int] = field(default_factory=list)  # of the whole turn, `request.begun` ones included
    logprobs: list[float] = field(default_factory=list)  # of the sampled ones
    stop: StopKind | None = None

    def __post_init__(self) -> None:
        """A turn that was begun is stopped by what stands in it, too."""
        if self.request.begun:
            self.ids = list(self.request.ids[-self.request.begun :])

    @property
    def sampled(self) -> list[int]:
        """What was sampled in this wave."""
        return self.ids[self.request.begun :]

    @property
    def new(self) -> int:
        """Ids that have to be prefilled, >= 1."""
        return len(self.request.ids) - self.cached


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveOptions:
    """What a wave needs besides its rows."""

    model: Any
    layout: KvLayout
    stop_rule: StopRule
    prefill_tokens: int  # bound on rows x width of one prefill forward pass
    pause_below: float = 0.0  # 0 = every turn ends in the wave in which it begins
    on_token: Callable[[Request, int], None] | None = None  # hears every sampled token
    on_end: Callable[[Row, torch.Tensor], None]  # gets [2 * layers, K, ids known, D] of a row


class Wave:
    """Runs rows to their ends. `prefilled` counts the ids that went through the model as prompt."""

    def __init__(self, rows: Sequence[Row], options: WaveOptions) -> None:
        """Plans the layout; nothing runs yet."""
        self._options = options
        self._rows = list(rows)
        self.prefilled = 0
        # Equal sequences (a group's prompt, branches of one state) are prefilled once.
        leader: dict[tuple[int, ...], int] = {}
        self._unique: list[Row] = []
        self._source: list[int] = []
        for row in self._rows:
            if row.request.ids not in leader:
                leader[row.request.ids] = len(self._unique)
                self._unique.append(row)
            self._source.append(leader[row.request.ids])
        old = max(row.cached for row in self._unique)
        self._edges = (old, old + max(row.new for row in self._unique))
        window = options.layout.window
        longest = max(len(row.request.ids) + row.budget for row in self._rows)
        self._windowed = window is not None and longest > window
        pausing = all(row.request.may_pause for row in self._rows)
        self._fewest = max(1.0, options.pause_below * len(self._rows)) if pausing else 1.0

    @torch.inference_mode()
    def run(self) -> None:
        """Prefills, then decodes until every row has a `stop`."""
        device = self._options.layout.device
        logits, cache = self._prefill()
        for row, source in zip(self._rows, self._source, strict=True):
            leader = self._unique[source]
            row.kv, row.cached = leader.kv, leader.cached
        sampler = RowSampler(
            [row.request for row in self._rows], [row.budget for row in self._rows], device
        )
        self._decode(logits, cache, sampler)

    def _prefill(self) -> tuple[torch.Tensor, WaveCache]:
        """Logits of the next token [B, V], and the cache of all rows with the prompts in it."""
        unique, (old_end, end) = self._unique, self._edges
        shared = len(unique) < len(self._rows)
        room = end if shared else end + self._slack(end)
        cache = WaveCache(self._options.layout, len(unique), room)
        for number, row in enumerate(unique):
            if row.kv is not None:
                cache.put(number, old_end, row.kv)
        logits: list[torch.Tensor] = []
        first = 0
        while first < len(unique):
            last = self._prefill_batch(first)
            logits.append(self._prefill_rows(cache, first, last))
            first = last
        whole = torch.cat(logits)
        if shared:
            source = torch.tensor(self._source, device=whole.device)
            whole = whole[source]
            cache.rearrange(source, end, end + self._slack(end))
        return whole, cache

    def _prefill_batch(self, first: int) -> int:
        """End of the run of rows from `first` whose padded chunk keeps to the bound."""
        width = 0
        for last in range(first, len(self._unique)):
            width = max(width, self._unique[last].new)
            if last > first and (last + 1 - first) * width > self._options.prefill_tokens:
                return last
        return len(self._unique)

    def _prefill_rows(self, cache: WaveCache, first: int, last: int) -> torch.Tensor:
        """Runs the new ids of rows `[first, last)`; returns their last logits [rows, V]."""
        rows, (_, end) = self._unique[first:last], self._edges
        new = [row.new for row in rows]
        cached = [row.cached for row in rows]
        width = max(new)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        positions = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, width - row.new :] = torch.tensor(row.request.ids[row.cached :])
            positions[number, width - row.new :] = torch.arange(row.cached, row.cached + row.new)
        mask = additive(prefill_mask(cached, new, self._edges, width)[:, None], cache.layout)
        cache.point(end - width, slice(first, last))
        self.prefilled += sum(new)
        positions = positions.to(mask.device)
        near = self._near(mask, self._places(rows, end), positions)
        return self._forward(ids, positions, near, cache)

    def _places(self, rows: Sequence[Row], columns: int) -> torch.Tensor | None:
        """Positions of the columns [B, columns]; None where no window matters."""
        if not self._windowed:
            return None
        cached, new = [row.cached for row in rows], [row.new for row in rows]
        places = column_positions(cached, new, self._edges, columns)
        return places.to(self._options.layout.device)

    def _near(
        self, mask: torch.Tensor, places: torch.Tensor | None, positions: torch.Tensor
    ) -> Any:
        """The mask in the form that the model takes."""
        if places is None:
            return mask
        return windowed(mask, places, positions, self._options.layout)

    def _forward(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: Any, cache: WaveCache
    ) -> torch.Tensor:
        output = self._options.model(
            input_ids=ids.to(cache.layout.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _decode(self, logits: torch.Tensor, cache: WaveCache, sampler: RowSampler) -> None:
        """Samples token by token; rows that end hand over their keys and values and drop out."""
        device, end = cache.layout.device, self._edges[1]
        slots = list(self._rows)  # the row of each line of the batch; an ended one idles in it
        live = len(slots)
        visible = visible_columns(
            [row.cached for row in slots], [row.new for row in slots], self._edges
        )
        budget = max(row.budget for row in slots)
        mask = torch.nn.functional.pad(additive(visible, cache.layout), (0, budget))
        mask = mask[:, None, None, :]
        positions = torch.tensor([[len(row.request.ids)] for row in slots], device=device)
        places = self._places(slots, end + budget)
        step = 0
        while True:
            ids, logprobs = sampler.draw(logits, step)
            ended = self._record(slots, ids.tolist(), logprobs.tolist())
            used = end + step
            for slot in ended:
                self._hand_over(slots[slot], cache, slot, used)
            live -= len(ended)
            if live < self._fewest:
                self._pause(slots, cache, used)
                return
            if live < _COMPACT_BELOW * len(slots):
                kept = [slot for slot, row in enumerate(slots) if row.stop is None]
                slots = [slots[slot] for slot in kept]
                rows = torch.tensor(kept, device=device)
                cache.rearrange(rows, used, used + self._slack(used))
                sampler.keep(rows)
                ids, mask, positions = ids[rows], mask[rows], positions[rows]
                places = None if places is None else places[rows]
            elif used == cache.columns:
                cache.rearrange(None, used, used + self._slack(used))
            cache.point(used)
            near = self._near(mask[..., : used + 1], places, positions)
            logits = self._forward(ids[:, None], positions, near, cache)
            positions = positions + 1
            step += 1

    def _pause(self, slots: list[Row], cache: WaveCache, used: int) -> None:
        """Hands over the rows that have not ended."""
        for slot, row in enumerate(slots):
            if row.stop is None:
                row.stop = "pause"
                self._hand_over(row, cache, slot, used)

    def _slack(self, used: int) -> int:
        """Free columns to allocate: enough for most turns, never more than the wave can use."""
        left = self._edges[1] + max(row.budget for row in self._rows) - used
        return max(1, min(left, max(32, used // 2)))

    def _record(self, slots: list[Row], ids: list[int], logprobs: list[float]) -> list[int]:
        """Appends a token to every live row; returns the slots whose row ended with it."""
        ended: list[int] = []
        is_over, on_token = self._options.stop_rule.is_over, self._options.on_token
        for slot, row in enumerate(slots):
            if row.stop is not None:
                continue
            row.ids.append(ids[slot])
            row.logprobs.append(logprobs[slot])
            if on_token is not None:
                on_token(row.request, ids[slot])
            if is_over(row.request.sampling, row.ids):
                row.stop = "stop"
            elif len(row.logprobs) >= row.budget:
                row.stop = "length"
            else:
                continue
            ended.append(slot)
        return ended

    def _hand_over(self, row: Row, cache: WaveCache, slot: int, used: int) -> None:
        """Gives a finished row's keys and values away: all but those of its last token."""
        kv = cache.take(slot, self._edges[1] - row.new, used, row.kv)
        self._options.on_end(row, kv)
