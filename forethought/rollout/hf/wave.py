"""One wave: requests that are prefilled and decoded together as a batch.

What a row samples does not depend on its neighbours beyond the rounding of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
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
from forethought.rollout.hf.lean import LeanLlama
from forethought.rollout.hf.sampler import RowSampler, StopRule
from forethought.rollout.hf.static import StaticSteps
from forethought.rollout.hf.steps import (
    Forward,
    GrowingSteps,
    Prefilled,
    Steps,
    columns_for,
    forward,
)


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
    static: StaticSteps | None = None  # decodes instead of steps whose tensors grow
    lean: LeanLlama | None = None  # reads in place of the model's modules
    prefill_tokens: int  # bound on rows x width of one prefill forward pass
    pause_below: float = 0.0  # 0 = every turn ends in the wave in which it begins
    on_token: Callable[[Request, int], None] | None = None  # hears every sampled token
    on_end: Callable[[Row, torch.Tensor], None]  # gets [2 * layers, K, ids known, D] of a row


def beginnings(rows: Sequence[Row]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Of sequences that another one begins with, which of the others to read: the longest.

    Args:
        rows: of different ids; one with a cached prefix is neither.
    """
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    order = sorted(row.request.ids for row in rows if not row.cached)
    for ids, following in reversed(list(pairwise(order))):  # what goes on from it comes behind it
        if following[: len(ids)] == ids:
            found[ids] = found.get(following, following)
    return found


