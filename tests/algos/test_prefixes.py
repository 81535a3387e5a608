from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forethought.algos.packing import PADDING, PackConfig, PackedBatch, pack
from forethought.algos.prefixes import Family, documents, find_families
from forethought.types import BrierSlot, TrainingSequence

STREAMS = ("ce_weight", "pg_weight", "kl_weight", "advantage", "sampling_logprobs")


def weighted(ids: tuple[int, ...], first: int, number: int = 0) -> TrainingSequence:
    """A weight on every token from `first` on; all numbers are the sequence's own."""

    def stream(scale: float) -> tuple[float, ...]:
        own = (scale * (1000 * number + place) for place in range(1, len(ids) + 1))
        return tuple(value if place >= first else 0.0 for place, value in enumerate(own))

    last = len(ids) - 1
    return TrainingSequence(
        ids=ids,
        ce_weight=stream(1.0) if number % 2 else (),
        pg_weight=stream(0.5),
        kl_weight=stream(0.25),
        advantage=stream(2.0),
        sampling_logprobs=stream(-0.125),
        brier=(BrierSlot(position=last, target=number / 8),) if last >= max(first, 1) else (),
        source=str(number),
    )


@st.composite
def batches(draw: st.DrawFn) -> list[TrainingSequence]:
    """Groups behind prompts, some of them behind one instruction, and sequences of their own."""
    rng = random.Random(draw(st.integers(0, 10_000)))
    instruction = tuple(rng.randrange(1, 9) for _ in range(draw(st.integers(0, 100))))
    made: list[TrainingSequence] = []
    for _ in range(draw(st.integers(1, 4))):
        prompt = tuple(rng.randrange(1, 9) for _ in range(rng.randint(1, 100)))
        prompt = instruction + prompt if rng.random() < 0.7 else prompt
        for _ in range(rng.randint(1, 6)):
            rest = tuple(rng.randrange(1, 9) for _ in range(rng.randint(0, 40)))
            inside = rng.random() < 0.2  # a weight within what is common
            first = rng.randint(1, len(prompt)) if inside else len(prompt)
            made.append(weighted(prompt + rest, first, len(made)))
    rng.shuffle(made)
    return made


configs = st.builds(
    PackConfig,
    max_row_tokens=st.integers(240, 400),
    max_batch_tokens=st.integers(400, 2000),
    share_rows=st.booleans(),
    ragged=st.booleans(),
    share_prefixes=st.just(True),
)


def members(batch: PackedBatch) -> Iterator[tuple[int, int, np.ndarray, tuple[int, ...]]]:
    """Index, row, columns and prefix of each sequence of a micro-batch."""
    for row, indices in enumerate(batch.members):
        prefix: tuple[int, ...] = ()
        if batch.prefixes is not None:
            number = batch.prefix_of_row()[row]
            prefix = tuple(batch.prefixes.ids[number, : batch.prefixes.lengths[number]].tolist())
        for number, index in enumerate(indices):
            yield index, row, np.nonzero(batch.document[row] == number)[0], prefix


@given(batch=batches(), config=configs)
def test_each_sequence_stands_once_behind_its_prefix_with_its_own_weights(
    batch: list[TrainingSequence], config: PackConfig
) -> None:
    seen: list[int] = []
    for packed in pack(batch, config):
        for index, row, columns, prefix in members(packed):
            whole, first = batch[index], len(prefix)
            seen.append(index)
            assert prefix + tuple(packed.ids[row, columns].tolist()) == whole.ids
            assert packed.position[row, columns].tolist() == list(range(first, len(whole.ids)))
            assert len(columns) >= 1
            for name in STREAMS:
                values = getattr(whole, name) or (0.0,) * len(whole.ids)
                assert getattr(packed, name)[row, columns].tolist() == pytest.approx(values[first:])
                if name.endswith("weight"):
                    assert not any(values[:first])
    assert sorted(seen) == list(range(len(batch)))


