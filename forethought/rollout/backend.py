"""What a sampler speaks: requests with the whole token sequence, completions with new tokens.

A back-end never sees text formats, tools or rewards. It gets ids, returns ids and their
log-probabilities, and draws its noise from the key in the request alone, so the same requests give
the same tokens whatever else runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from forethought.errors import InputError

StopKind = Literal["stop", "length", "pause", "abort"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn and when a turn is over.

    Log-probabilities are always those of `log_softmax(logits / temperature)` before top-p and
    top-k; greedy decoding (`temperature=0`) reports them at temperature 1.
    """

    temperature: float = 1.0  # 0 = greedy
    top_p: float = 1.0  # 1 = off
    top_k: int = 0  # 0 = off
    max_tokens: int = 256  # bound on new tokens of one completion
    stop_ids: tuple[int, ...] = ()  # a turn ends with any of these tokens
    stop_strings: tuple[str, ...] = ()  # a turn ends with the token that completes one of these

    def __post_init__(self) -> None:
        """Refuses values that no sampler can use."""
        bad = ""
        if self.temperature < 0:
            bad = f"temperature = {self.temperature}"
        elif not 0 < self.top_p <= 1:
            bad = f"top_p = {self.top_p}"
        elif self.top_k < 0 or self.max_tokens < 1:
            bad = f"top_k = {self.top_k}, max_tokens = {self.max_tokens}"
        if bad:
            raise InputError(
                "sampling",
                got=bad,
                expected="temperature >= 0, 0 < top_p <= 1, top_k >= 0, max_tokens >= 1",
                next_step="correct the sampling options",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One turn to be sampled."""

    ids: tuple[int, ...]  # the whole sequence so far: prompt, old turns, observations
    session: str  # the same session = the same growing sequence: its cache may be kept
    parent: str | None = None  # a session whose beginning this one shares
    noise: tuple[int, ...]  # key of the uniforms; token number = position in the sequence
    sampling: Sampling
    begun: int = 0  # how many of the last `ids` are this turn's own, sampled before a pause
    may_pause: bool = False  # the caller can go on with the rest of a turn in another request


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What was sampled for a request."""

    ids: tuple[int, ...]  # [n] new tokens, stop token included
    logprobs: tuple[float, ...]  # [n]
    stop: StopKind  # "pause": to be asked for again, with `ids` at its end and `begun` counted;
    # "abort": the back-end gave up; `ids` may be cut short
    policy_version: int = 0
    reason: str = ""  # of an "abort", where one is known


class Backend(Protocol):
    """A source of tokens. One instance serves one event loop at a time."""

    async def generate(self, request: Request) -> Completion:
        """Samples one turn. Requests made in the same turn of the event loop may share a batch."""
        ...

    def release(self, session: str) -> None:
        """Forgets what is kept for a session; an unknown name is no error."""
        ...

    async def load_weights(self, weights: Any, version: int) -> None:
        """Takes new weights; everything cached under the old ones is dropped."""
        ...

    async def close(self) -> None:
        """Frees what the back-end holds; waiting requests end as `abort`."""
        ...
