"""Common beginnings: which sequences of a batch begin alike, and where reading that once pays.

The rollouts of a group stand behind one prompt, all of a run perhaps behind one instruction. Such a
prefix is shared only as far as none of its tokens has a weight: then no loss predicts them, and all
that the rest of a sequence needs of them are their keys and values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from forethought.types import TrainingSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Sequences with the same first tokens."""

    length: int  # of the prefix, in tokens
    members: tuple[int, ...]  # indices, in order


Cost = Callable[[Family], float]
"""What reading a family takes, in tokens that are read without a mask."""


def documents(sequence: TrainingSequence) -> list[TrainingSequence]:
    """Its documents as sequences of their own, with their weights; no sum of losses changes."""
    if len(sequence.starts) == 1:
        return [sequence]
    return [
        replace(
            sequence,
            ids=sequence.ids[begin:end],
            starts=(0,),
            ce_weight=sequence.ce_weight[begin:end],
            obs_weight=sequence.obs_weight[begin:end],
            pg_weight=sequence.pg_weight[begin:end],
            kl_weight=sequence.kl_weight[begin:end],
            advantage=sequence.advantage[begin:end],
            sampling_logprobs=sequence.sampling_logprobs[begin:end],
            brier=tuple(
                replace(slot, position=slot.position - begin)
                for slot in sequence.brier
                if begin <= slot.position < end
            ),
        )
        for begin, end in sequence.documents
    ]


def find_families(sequences: Sequence[TrainingSequence], cost: Cost) -> list[Family]:
    """Who shares a prefix with whom so that reading them costs least; each sequence at most once.

    Of all nested beginnings (an instruction, the prompts behind it) those are taken whose families
    together save most. A function of the sequences in their order.

    Args:
        sequences: those of several documents share nothing.
        cost: of a family; apart, its members cost their tokens.
    """
    keys = [sequence.ids[: _free(sequence)] for sequence in sequences]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    path = [_Beginning(depth=0)]  # of the sequence in turn, from the shortest
    before: tuple[int, ...] = ()
    for index in order:
        _leave(path, _common(before, keys[index]), cost)
        tokens = len(sequences[index].ids)
        path.append(_Beginning(depth=math.inf, members=[index], tokens=tokens))
        before = keys[index]
    _leave(path, 0, cost)
    return sorted(path[0].families, key=lambda family: family.members)


@dataclass(slots=True)
class _Beginning:
    """A common beginning with what is known of the sequences that have it."""

    depth: float  # its length in tokens
    members: list[int] = field(default_factory=list)
    tokens: int = 0  # of the members, all of each
    saved: float = 0.0  # by the families of longer beginnings
    families: list[Family] = field(default_factory=list)
    children: list[_Beginning] = field(default_factory=list)

    def take(self, child: _Beginning, cost: Cost) -> None:
        """Adds a longer beginning, settled."""
        child.settle(cost)
        self.children.append(child)
        self.members += child.members
        self.tokens += child.tokens
        self.saved += child.saved
        self.families += child.families

    def settle(self, cost: Cost) -> None:
        """Makes one family of the children that it serves better than their own ones do."""
        joined, apart = list[_Beginning](), list[_Beginning]()
        for child in self.children:
            joins = self.depth * len(child.members) > child.saved
            (joined if joins else apart).append(child)
        self.children = []
        if len(joined) < 2 or not self.depth:
            return
        members = sorted(index for child in joined for index in child.members)
        family = Family(length=int(self.depth), members=tuple(members))
        saved = sum(child.tokens for child in joined) - cost(family)
        if saved > sum(child.saved for child in joined):
            self.saved = saved + sum(child.saved for child in apart)
            self.families = [family, *(kept for child in apart for kept in child.families)]


def _leave(path: list[_Beginning], depth: int, cost: Cost) -> None:
    """Settles all beginnings that are longer than `depth`, where the next sequence branches off."""
    while path[-1].depth > depth:
        done = path.pop()
        if path[-1].depth < depth:
            path.append(_Beginning(depth=depth))
        path[-1].take(done, cost)


def _free(sequence: TrainingSequence) -> int:
    """Tokens at the beginning without a weight; at least one token stays behind them."""
    if len(sequence.starts) > 1:
        return 0
    last = len(sequence.ids) - 1
    streams = (sequence.ce_weight, sequence.pg_weight, sequence.kl_weight)
    first = [next((n for n, weight in enumerate(w) if weight), last) for w in streams]
    return min(last, *first, *(slot.position for slot in sequence.brier))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