@given(batch=batches(), config=configs)
def test_brier_slots_follow_their_token_behind_a_prefix(
    batch: list[TrainingSequence], config: PackConfig
) -> None:
    found: list[tuple[int, float]] = []
    for packed in pack(batch, config):
        slots = zip(packed.brier_row, packed.brier_position, packed.brier_target, strict=True)
        found += [(int(packed.position[r, c]), float(target)) for r, c, target in slots]
    assert sorted(found) == sorted((s.position, s.target) for b in batch for s in b.brier)


@given(batch=batches(), config=configs)
def test_prefixes_count_against_the_bounds_and_as_tokens_once(
    batch: list[TrainingSequence], config: PackConfig
) -> None:
    plan = pack(batch, config)
    for packed in plan:
        prefix = 0 if packed.prefixes is None else packed.prefixes.ids.shape[1]
        read = packed.num_tokens if config.ragged else packed.size
        assert read <= config.max_batch_tokens
        before = 0 if packed.prefixes is None else packed.prefixes.lengths[packed.prefix_of_row()]
        rows = before + (packed.document != PADDING).sum(1)
        assert rows.max() <= config.max_row_tokens
        assert config.ragged or prefix + packed.ids.shape[1] <= config.max_row_tokens
        own = sum(len(columns) for _, _, columns, _ in members(packed))
        standing = {(packed.prefix_of_row()[row]) for row in range(len(packed.members)) if prefix}
        lengths = [] if packed.prefixes is None else packed.prefixes.lengths.tolist()
        assert standing == set(range(len(lengths)))
        assert packed.num_tokens == own + sum(lengths)
        assert packed.shared_tokens >= 0
        assert config.share_rows or all(len(row) == 1 for row in packed.members)
    total = sum(len(sequence.ids) for sequence in batch)
    assert sum(packed.num_tokens + packed.shared_tokens for packed in plan) == total


@given(batch=batches(), config=configs)
def test_a_plan_repeats_and_reads_no_more_than_without_sharing(
    batch: list[TrainingSequence], config: PackConfig
) -> None:
    plan, again = pack(batch, config), pack(batch, config)
    for one, other in zip(plan, again, strict=True):
        assert one.members == other.members
        assert one.ids.tobytes() == other.ids.tobytes()
    apart = pack(batch, replace(config, share_prefixes=False))
    assert sum(b.num_tokens for b in plan) <= sum(b.num_tokens for b in apart)


def linear(batch: list[TrainingSequence], fixed: int, family: Family) -> float:
    """Its tokens, the prefix once, and a fixed sum."""
    lengths = [len(batch[index].ids) for index in family.members]
    return sum(lengths) - (len(lengths) - 1) * family.length + fixed