class Wave:
    """Runs rows to their ends. `prefilled` counts the ids that went through the model as prompt."""

    def __init__(self, rows: Sequence[Row], options: WaveOptions) -> None:
        """Plans the layout; nothing runs yet."""
        self._options = options
        self._rows = sorted(rows, key=lambda row: -row.new)  # long prompts read with long ones
        self.prefilled = 0
        # Equal sequences (a group's prompt, branches of one state) are prefilled once, and what is
        # the beginning of another (an earlier state of the same episode) with the other.
        first_of: dict[tuple[int, ...], Row] = {}
        for row in self._rows:
            first_of.setdefault(row.request.ids, row)
        inside = beginnings([*first_of.values()])
        self._unique = sorted(first_of.values(), key=lambda row: row.request.ids in inside)
        place = {row.request.ids: number for number, row in enumerate(self._unique)}
        self._source = [place[row.request.ids] for row in self._rows]
        self._inside = [place[inside[ids]] for ids in place if ids in inside]  # of the last rows
        old = max(row.cached for row in self._unique)
        end = old + max(row.new for row in self._unique)
        self._edges = (old, end)
        self._last = end + max(row.budget for row in self._rows)
        window = options.layout.window
        self._longest = max(len(row.request.ids) + row.budget for row in self._rows)
        self._windowed = window is not None and self._longest > window
        pausing = all(row.request.may_pause for row in self._rows)
        self._fewest = max(1.0, options.pause_below * len(self._rows)) if pausing else 1.0

    @torch.inference_mode()
    def run(self) -> None:
        """Prefills, then decodes until every row has a `stop`."""
        reads, static = self._reads(), self._options.static
        start = self._prefill(reads)
        for row, source in zip(self._rows, self._source, strict=True):
            leader = self._unique[source]
            row.kv, row.cached = leader.kv, leader.cached
        sampler = RowSampler(
            [row.request for row in self._rows],
            [row.budget for row in self._rows],
            self._options.layout.device,
        )
        if static is None:
            steps: Steps = GrowingSteps(reads, start)
        else:
            static.begin(start)
            steps = static
        logits = start.logits
        del start  # its cache was copied, or grows from here on
        self._decode(logits, steps, sampler)

    def _reads(self) -> Forward:
        """What reads ids: the prompts, then a token a row."""
        lean = self._options.lean
        if lean is None:
            return partial(forward, self._options.model)
        lean.refresh()
        return lean.read

    def _prefill(self, reads: Forward) -> Prefilled:
        """Reads the prompts, those that are equal once."""
        unique, (old_end, end) = self._unique, self._edges
        layout = self._options.layout
        shared = self._source != [*range(len(unique))]
        copied = shared or self._options.static is not None
        room = end if copied else columns_for(end, self._last)
        cache = WaveCache(layout, len(unique), room)
        for number, row in enumerate(unique):
            if row.kv is not None:
                cache.put(number, old_end, row.kv)
        logits, first, whole_prompts = list[torch.Tensor](), 0, len(unique) - len(self._inside)
        while first < whole_prompts:
            width = unique[first].new  # no later row has more
            last = min(whole_prompts, first + max(1, self._options.prefill_tokens // width))
            logits.append(self._prefill_rows(reads, cache, slice(first, last), width))
            first = last
        for number, other in enumerate(self._inside, whole_prompts):
            begin = end - unique[other].new
            cache.put(number, end, cache.take(other, begin, begin + unique[number].new, None))
        if self._inside:  # what comes behind a beginning is asked of its last id
            logits.append(self._prefill_rows(reads, cache, slice(whole_prompts, None), 1))
        whole = torch.cat(logits)
        source = torch.tensor(self._source, device=layout.device) if shared else None
        every = [unique[number] for number in self._source]
        cached, new = self._lengths(every)
        return Prefilled(
            logits=whole if source is None else whole[source],
            cache=cache,
            source=source,
            end=end,
            last=self._last,
            farthest=self._longest - 1,
            visible=visible_columns(cached, new, self._edges),
            positions=(cached + new)[:, None],
            places=self._places(cached, new, self._last),
        )

    def _prefill_rows(
        self, reads: Forward, cache: WaveCache, which: slice, width: int
    ) -> torch.Tensor:
        """Runs the last new ids, at most `width`, of some rows; returns their logits [rows, V]."""
        rows, (_, end) = self._unique[which], self._edges
        layout = self._options.layout
        cached, new = self._lengths(rows)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        for number, row in enumerate(rows):
            part = row.request.ids[row.cached :][-width:]
            ids[number, width - len(part) :] = torch.tensor(part)
        begin = width - new[:, None]
        column = torch.arange(width, device=layout.device)
        positions = torch.where(column < begin, 0, column - begin + cached[:, None])
        mask: Any = additive(prefill_mask(cached, new, self._edges, width)[:, None], layout)
        places = self._places(cached, new, end)
        if places is not None:
            mask = windowed(mask, places, positions, layout)
        cache.point(end - width, which)
        self.prefilled += sum(min(row.new, width) for row in rows)
        return reads(ids.to(layout.device), positions, mask, cache)

    def _lengths(self, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the cached prefixes and of the new parts, [B] each."""
        both = torch.tensor([[row.cached, row.new] for row in rows])
        cached, new = both.to(self._options.layout.device).unbind(dim=1)
        return cached, new

    def _places(self, cached: torch.Tensor, new: torch.Tensor, columns: int) -> Any:
        """Positions of the columns [B, columns]; None where no window matters."""
        return column_positions(cached, new, self._edges, columns) if self._windowed else None

    def _decode(self, logits: torch.Tensor, steps: Steps, sampler: RowSampler) -> None:
        """Samples token by token; rows that end hand over their keys and values and drop out."""
        slots = list(self._rows)  # the row of each line of the batch; an ended one idles in it
        live, step = len(slots), 0
        while True:
            ids, logprobs = sampler.draw(logits, step)
            ended = self._record(slots, ids, logprobs)
            for slot in ended:
                self._hand_over(slots[slot], steps, slot)
            live -= len(ended)
            if live < self._fewest:
                self._pause(slots, steps)
                return
            if steps.narrows(live, len(slots)):
                kept = [slot for slot, row in enumerate(slots) if row.stop is None]
                slots = [slots[slot] for slot in kept]
                rows = torch.tensor(kept, device=ids.device)
                steps.keep(rows)
                sampler.keep(rows)
                ids = ids[rows]
            logits = steps.step(ids)
            step += 1

    def _pause(self, slots: list[Row], steps: Steps) -> None:
        """Hands over the rows that have not ended."""
        for slot, row in enumerate(slots):
            if row.stop is None:
                row.stop = "pause"
                self._hand_over(row, steps, slot)

    def _record(self, slots: list[Row], ids: torch.Tensor, logprobs: torch.Tensor) -> list[int]:
        """Appends a token to every live row; returns the slots whose row ended with it."""
        ended: list[int] = []
        is_over, on_token = self._options.stop_rule.is_over, self._options.on_token
        # One transfer from the device: both are exact in float64.
        tokens, scores = torch.stack([ids.double(), logprobs.double()]).tolist()
        for slot, row in enumerate(slots):
            if row.stop is not None:
                continue
            token = int(tokens[slot])
            row.ids.append(token)
            row.logprobs.append(scores[slot])
            if on_token is not None:
                on_token(row.request, token)
            if is_over(row.request.sampling, row.ids):
                row.stop = "stop"
            elif len(row.logprobs) >= row.budget:
                row.stop = "length"
            else:
                continue
            ended.append(slot)
        return ended

    def _hand_over(self, row: Row, steps: Steps, slot: int) -> None:
        """Gives a finished row's keys and values away: all but those of its last token."""
        self._options.on_end(row, steps.take(slot, self._edges[1] - row.new, row.kv))
