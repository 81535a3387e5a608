"""Showing what a model writes while it writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forethought.cli._turns import TurnPrinter
from forethought.foresight.elements import REPLY_NAMES

if TYPE_CHECKING:
    from forethought.rollout.backend import Request
    from forethought.types import Episode

_UNFINISHED = "\ufffd"  # the start of a character whose last bytes are still to come
_REPLY_TAG = re.compile(rf"</?(?:{'|'.join(REPLY_NAMES)})>")


class Stream:
    """Takes the sampled tokens of one episode in order and prints them as text.

    `on_token` is what a back-end calls. What the environment replied is read from the next request,
    which holds it.
    """

    def __init__(self, tokenizer: Any, printer: TurnPrinter) -> None:
        """Takes what decodes and what prints."""
        self._tokenizer = tokenizer
        self._printer = printer
        self._eos = getattr(tokenizer, "eos_token_id", None)
        self._turn: tuple[int, ...] = ()  # the request of the turn that is written
        self._ids: list[int] = []  # sampled in it
        self._printed = 0  # characters of its text
        self._replies = 0

    def on_token(self, request: Request, token: int) -> None:
        """Prints what the token completes."""
        if request.ids != self._turn:
            self._begin(request.ids)
        self._ids.append(token)
        if token != self._eos:
            text = self._decode(self._ids)
            if not text.endswith(_UNFINISHED):
                self._catch_up(text)

    def finish(self, episode: Episode) -> None:
        """Prints the rest of the last turn, and replies that no later turn has seen."""
        self._end_turn()
        for turn in episode.turns[self._replies :]:
            if turn.observation:
                self._printer.reply(turn.observation)

    def _begin(self, ids: tuple[int, ...]) -> None:
        if self._turn:
            self._end_turn()
            reply = self._decode(ids[len(self._turn) + len(self._ids) :])
            self._printer.reply(_REPLY_TAG.sub(" ", reply))
            self._replies += 1
        self._turn, self._ids, self._printed = ids, [], 0
        self._printer.begin()

    def _end_turn(self) -> None:
        if self._ids:
            kept = self._ids[:-1] if self._ids[-1] == self._eos else self._ids
            self._catch_up(self._decode(kept))
            self._printer.end()

    def _catch_up(self, text: str) -> None:
        self._printer.write(text[self._printed :])
        self._printed = len(text)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))