def saving(batch: list[TrainingSequence], families: list[Family], fixed: int) -> float:
    whole = sum(len(batch[index].ids) for family in families for index in family.members)
    return whole - sum(linear(batch, fixed, family) for family in families)


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """All ways to put items into sets."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for number, part in enumerate(rest):
            yield [*rest[:number], [items[0], *part], *rest[number + 1 :]]


def common(keys: list[tuple[int, ...]]) -> int:
    places = zip(*keys, strict=False)
    return next((n for n, ids in enumerate(places) if len(set(ids)) > 1), min(map(len, keys)))


@given(
    keys=st.lists(st.text("ab", max_size=6), min_size=1, max_size=6),
    fixed=st.integers(0, 3),
)
@example(keys=["aaaa", "aaaa", "a", "aab"], fixed=0)
@example(keys=["bbbbb", "bbbbb", "bbbaa", "bba"], fixed=0)
def test_no_other_choice_of_families_saves_more(keys: list[str], fixed: int) -> None:
    prompts = [tuple(map(ord, key)) for key in keys]
    batch = [weighted((*prompt, 200 + n), len(prompt) or 1, n) for n, prompt in enumerate(prompts)]
    found = find_families(batch, partial(linear, batch, fixed))
    taken = [index for family in found for index in family.members]
    assert len(taken) == len(set(taken))
    best = 0.0
    for parts in partitions(list(range(len(keys)))):
        families = [
            Family(length=common([prompts[i] for i in part]), members=tuple(part)) for part in parts
        ]
        useful = [f for f in families if len(f.members) > 1]
        best = max(best, saving(batch, useful, fixed))
    assert saving(batch, found, fixed) == best


def test_a_long_prompt_is_shared_by_its_group_and_a_long_instruction_by_all() -> None:
    def made(instruction: int, prompt: int) -> list[TrainingSequence]:
        head = (7,) * instruction
        both = [head + (number,) * prompt + (9, n) for number in (1, 2) for n in range(4)]
        return [weighted(ids, len(ids) - 2, n) for n, ids in enumerate(both)]

    for instruction, prompt, expected in ((10, 90, [100, 100]), (90, 10, [90])):
        batch = made(instruction, prompt)
        found = find_families(batch, partial(linear, batch, 64))
        assert [family.length for family in found] == expected


def test_a_weight_ends_what_is_shared_and_the_token_behind_may_have_one() -> None:
    config = PackConfig(max_row_tokens=300, max_batch_tokens=2000, share_prefixes=True)
    ids = [(*range(1, 200), 300 + n) for n in range(4)]
    for first in (150, 199):
        (packed,) = pack([weighted(one, first, n) for n, one in enumerate(ids)], config)
        assert packed.prefixes is not None
        assert packed.prefixes.lengths.tolist() == [first]
    slot = BrierSlot(position=120, target=1.0)
    slotted = [replace(weighted(one, 199, n), brier=(slot,)) for n, one in enumerate(ids)]
    (packed,) = pack(slotted, config)
    assert packed.prefixes is not None and packed.prefixes.lengths.tolist() == [120]
    early = [weighted(one, 1, n) for n, one in enumerate(ids)]
    assert all(packed.prefixes is None for packed in pack(early, config))


def test_a_short_prefix_and_a_lone_sequence_are_read_as_they_are() -> None:
    config = PackConfig(max_row_tokens=300, max_batch_tokens=2000)
    short = [weighted((*range(1, 11), *range(50 * n, 50 * n + 40)), 10, n) for n in range(1, 9)]
    alone = [weighted(tuple(range(1, 250)), 200)]
    (read,) = pack(short, replace(config, share_prefixes=True, ragged=True))
    assert read.prefixes is not None and read.shared_tokens == 7 * 10  # no mask, no padding
    for batch in (short, alone):
        plan = pack(batch, replace(config, share_prefixes=True))
        for one, other in zip(plan, pack(batch, config), strict=True):
            assert one.prefixes is None
            assert one.ids.tobytes() == other.ids.tobytes()


def test_thousands_of_nested_beginnings_are_sorted_out_without_recursion() -> None:
    batch = [weighted((1,) * length, length - 1 or 1) for length in range(1, 1500, 2)]
    found = find_families(batch, partial(linear, batch, 10))
    assert found


def test_documents_are_cut_out_with_what_belongs_to_them() -> None:
    one, other = weighted((1, 2, 3), 1, 1), weighted((4, 5, 6, 7), 2, 3)
    streams = {name: getattr(one, name) + getattr(other, name) for name in STREAMS}
    late = tuple(replace(slot, position=slot.position + 3) for slot in other.brier)
    both = TrainingSequence(
        ids=one.ids + other.ids, starts=(0, 3), brier=one.brier + late, source="1", **streams
    )
    assert documents(both) == [one, replace(other, source="1")]
    assert documents(one) == [one]
    apart = find_families([both, both], lambda family: 0.0)
    assert apart == []


def test_padding_of_prefixes_and_rows_carries_no_weight() -> None:
    config = PackConfig(max_row_tokens=400, max_batch_tokens=4000, share_prefixes=True)
    batch = [
        weighted((*(10 * g + 1 for _ in range(90 + g)), *range(500, 520 + n)), 90 + g, 4 * g + n)
        for g in (1, 2)
        for n in range(4)
    ]
    (packed,) = pack(batch, config)
    assert packed.prefixes is not None and sorted(packed.prefixes.lengths.tolist()) == [91, 92]
    for name in STREAMS:
        assert not getattr(packed, name)[packed.document == PADDING].any()
