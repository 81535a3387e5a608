"""Printing an episode as it went: what was foreseen, done and seen, turn by turn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from forethought.cli._turns import TurnPrinter

if TYPE_CHECKING:
    from forethought.types import Episode


def evenly(episodes: Sequence[Episode], num: int) -> Sequence[Episode]:
    """At most `num` episodes, evenly spaced, so that nobody picks the good ones."""
    return episodes[:: max(1, len(episodes) // num)][:num]


def show(episode: Episode) -> None:
    """Prints one episode."""
    from forethought.stats.rows import abstained  # brings numpy, which no help text needs

    verdict = {1: "won", 0: "lost", None: "no verdict"}[episode.success]
    verdict = "held back" if abstained(episode) else verdict
    print(f"\n{episode.task_id}/{episode.rollout}  {verdict}  ({episode.stop_reason})")
    print(f"  {episode.question}")
    printer = TurnPrinter(sys.stdout)
    for turn in episode.turns:
        printer.begin(turn.q_expected)
        printer.write(turn.text)
        printer.end(turn.problems)
        if turn.observation:
            printer.reply(turn.observation)
    print(f"  answer {episode.answer!r}, right: {', '.join(episode.answers)}", flush=True)
