"""From logits to tokens: temperature, top-k, top-p, keyed noise, and when a turn is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from forethought.errors import InputError
from forethought.rollout.backend import Request, Sampling
from forethought.rollout.noise import uniforms
from forethought.rollout.spans import decode


class RowSampler:
    """Draws one token a row by inverting the distribution function at a keyed uniform.

    The uniform of a token depends on the request's noise key and the token's position in the
    sequence, so a row draws the same in any batch.
    """

    def __init__(self, requests: Sequence[Request], budgets: Sequence[int], device: Any) -> None:
        """`budgets` [B]: the most tokens that each row will draw."""
        samplings = [request.sampling for request in requests]
        greedy = [s.temperature == 0 for s in samplings]
        self._greedy = _column(greedy, torch.bool, device) if any(greedy) else None
        self._all_greedy = all(greedy)
        self._scale: torch.Tensor | None = None
        if any(s.temperature not in (0, 1) for s in samplings):
            self._scale = _column([s.temperature or 1.0 for s in samplings], torch.float32, device)
        self._top_k = self._top_p = None
        if any(s.top_k > 0 or s.top_p < 1 for s in samplings):
            self._top_k = _column([s.top_k or 1 << 30 for s in samplings], torch.long, device)
            self._top_p = _column([s.top_p for s in samplings], torch.float32, device)
        self._noise = _noise(requests, budgets).to(device)

    def keep(self, rows: torch.Tensor) -> None:
        """Keeps the given rows ([B'] indices), in their order."""
        for name in ("_greedy", "_scale", "_top_k", "_top_p", "_noise"):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[rows])

    def draw(self, logits: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens number `step` of all rows.

        Args:
            logits: [B, V] of the next token.
            step: number of the token in this turn, from 0.

        Returns:
            ids [B] and log-softmax(logits / temperature) [B] at them, before top-k and top-p
            (temperature 1 for greedy rows).
        """
        logits = logits.float()
        if self._scale is not None:
            logits = logits / self._scale
        logprobs = logits.log_softmax(dim=-1)
        if self._all_greedy:
            ids = logits.argmax(dim=-1, keepdim=True)
        else:
            ids = self._invert(logprobs.exp(), step)
            if self._greedy is not None:
                ids = torch.where(self._greedy, logits.argmax(dim=-1, keepdim=True), ids)
        return ids.squeeze(1), logprobs.gather(1, ids).squeeze(1)

    def _invert(self, probs: torch.Tensor, step: int) -> torch.Tensor:
        if self._top_k is not None and self._top_p is not None:
            probs = truncate(probs, self._top_k, self._top_p)
        # float64: the last entry is the exact total of what is summed, and u < 1 stays below it.
        cumulative = probs.double().cumsum(dim=-1)
        target = self._noise[:, step : step + 1] * cumulative[:, -1:]
        # right=True skips tokens of probability zero: their entry equals the one before.
        return torch.searchsorted(cumulative, target, right=True)


def truncate(probs: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Zeroes all but the `top_k` likeliest tokens and the smallest set of mass >= `top_p`.

    Args:
        probs: [B, V].
        top_k: [B, 1] integers.
        top_p: [B, 1].

    Returns:
        [B, V], not normalised. Ties go to the smaller id.
    """
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(probs.shape[-1], device=probs.device)
    mass_before = ordered.cumsum(dim=-1) - ordered
    kept = ordered * ((rank < top_k) & (mass_before < top_p))
    return torch.zeros_like(probs).scatter_(1, order, kept)


def _column(values: Sequence[Any], dtype: torch.dtype, device: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, device=device)[:, None]


def _noise(requests: Sequence[Request], budgets: Sequence[int]) -> torch.Tensor:
    """[B, max budget] float64; greedy rows and places past a row's budget are 0."""
    table = np.zeros((len(requests), max(budgets)))
    for row, (request, budget) in enumerate(zip(requests, budgets, strict=True)):
        if request.sampling.temperature > 0:
            table[row, :budget] = uniforms(request.noise, len(request.ids), budget)
    return torch.from_numpy(table)


class StopRule:
    """Says whether a turn is over after a token.

    Stop strings are looked for in the decoded tail of the turn, because one may be spread over
    several tokens. The tail is decoded only when the last token can end a stop string.
    """

    def __init__(self, tokenizer: Any | None) -> None:
        """`tokenizer` may be None where no stop strings are used."""
        self._tokenizer = tokenizer
        self._can_end: dict[tuple[tuple[str, ...], int], bool] = {}

    def check(self, sampling: Sampling) -> None:
        """Raises InputError if stop strings are asked for and there is no tokenizer."""
        if sampling.stop_strings and self._tokenizer is None:
            raise InputError(
                "sampling.stop_strings",
                got=f"{list(sampling.stop_strings)} and no tokenizer",
                expected="a back-end that can decode",
                next_step="pass tokenizer= to HFBackend",
            )

    def is_over(self, sampling: Sampling, sampled: list[int]) -> bool:
        """True if the last of `sampled` (at least one) ends the turn."""
        token = sampled[-1]
        if token in sampling.stop_ids:
            return True
        strings = sampling.stop_strings
        if not strings or not self._may_end(strings, token):
            return False
        # A token adds at least one byte, unless it is empty: the slack allows for a few of those.
        tail = max(len(s.encode()) for s in strings) + 4
        text = decode(self._tokenizer, sampled[-tail:])
        return any(s in text for s in strings)

    def _may_end(self, strings: tuple[str, ...], token: int) -> bool:
        key = (strings, token)
        known = self._can_end.get(key)
        if known is None:
            piece = decode(self._tokenizer, (token,))
            # A last character that is white space or not ASCII may be hidden in a lone token.
            known = any(s[-1] in piece or s[-1].isspace() or not s[-1].isascii() for s in strings)
            self._can_end[key] = known
        return known
