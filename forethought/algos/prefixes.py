"""Common beginnings: which sequences of a batch begin alike, and where reading that once pays.

The rollouts of a group stand behind one prompt, all of a run perhaps behind one instruction. Such a
prefix is shared only as far as none of its tokens has a weight: then no loss predicts them, and all
that the rest of a sequence needs of them are their keys and values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

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
    together save most; that is exact where a family costs its tokens, the prefix once, and a fixed
    sum. A function of the sequences in their order.

    Args:
        sequences: those of several documents share nothing.
        cost: of a family; apart, its members cost their tokens.
    """
    keys = [sequence.ids[: _free(sequence)] for sequence in sequences]
    order = sorted(range(len(keys)), key=keys.__getitem__)

    def saving(family: Family) -> float:
        return sum(len(sequences[index].ids) for index in family.members) - cost(family)

    path = [_Beginning(depth=0)]  # of the sequence in turn, from the shortest
    before: tuple[int, ...] = ()
    for index in order:
        _leave(path, common_length(before, keys[index]), saving)
        path.append(_Beginning(depth=math.inf, free=[index]))
        before = keys[index]
    _leave(path, 0, saving)
    found = [family for choice in path[0].choices for family in choice.families]
    return sorted(found, key=lambda family: family.members)


@dataclass(slots=True, eq=False)
class _Choice:
    """A family with what is nested in it, which saves more than all that is nested alone would.

    It may be given up again: who is in no family joins one of a shorter beginning, and saves that
    length there. The shorter it is the less that pays, so what is kept once is kept for good.
    """

    saved: float
    families: tuple[Family, ...]
    free: list[int]  # if it is given up: who is in none of `nested`
    nested: list[_Choice]
    worth: float = 0.0  # at the price that was asked last, kept or given up

    def weigh(self, price: float) -> bool:
        """Whether it is given up where a member in no family saves `price`; `nested` is weighed."""
        self.worth = price * len(self.free) + sum(choice.worth for choice in self.nested)
        if self.saved > self.worth:
            self.free, self.nested, self.worth = [], [], self.saved
            return False
        return True


@dataclass(slots=True)
class _Beginning:
    """A common beginning, or a whole sequence, with what was found for those that have it."""

    depth: float  # its length in tokens
    free: list[int] = field(default_factory=list)  # in none of `choices`
    choices: list[_Choice] = field(default_factory=list)

    def settle(self, saving: Callable[[Family], float]) -> None:
        """Makes one family of those that it serves better than families of longer ones do."""
        if not 0 < self.depth < math.inf:
            return
        kept, free = _weighed(self.choices, self.depth)
        members = tuple(sorted([*self.free, *free]))
        if len(members) < 2:
            return
        family = Family(length=int(self.depth), members=members)
        saved = saving(family) + sum(choice.saved for choice in kept)
        if saved > sum(choice.saved for choice in self.choices):
            families = (family, *(one for choice in kept for one in choice.families))
            self.choices = [_Choice(saved, families, self.free, self.choices)]
            self.free = []


def _weighed(choices: Sequence[_Choice], price: float) -> tuple[list[_Choice], list[int]]:
    """Which families are kept at a price, and who is in none of them."""
    waiting, order = list(choices), list[_Choice]()
    while waiting:  # nested ones may be many: no recursion
        order.append(waiting.pop())
        waiting += order[-1].nested
    given_up = {id(choice) for choice in reversed(order) if choice.weigh(price)}
    kept, free, waiting = list[_Choice](), list[int](), list(choices)
    while waiting:
        choice = waiting.pop()
        if id(choice) in given_up:
            free += choice.free
            waiting += choice.nested
        else:
            kept.append(choice)
    return kept, free


def _leave(path: list[_Beginning], depth: int, saving: Callable[[Family], float]) -> None:
    """Settles all beginnings that are longer than `depth`, where the next sequence branches off."""
    while path[-1].depth > depth:
        done = path.pop()
        done.settle(saving)
        if path[-1].depth < depth:
            path.append(_Beginning(depth=depth))
        path[-1].free += done.free
        path[-1].choices += done.choices


def _free(sequence: TrainingSequence) -> int:
    """Tokens at the beginning without a weight; at least one token stays behind them."""
    if len(sequence.starts) > 1:
        return 0
    last = len(sequence.ids) - 1
    streams = (sequence.ce_weight, sequence.pg_weight, sequence.kl_weight)
    first = [next((n for n, weight in enumerate(w) if weight), last) for w in streams]
    return min(last, *first, *(slot.position for slot in sequence.brier))


def common_length(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Tokens that both begin with."""
    short = min(len(one), len(other))
    if one[:short] == other[:short]:
        return short
    return next(i for i in range(short) if one[i] != other[i])
