"""The decode steps of one wave over a cache that grows: what every device can do.

A back-end decodes with `GrowingSteps`, or with the `StaticSteps` of `static.py` where a device
replays what it was shown; a `Wave` does not know which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from forethought.rollout.hf.cache import WaveCache, additive, windowed

Forward = Callable[[torch.Tensor, torch.Tensor, Any, WaveCache], torch.Tensor]
"""`forward` of a model: ids, positions, mask and cache to the logits behind the last ids."""

_COMPACT_BELOW = 0.8  # share of live rows under which a copy costs less than idle rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """The prompts of a wave's B rows, read: where decoding begins."""

    logits: torch.Tensor  # [B, V] of the first tokens
    cache: WaveCache  # of the U unique prompts, in the columns [0, end)
    source: torch.Tensor | None  # [B] row of the cache that each row begins with; None: its own
    end: int
    last: int  # columns that the wave can come to use, > end
    farthest: int  # position that a row of the wave can come to have
    visible: torch.Tensor  # [B, end] bool: columns that are no gaps
    positions: torch.Tensor  # [B, 1] of the first tokens
    places: torch.Tensor | None  # [B, last] positions of the columns; None where no window matters


class Steps(Protocol):
    """What a wave asks of its decoder. `rows` are [B'] indices into the rows of the moment."""

    used: int  # columns that hold a token

    def narrows(self, live: int, rows: int) -> bool:
        """Whether dropping all but `live` of `rows` rows pays."""

    def keep(self, rows: torch.Tensor) -> None:
        """Keeps these rows, in their order."""

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Reads a token a row ([B] ids); logits [B, V] of the next, until the next call."""

    def take(self, row: int, begin: int, before: torch.Tensor | None) -> torch.Tensor:
        """A copy of a row's columns from `begin` on, after `before`; all [2 * layers, K, n, D]."""


class GrowingSteps:
    """Every step has as many columns as are in use; rows leave as soon as a few have ended."""

    def __init__(self, reads: Forward, start: Prefilled) -> None:
        """Takes the cache of the prompts over; `reads` one token a row."""
        self._reads, self._last, self._farthest = reads, start.last, start.farthest
        self._cache, self.used = start.cache, start.end
        if start.source is not None:
            self._cache.rearrange(start.source, self.used, self._room())
        mask = additive(start.visible, self._cache.layout)[:, None, None, :]
        self._mask = torch.nn.functional.pad(mask, (0, start.last - start.end))
        self._positions, self._places = start.positions, start.places

    def narrows(self, live: int, rows: int) -> bool:
        """True when a fifth of the rows idles."""
        return live < _COMPACT_BELOW * rows

    def keep(self, rows: torch.Tensor) -> None:
        """As `Steps.keep`."""
        self._cache.rearrange(rows, self.used, self._room())
        self._mask, self._positions = self._mask[rows], self._positions[rows]
        self._places = None if self._places is None else self._places[rows]

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """As `Steps.step`."""
        if self.used == self._cache.columns:
            self._cache.rearrange(None, self.used, self._room())
        self._cache.point(self.used)
        mask: Any = self._mask[..., : self.used + 1]
        if self._places is not None:
            mask = windowed(mask, self._places, self._positions, self._cache.layout)
        logits = self._reads(ids[:, None], self._positions, mask, self._cache)
        # Rows that have ended go on idling; a position embedding has no place behind its last one.
        self._positions = (self._positions + 1).clamp_(max=self._farthest)
        self.used += 1
        return logits

    def take(self, row: int, begin: int, before: torch.Tensor | None) -> torch.Tensor:
        """As `Steps.take`."""
        return self._cache.take(row, begin, self.used, before)

    def _room(self) -> int:
        return columns_for(self.used, self._last)


def columns_for(used: int, last: int) -> int:
    """Columns to allocate: enough for most turns, never more than the wave can come to use."""
    return used + max(1, min(last - used, max(32, used // 2)))


def forward(
    model: Any, ids: torch.Tensor, positions: torch.Tensor, mask: Any, cache: Any
) -> torch.Tensor:
    """Logits [B, V] behind the last of `ids` [B, Q] at `positions` [B, Q].

    Args:
        model: a causal language model.
        ids: on the model's device, like all the others.
        positions: of the ids.
        mask: additive, or one for each kind of layer, see `cache.windowed`.
        cache: takes the keys and values of the ids.
    """
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: torch.Tensor = output.logits[:, -1]
    return logits
