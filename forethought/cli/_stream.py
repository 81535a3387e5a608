"""Showing what a model writes while it writes it: each element of a turn on a line of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from forethought.rollout.backend import Request

LABELS = {
    "imaginary": "foresees",
    "keyword": "expects",
    "analysis": "weighs",
    "confidence": "q",
    "think": "thinks",
    "search": "searches",
    "tool_call": "calls",
    "answer": "answers",
}
"""What stands before the content of an element, by its tag or heading in lower case."""

_NAMES = "|".join(LABELS)
_MARKER = re.compile(rf"<(/?)({_NAMES})>|\*\*({_NAMES})\*\*", re.I)
_CUT = re.compile(r"(<[^<>\s]{0,12}|\*{1,2}[A-Za-z]{0,12}\*?)$")
_UNFINISHED = "\ufffd"  # the start of a character whose last bytes are still to come


class Stream:
    """Takes the sampled tokens of one episode in order and prints them as text.

    `on_token` is what a back-end calls. What the environment replied is read from the next request,
    which holds it.
    """

    def __init__(self, tokenizer: Any, out: TextIO, decisions: Sequence[str] = ()) -> None:
        """Takes where to print, and the words of a roadmap that choose a way."""
        self._tokenizer = tokenizer
        self._out = out
        self._decisions = decisions
        self._turn: tuple[int, ...] = ()  # the request of the turn that is written
        self._ids: list[int] = []  # sampled in it
        self._read = 0  # characters of its text that were taken up
        self._label = ""  # waits for the first word behind it
        self._element = ""
        self._content: list[str] = []
        self._way = ""  # the one chosen last; a change is pointed out
        self.replies = 0  # of the environment, printed so far

    def on_token(self, request: Request, token: int) -> None:
        """Prints what the token completes."""
        if request.ids != self._turn:
            self._begin(request.ids)
        self._ids.append(token)
        text = self._decode(self._ids)
        if not text.endswith(_UNFINISHED):
            self._take(text)

    def reply(self, text: str) -> None:
        """Prints what the environment said."""
        self.replies += 1
        self._out.write(f"\n  <- {' '.join(text.split())}\n")
        self._out.flush()

    def _begin(self, ids: tuple[int, ...]) -> None:
        if self._turn:
            self.reply(_MARKUP.sub(" ", self._decode(ids[len(self._turn) + len(self._ids) :])))
        self._turn, self._ids, self._read = ids, [], 0
        self._open("")

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def _take(self, text: str) -> None:
        """Prints the new part of a turn's text, up to a marker that may still be growing."""
        rest = text[self._read :]
        while found := _MARKER.search(rest):
            self._print(rest[: found.start()])
            closing, tag, heading = found.groups()
            self._open("" if closing else (tag or heading).lower())
            self._read += found.end()
            rest = rest[found.end() :]
        cut = _CUT.search(rest)
        whole = rest[: cut.start()] if cut else rest
        self._print(whole)
        self._read += len(whole)

    def _open(self, name: str) -> None:
        """Ends the element before; the label of the new one waits for its first word."""
        if self._element == "imaginary":
            self._note_way("".join(self._content).split())
        self._element, self._content = name, []
        self._label = f"\n  {LABELS[name]:9} " if name else "\n  "

    def _note_way(self, words: Sequence[str]) -> None:
        way = next((word for word in words if word in self._decisions), "")
        if way and self._way and way != self._way:
            self._out.write(f"   [re-plans: {way} instead of {self._way}]")
        self._way = way or self._way

    def _print(self, text: str) -> None:
        if not text or (self._label and not text.strip()):
            return
        self._content.append(text)
        shown = text.lstrip() if self._label else text
        self._out.write(self._label + shown.replace("\n", " "))
        self._out.flush()
        self._label = ""


_MARKUP = re.compile(r"</?\w+>|<\|?\w+\|?>")
"""Tags around a reply, and special tokens."""
