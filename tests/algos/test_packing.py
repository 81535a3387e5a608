from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.algos.packing import PADDING, PackConfig, pack, plan_rows
from forethought.errors import InputError
from forethought.types import BrierSlot, TrainingSequence


def sequence(number, length):
    """Every token of every sequence has its own id, weight and advantage."""
    ids = tuple(1000 * number + n + 1 for n in range(length))
    weights = tuple(0.0 if n == 0 else float(i) for n, i in enumerate(ids))
    slots = (BrierSlot(position=length - 1, target=float(number)),) if length > 1 else ()
    return TrainingSequence(
        ids=ids,
        ce_weight=weights if number % 2 else (),
        pg_weight=weights,
        kl_weight=tuple(w / 2 for w in weights),
        advantage=tuple(float(-i) for i in ids),
        sampling_logprobs=tuple(-0.001 * i for i in ids),
        brier=slots,
    )


def cut(sequence, start):
    """The same with a second document that begins at `start`."""
    weights = [w if n != start else 0.0 for n, w in enumerate(sequence.pg_weight)]
    return replace(
        sequence, starts=(0, start), ce_weight=(), kl_weight=(), pg_weight=tuple(weights)
    )


lengths = st.lists(st.integers(1, 16), min_size=1, max_size=20)
configs = st.builds(
    PackConfig,
    max_row_tokens=st.integers(16, 40),
    max_batch_tokens=st.integers(40, 120),
    share_rows=st.booleans(),
    ragged=st.booleans(),
    pad_id=st.just(0),
)


@given(lengths=lengths, config=configs)
def test_every_token_appears_exactly_once_with_its_own_weights(lengths, config):
    sequences = [sequence(n, length) for n, length in enumerate(lengths)]
    seen = {}
    for batch in pack(sequences, config):
        for r, column in zip(*np.nonzero(batch.document != PADDING), strict=True):
            token = int(batch.ids[r, column])
            assert token not in seen
            seen[token] = tuple(
                float(stream[r, column])
                for stream in (batch.ce_weight, batch.pg_weight, batch.kl_weight, batch.advantage)
            )
    expected = {}
    for s in sequences:
        for n, token in enumerate(s.ids):
            ce = s.ce_weight[n] if s.ce_weight else 0.0
            expected[token] = (ce, s.pg_weight[n], s.kl_weight[n], s.advantage[n])
    assert seen == expected


@given(lengths=lengths, config=configs)
def test_padding_carries_no_weight(lengths, config):
    for batch in pack([sequence(n, length) for n, length in enumerate(lengths)], config):
        for stream in (batch.ce_weight, batch.pg_weight, batch.kl_weight, batch.advantage):
            assert not stream[batch.document == PADDING].any()
        assert batch.num_tokens == (batch.document != PADDING).sum()


@given(lengths=lengths, config=configs)
def test_documents_never_mix_and_positions_start_anew(lengths, config):
    sequences = [sequence(n, length) for n, length in enumerate(lengths)]
    for batch in pack(sequences, config):
        for r, members in enumerate(batch.members):
            for number, index in enumerate(members):
                where = np.nonzero(batch.document[r] == number)[0]
                assert tuple(batch.ids[r, where]) == sequences[index].ids
                assert list(batch.position[r, where]) == list(range(len(where)))
                assert list(where) == list(range(where[0], where[0] + len(where)))


def test_a_document_inside_a_sequence_is_numbered_and_counted_like_a_sequence():
    both = [cut(sequence(0, 5), 2), sequence(1, 3)]
    (batch,) = pack(both, PackConfig(max_row_tokens=10, max_batch_tokens=10))
    assert batch.document.tolist() == [[0, 0, 1, 1, 1, 2, 2, 2]]
    assert batch.position.tolist() == [[0, 1, 0, 1, 2, 0, 1, 2]]
    assert batch.members == ((0, 1),)


@given(lengths=lengths, config=configs)
def test_rows_and_micro_batches_keep_their_bounds(lengths, config):
    sequences = [sequence(n, length) for n, length in enumerate(lengths)]
    for batch in pack(sequences, config):
        assert batch.ids.shape[1] <= config.max_row_tokens
        read = batch.num_tokens if config.ragged else batch.size
        assert read <= config.max_batch_tokens
        if not config.share_rows:
            assert all(len(members) == 1 for members in batch.members)


@given(lengths=lengths, config=configs)
def test_brier_slots_follow_their_token(lengths, config):
    sequences = [sequence(n, length) for n, length in enumerate(lengths)]
    found = {}
    for batch in pack(sequences, config):
        rows = zip(batch.brier_row, batch.brier_position, batch.brier_target, strict=True)
        for r, column, target in rows:
            found[int(batch.ids[r, column])] = float(target)
    assert found == {s.ids[b.position]: b.target for s in sequences for b in s.brier}


@given(lengths=lengths)
def test_first_fit_decreasing_leaves_at_most_one_row_half_empty(lengths):
    config = PackConfig(max_row_tokens=16, max_batch_tokens=64)
    rows = [sum(lengths[i] for i in row) for row in plan_rows(lengths, config)]
    assert sum(used <= 8 for used in rows) <= 1
    assert plan_rows(lengths, config) == plan_rows(list(lengths), config)


def test_a_sequence_longer_than_a_row_is_refused_by_name():
    config = PackConfig(max_row_tokens=4, max_batch_tokens=64)
    with pytest.raises(InputError, match="task-7/2"):
        pack([TrainingSequence(ids=(1,) * 5, source="task-7/2")], config)


def test_a_weight_on_the_first_token_of_a_later_document_is_refused():
    whole = sequence(0, 5)
    with pytest.raises(InputError, match="first token"):
        pack([replace(whole, starts=(0, 2))], PackConfig(max_row_tokens=8, max_batch_tokens=8))


def test_a_weight_on_the_first_token_is_refused():
    config = PackConfig(max_row_tokens=4, max_batch_tokens=64)
    with pytest.raises(InputError, match="first token"):
        pack([TrainingSequence(ids=(1, 2), ce_weight=(1.0, 1.0))], config)
