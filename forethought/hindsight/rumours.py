"""Forecasts that could have been made: blocks of other trajectories as the history of one.

A hindsight block knows what came. Where every earlier block of a training episode is of that kind,
the surest way to foretell is to repeat what is left of the block before, whatever the pages since
then say; at test time the earlier blocks are the model's own, often wrong, and the habit makes it
cling to a plan that has failed. So a share of the episodes of stage 2 begins with blocks that were
written for other trajectories in the same situation: true of those, a guess here. They are history
and do not train; the turns behind them do. (The states are then more like those that the policy
will meet, as in DAgger, arXiv 1011.0686; rumours are our own device.)
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence

from forethought.hindsight.records import Labelled
from forethought.hindsight.writer import Writer
from forethought.types import Foresight


class Rumours:
    """The turns of a corpus by situation."""

    def __init__(self, items: Sequence[Labelled], writer: Writer) -> None:
        """Sorts the turns of all items."""
        self._items = items
        self._writer = writer
        self._places: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
        for number, item in enumerate(items):
            for step in range(item.trajectory.num_calls):
                situation = writer.situation(item.trajectory, step)
                if situation is not None:
                    self._places[situation].append((number, step))

    def earlier(self, index: int, rng: random.Random) -> list[Foresight]:
        """Blocks for the first turns of an item, up to a turn drawn from its later ones.

        They end before it where no other trajectory was in the situation of the item's turn.
        """
        trajectory = self._items[index].trajectory
        if len(trajectory.steps) < 2:
            return []
        blocks: list[Foresight] = []
        for step in range(rng.randrange(1, len(trajectory.steps))):
            situation = self._writer.situation(trajectory, step)
            others = [place for place in self._places.get(situation, ()) if place[0] != index]
            if not others:
                break
            number, other_step = rng.choice(others)
            other = self._items[number]
            label = other.labels[other_step].value
            blocks.append(
                self._writer.retold(other.trajectory, other_step, label, trajectory, step)
            )
        return blocks
