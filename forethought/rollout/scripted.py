"""A back-end whose turns are written by a function: scripted policies and tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forethought.rollout.backend import Completion, Request
from forethought.rollout.render import encode
from forethought.rollout.spans import decode

TurnWriter = Callable[[str, tuple[int, ...], str], str]
"""`(session, noise key, text of the whole sequence so far) -> text of the next turn`."""


class ScriptedBackend:
    """Encodes the text that `write` returns; every log-probability is 0.

    A policy with a memory keeps it by session name; one that draws takes its seed from the noise
    key, so that reruns agree.
    """

    def __init__(self, write: TurnWriter, tokenizer: Any) -> None:
        """`write` makes the text of a turn; `tokenizer` is the one of the engine."""
        self._write = write
        self._tokenizer = tokenizer
        self._version = 0

    async def generate(self, request: Request) -> Completion:
        """The next turn, cut at `max_tokens`."""
        ids = request.ids
        bos = self._tokenizer.bos_token_id
        if bos is not None and ids and ids[0] == bos:
            ids = ids[1:]
        text = self._write(request.session, request.noise, decode(self._tokenizer, ids))
        new = encode(self._tokenizer, text)
        bound = request.sampling.max_tokens
        return Completion(
            ids=new[:bound],
            logprobs=(0.0,) * min(len(new), bound),
            stop="stop" if len(new) <= bound else "length",
            policy_version=self._version,
        )

    def release(self, session: str) -> None:
        """Nothing is kept for a session."""

    async def load_weights(self, weights: Any, version: int) -> None:
        """Keeps the version number; a script has no weights."""
        self._version = version

    async def close(self) -> None:
        """Nothing to free."""
