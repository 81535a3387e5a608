"""A Llama read without its modules gives the losses and gradients that its modules give."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_builders import (
    FIRST_WORD,
    denominators,
    distance,
    loss_and_gradient,
    sequences,
    word_policy,
)

from forethought.algos.packing import PackConfig, PackedBatch, pack
from forethought.training import documents, llama, rows
from forethought.training.attention import Turns, View, attend
from forethought.training.documents import Line, buckets_of, line_up
from forethought.training.llama import is_plain_llama, llama_features, reads_as_llama
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape
from forethought.types import TrainingSequence

SHAPES = {
    "one key head": ModelShape(hidden=32, layers=2, heads=4, kv_heads=1, ffn=48),
    "two key heads": ModelShape(hidden=32, layers=3, heads=4, kv_heads=2, ffn=48),
    "as many key heads": ModelShape(hidden=32, layers=2, heads=2, kv_heads=2, ffn=48),
}


def grouped(policy: Policy, seed: int) -> list[TrainingSequence]:
    """Sequences of many lengths, some of them behind one beginning that has no weight."""
    rng = random.Random(seed)
    batch = sequences(policy, 9, seed, low=3, high=90)
    shared = tuple(rng.randrange(FIRST_WORD, len(policy.tokenizer)) for _ in range(70))
    nothing = (0.0,) * len(shared)
    for number in range(0, 9, 2):
        one = batch[number]
        batch[number] = replace(
            one,
            ids=shared + one.ids,
            ce_weight=nothing + one.ce_weight,
            pg_weight=nothing + one.pg_weight,
            kl_weight=nothing + one.kl_weight,
            advantage=nothing + one.advantage,
            sampling_logprobs=nothing + one.sampling_logprobs,
        )
    return batch


def gradients(policy: Policy, batch: list[TrainingSequence], **config: object) -> torch.Tensor:
    return loss_and_gradient(policy, batch, denominators(batch), **config)[1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("share", [False, True])
def test_losses_and_gradients_are_those_of_the_modules(
    monkeypatch: pytest.MonkeyPatch, shape: str, again: bool, share: bool
) -> None:
    policy = word_policy(1, SHAPES[shape])
    batch = grouped(policy, 3)
    monkeypatch.setattr(documents, "_QUERIES", 16)  # several blocks a document
    if again:
        monkeypatch.setattr(llama, "_KEPT", 0)  # probabilities are computed again
    over = denominators(batch)
    loss, found = loss_and_gradient(
        policy, batch, over, share_prefixes=share, micro_batch_tokens=300
    )
    by_modules(monkeypatch)
    expected_loss, expected = loss_and_gradient(
        policy, batch, over, share_prefixes=False, micro_batch_tokens=300
    )
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert distance(found, expected) < 1e-5


def by_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forethought.training.scoring.reads_as_llama", lambda policy: False)


def test_layers_that_do_not_learn_get_no_gradient_and_the_others_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = word_policy(1, SHAPES["two key heads"])
    policy.train_last(1)
    batch = grouped(policy, 4)
    found = gradients(policy, batch)
    by_modules(monkeypatch)
    expected = gradients(policy, batch)
    assert distance(found, expected) < 1e-5
    assert policy.model.model.layers[0].mlp.up_proj.weight.grad is None


def test_in_bfloat16_it_is_as_near_to_float32_as_the_modules_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = word_policy(1, SHAPES["two key heads"])
    batch = grouped(policy, 5)
    exact = gradients(policy, batch)
    ours = gradients(policy, batch, bf16=True)
    by_modules(monkeypatch)
    theirs = gradients(policy, batch, bf16=True)
    assert 0 < distance(ours, exact) < 1.5 * distance(theirs, exact)


def test_two_passes_give_the_same_bytes() -> None:
    policy = word_policy(1, SHAPES["one key head"])
    batch = grouped(policy, 6)
    first, second = (gradients(policy, batch) for _ in range(2))
    assert torch.equal(first, second)


def packed(policy: Policy, seed: int, share: bool = True) -> list[PackedBatch]:
    config = PackConfig(max_row_tokens=200, max_batch_tokens=800, share_prefixes=share)
    return pack(grouped(policy, seed), config)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), blocks=st.sampled_from([4, 64]))
def test_buckets_hold_every_query_once_with_the_keys_of_its_document(
    seed: int, blocks: int
) -> None:
    policy = word_policy()
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_QUERIES", blocks)
        for batch in packed(policy, seed):
            line = line_up(batch)
            every = np.arange(len(line.ids))
            some = every[sorted(rng.sample(range(len(every)), len(every) // 3 + 1))]
            assert seen_by(line, every) == expected_keys(line, every)
            assert seen_by(line, some) == expected_keys(line, some)


def expected_keys(line: Line, asked: np.ndarray) -> dict[int, list[int]]:
    """By query: the tokens of its prefix and of its document up to itself."""
    found = {}
    for document in line.documents:
        before = list(range(*document.before))
        for token in range(document.start, document.stop):
            if token in asked:
                place = int(np.searchsorted(asked, token))
                found[place] = [*before, *range(document.start, token + 1)]
    return found


def seen_by(line: Line, asked: np.ndarray) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for bucket in buckets_of(line, asked):
        queries = bucket.queries.view(bucket.rows, -1)
        keys = bucket.keys.view(bucket.rows, -1)
        for block in bucket.blocks:
            hidden = block.hidden.expand(bucket.rows, -1, -1, -1, -1)[:, 0, :, 0]
            for row in range(bucket.rows):
                for n, query in enumerate(queries[row, block.start : block.stop].tolist()):
                    if query < len(asked):
                        open_ = (hidden[row, n] == 0).nonzero().flatten() + block.seen
                        columns = [*range(block.seen), *open_.tolist()]
                        assert query not in found
                        found[query] = keys[row, columns].tolist()
    return found


def test_a_line_holds_the_tokens_of_prefixes_and_documents_in_order() -> None:
    policy = word_policy()
    for batch in packed(policy, 7):
        line = line_up(batch)
        assert len(line.ids) == batch.num_tokens
        shown = rows.row_features(policy, batch).detach()
        read = llama_features(policy.model, batch, torch.from_numpy((line.place >= 0).nonzero()[0]))
        torch.testing.assert_close(read, shown[line.place >= 0], rtol=1e-4, atol=1e-5)


def test_attention_takes_and_gives_the_format_of_its_queries() -> None:
    line = line_up(packed(word_policy(), 8)[0])
    count = len(line.ids)
    turns = Turns(torch.ones(count, 1, 8), torch.zeros(count, 1, 8))
    q, k, v = (torch.randn(count, heads, 8).bfloat16().requires_grad_() for heads in (4, 2, 2))
    found = attend(q, k, v, View(turns, turns, buckets_of(line), keeps=True))
    found.float().sum().backward()
    assert found.dtype == q.grad.dtype == k.grad.dtype == v.grad.dtype == torch.bfloat16


def hooked(policy: Policy) -> None:
    policy.model.model.layers[0].mlp.register_forward_hook(lambda *args: None)


def adapted(policy: Policy) -> None:
    class Adapted(torch.nn.Linear):
        """A projection that adds something of its own."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1.0

    old = policy.model.model.layers[1].self_attn.q_proj
    policy.model.model.layers[1].self_attn.q_proj = Adapted(
        old.in_features, old.out_features, bias=False
    )


def scaled(policy: Policy) -> None:
    policy.model.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}


def checkpointed(policy: Policy) -> None:
    policy.model.gradient_checkpointing_enable()


def halved(policy: Policy) -> None:
    policy.model.to(torch.bfloat16)


@pytest.mark.parametrize("change", [hooked, adapted, scaled, checkpointed, halved])
def test_what_is_not_a_plain_llama_runs_through_its_modules(
    change: Callable[[Policy], None],
) -> None:
    policy = word_policy()
    assert is_plain_llama(policy.model) and reads_as_llama(policy)
    change(policy)
    assert not reads_as_llama(policy)


def test_a_model_that_gives_something_else_runs_through_its_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = word_policy()
    policy.model.model.layers[0].self_attn.scaling *= 2.0
    assert is_plain_llama(policy.model) and not reads_as_llama(policy)
