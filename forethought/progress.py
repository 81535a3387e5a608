"""Progress on standard error: one live line on a terminal, a line now and then elsewhere.

Clocks are read for display only; nothing here decides what a run computes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

LINE_EVERY_S = 15.0  # where standard error is no terminal


class Progress:
    """Counts the units of one piece of work and says how much time is left."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self.what, self.total, self.done = what, total, done
        self._first_done = done
        self._start = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()
        self.note = ""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Counts `units` as done; `note` replaces the remark behind the bar."""
        self.done += units
        self.note = note or self.note
        now = time.monotonic()
        if now - self._shown >= (0.5 if self._live else LINE_EVERY_S):
            self._shown = now
            self._print(now)

    def _print(self, now: float) -> None:
        fresh = self.done - self._first_done
        elapsed = now - self._start
        left = elapsed / fresh * (self.total - self.done) if fresh else float("nan")
        text = f"{self.what}  {self.done}/{self.total}  {_clock(left)} left  {self.note}"
        end = "\r" if self._live else "\n"
        print(f"{text:<100.100}", end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the live line."""
        elapsed = time.monotonic() - self._start
        if elapsed >= 2.0:
            text = f"{self.what}  {self.done}/{self.total}  done in {_clock(elapsed)}  {self.note}"
            print(f"{text:<100.100}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    if seconds != seconds:
        return "?"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Progress]:
    """A `Progress` that is closed at the end of the block."""
    bar = Progress(what, total, done)
    try:
        yield bar
    finally:
        bar.close()


def say(message: str) -> None:
    """One line on standard error."""
    print(message, file=sys.stderr, flush=True)
