"""Printing turns, whole or while they grow: each element on a line of its own, then the reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TextIO

from forethought.foresight.contents import read_confidence
from forethought.foresight.levels import LEVELS, nearest_level

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
_NUMBER = re.compile(r"\s*(?:%|[^\s%][^\n%]*[\n%])")
"""The confidence behind a heading ends there, as `foresight.headings` reads it; thought follows."""


class TurnPrinter:
    """Prints the turns of one episode in order."""

    def __init__(self, out: TextIO, decisions: Sequence[str] = ()) -> None:
        """Takes where to print, and the words of a roadmap that choose a way."""
        self._out = out
        self._decisions = decisions
        self._held = ""  # the end of the text, which may grow into a marker
        self._label = ""  # waits for the first word behind it
        self._space = ""  # waits for the next word
        self._element = ""
        self._by_heading = False
        self._content = ""  # of the element
        self._expected: float | None = None  # q of the turn over all levels, until it is printed
        self._ways: list[str] = []  # that the last roadmap named

    def begin(self, expected: float | None = None) -> None:
        """Begins a turn; `expected` is its q over all levels, where it was scored."""
        self._expected = expected
        self._open("")

    def write(self, text: str) -> None:
        """Prints the next piece of the turn, up to a marker that may still be growing."""
        rest = self._held + text
        while found := _MARKER.search(rest):
            self._say(rest[: found.start()])
            closing, tag, heading = found.groups()
            name = (tag or heading).lower()
            self._close(closed=bool(heading) or (bool(closing) and name == self._element))
            self._open("" if closing else name, by_heading=bool(heading))
            rest = rest[found.end() :]
        cut = _CUT.search(rest)
        whole = rest[: cut.start()] if cut else rest
        self._say(whole)
        self._held = rest[len(whole) :]

    def end(self, problems: Sequence[str] = ()) -> None:
        """Ends the turn; `problems` are what the strict parser found in it."""
        self._say(self._held)
        self._held = ""
        self._close(closed=False)
        if self._expected is not None:
            self._out.write(f"\n  {'':9} {self._take_expected()}")
        if problems:
            self._out.write(f"\n  problems: {', '.join(problems)}")
        self._element = ""
        self._out.write("\n")
        self._out.flush()

    def reply(self, text: str) -> None:
        """Prints what the environment said to the turn."""
        self._out.write(f"  <- {' '.join(text.split())}\n")
        self._out.flush()

    def _open(self, name: str, by_heading: bool = False) -> None:
        """Begins an element; its label waits for its first word."""
        self._element, self._by_heading = name, by_heading
        self._content = self._space = ""
        self._label = f"\n  {LABELS[name]:9} " if name else "\n  "

    def _close(self, *, closed: bool) -> None:
        """Ends the element; one that nothing `closed` has told no way."""
        if self._element == "confidence" and self._content:
            self._note_level()
        if self._element == "imaginary" and closed:
            self._note_ways()

    def _note_level(self) -> None:
        q, _ = read_confidence(self._content.strip())
        if q is None:
            note = "[no estimate]"
        else:
            level = nearest_level(q)
            note = "#" * level + "." * (len(LEVELS) - 1 - level)
        self._out.write(f"  {note}")
        if self._expected is not None:
            self._out.write(f"  {self._take_expected()}")

    def _take_expected(self) -> str:
        note = f"[expected q {self._expected:.2f}]"
        self._expected = None
        return note

    def _note_ways(self) -> None:
        """Points out a way that the roadmap before did not name; a foreseen change is none."""
        ways = [word for word in self._content.split() if word in self._decisions]
        new = [way for way in ways if way not in self._ways]
        if new and self._ways:
            self._out.write(f"  [re-plans: {new[0]} instead of {self._ways[0]}]")
        self._ways = ways or self._ways

    def _say(self, text: str) -> None:
        if self._element == "confidence" and self._by_heading:
            number = _NUMBER.match(self._content + text)
            if number is not None:
                cut = number.end() - len(self._content)
                self._print(text[:cut])
                self._close(closed=True)
                self._open("think")
                text = text[cut:]
        self._print(text)

    def _print(self, text: str) -> None:
        if not text or (self._label and not text.strip()):
            return
        self._content += text
        shown = text.lstrip() if self._label else self._space + text
        words = shown.rstrip()
        self._space = shown[len(words) :]
        self._out.write(self._label + words.replace("\n", " "))
        self._out.flush()
        self._label = ""
