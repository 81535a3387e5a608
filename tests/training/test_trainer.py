from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_builders import (
    byte_policy,
    denominators,
    gradient,
    in_chunks,
    loss_and_gradient,
    sequences,
    trainer,
    word_policy,
)

from forethought.algos.batching import HELD
from forethought.errors import GuardRail, InputError
from forethought.foresight.levels import LEVELS
from forethought.rollout.backend import Request, Sampling
from forethought.rollout.hf.backend import HFBackend
from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import BrierSlot, TrainingSequence


def naive_loss(policy: Policy, batch: list[TrainingSequence], over: Denominators) -> float:
    """The objective written down again: one document at a time, through the whole model."""
    total = 0.0
    for sequence in batch:
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([sequence.ids])).logits[0]
        logprobs = logits.log_softmax(-1)
        for place in range(1, len(sequence.ids)):
            value = float(logprobs[place - 1, sequence.ids[place]])
            total -= sequence.ce_weight[place] * value / over.ce if over.ce else 0.0
            if over.pg and sequence.pg_weight[place]:
                ratio = torch.tensor(value - sequence.sampling_logprobs[place]).exp()
                advantage = sequence.advantage[place]
                gain = min(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
                total -= sequence.pg_weight[place] * float(gain) / over.pg
    return total


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from((40, 64, 256)), st.sampled_from((40, 100, 8192)))
def test_packing_and_accumulation_never_change_the_loss(seed: int, row: int, micro: int) -> None:
    policy = word_policy()
    batch = sequences(policy, 8, seed)
    over = denominators(batch)
    loss, _ = loss_and_gradient(policy, batch, over, row_length=row, micro_batch_tokens=micro)
    assert loss == pytest.approx(naive_loss(policy, batch, over), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    "cut",
    [
        {"micro_batch_tokens": 40, "row_length": 8},  # one sequence at a time
        {"row_length": 256},  # all in few rows
        {"share_rows": False},
    ],
)
def test_the_gradient_is_that_of_the_whole_batch_however_it_is_cut(cut: dict[str, object]) -> None:
    policy = word_policy()
    batch = sequences(policy, 8, 1)
    over = denominators(batch)
    alone = sum(loss_and_gradient(policy, [one], over, share_rows=False)[1] for one in batch)
    _, together = loss_and_gradient(policy, batch, over, **cut)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_one_row_or_one_row_a_turn_give_the_same_gradient() -> None:
    policy = word_policy()
    whole = sequences(policy, 1, 5, low=30)[0]
    none = (0.0,) * len(whole.ids)
    half = len(whole.ids) // 2
    first = replace(
        whole,
        ce_weight=whole.ce_weight[:half] + none[half:],
        pg_weight=whole.pg_weight[:half] + none[half:],
    )
    second = replace(
        whole,
        ce_weight=none[:half] + whole.ce_weight[half:],
        pg_weight=none[:half] + whole.pg_weight[half:],
    )
    over = denominators([whole])
    loss, one = loss_and_gradient(policy, [whole], over)
    parts, two = loss_and_gradient(policy, [first, second], over)
    assert parts == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)


STREAMS = ("ce_weight", "pg_weight", "kl_weight", "advantage", "sampling_logprobs")


def joined(batch: list[TrainingSequence]) -> TrainingSequence:
    """The sequences as documents of one."""

    def stream(name: str) -> tuple[float, ...]:
        return tuple(value for s in batch for value in getattr(s, name))

    lengths = [len(s.ids) for s in batch]
    return TrainingSequence(
        ids=tuple(token for s in batch for token in s.ids),
        starts=tuple(accumulate(lengths[:-1], initial=0)),
        **{name: stream(name) for name in STREAMS},
    )


@pytest.mark.parametrize("share_rows", [True, False])
def test_documents_of_one_sequence_train_as_sequences_of_their_own(share_rows: bool) -> None:
    policy = word_policy()
    batch = sequences(policy, 4, 5)
    over = denominators(batch)
    loss, apart = loss_and_gradient(policy, batch, over)
    again, together = loss_and_gradient(
        policy, [joined(batch[:3]), batch[3]], over, share_rows=share_rows
    )
    assert again == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6)


def test_a_model_needs_positions_for_the_longest_document_and_not_for_their_sum() -> None:
    policy = word_policy()
    positions = policy.model.config.max_position_embeddings
    long = sequences(policy, 2, 6, low=positions - 4, high=positions)
    both = joined(long)
    maker = trainer(policy)
    maker.step([both], denominators=denominators([both]), step_index=0)


def test_a_token_without_a_weight_has_no_loss_as_a_target() -> None:
    # Its advantage and its sampled log-probability may say anything, and at the end of a sequence,
    # where it is nobody's context, so may its id.
    policy = word_policy()
    sequence = sequences(policy, 1, 2)[0]
    last = len(sequence.ids) - 1
    masked = replace(
        sequence,
        ce_weight=(*sequence.ce_weight[:last], 0.0),
        pg_weight=(*sequence.pg_weight[:last], 0.0),
    )
    changed = replace(
        masked,
        ids=(*masked.ids[:last], masked.ids[last] - 1),
        advantage=tuple(
            a if w else 1e3 for a, w in zip(masked.advantage, masked.pg_weight, strict=True)
        ),
        sampling_logprobs=tuple(
            p if w else -9.0
            for p, w in zip(masked.sampling_logprobs, masked.pg_weight, strict=True)
        ),
    )
    over = denominators([masked])
    loss, before = loss_and_gradient(policy, [masked], over)
    other, after = loss_and_gradient(policy, [changed], over)
    assert loss == other
    assert torch.equal(before, after)
    # The twin: with its weight the same change is seen.
    trained = replace(changed, ce_weight=(*masked.ce_weight[:last], 1.0))
    assert loss_and_gradient(policy, [trained], over)[0] != loss


def test_the_exact_brier_score_is_that_of_the_21_levels_at_the_slot() -> None:
    policy = word_policy()
    plain = sequences(policy, 2, 3, low=12)
    batch = [
        TrainingSequence(ids=s.ids, brier=(BrierSlot(position=5, target=float(n)),))
        for n, s in enumerate(plain)
    ]
    expected = 0.0
    ids = list(policy.level_ids() or ())
    for number, sequence in enumerate(batch):
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([sequence.ids])).logits[0, 4]
        probabilities = (logits[ids] / 1.3).softmax(-1).tolist()
        expected += sum(p * (v - number) ** 2 for p, v in zip(probabilities, LEVELS, strict=True))
    stats = trainer(policy, temperature=1.3, brier_coefficient=0.5).step(
        batch, denominators=Denominators(brier=2.0), step_index=0
    )
    assert stats["brier_loss"] == pytest.approx(expected / 2, abs=1e-6)
    assert stats["loss"] == pytest.approx(expected / 4, abs=1e-6)
    assert stats["trained_tokens"] == 2


def test_with_a_readout_the_number_trains_the_output_embeddings_alone_and_nothing_else_does() -> (
    None
):
    moved: dict[str, set[str]] = {}
    for part in ("slots", "tokens", "both"):
        policy = word_policy()
        policy.untie()
        before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
        batch = sequences(policy, 4, 3, low=12)
        if part != "tokens":
            batch = [replace(s, brier=(BrierSlot(position=5, target=1.0),)) for s in batch]
        if part == "slots":
            batch = [replace(s, ce_weight=(), pg_weight=(), advantage=()) for s in batch]
        maker = trainer(policy, brier_below=0.0, clip_grad_norm=0.0, micro_batch_tokens=64)
        maker.step(batch, denominators=denominators(batch), step_index=0)
        moved[part] = {
            name
            for name, p in policy.model.named_parameters()
            if not torch.equal(p.detach(), before[name])
        }
    assert moved["slots"] == {"lm_head.weight"}
    assert not moved["tokens"] & {"lm_head.weight", "model.embed_tokens.weight"}
    assert moved["both"] == moved["slots"] | moved["tokens"]
    assert not any("norm" in name for name in moved["both"])


def test_a_readout_gets_the_gradient_of_the_exact_brier_score() -> None:
    policy = word_policy()
    batch = [
        replace(s, brier=(BrierSlot(position=5, target=1.0),))
        for s in sequences(policy, 3, 3, low=12)
    ]
    over = denominators(batch)
    policy.untie()
    embedding = policy.model.get_output_embeddings().weight
    found = []
    for others in (0.0, 1.0):
        loss_and_gradient(
            policy, batch, over, ce_coefficient=others, pg_coefficient=others, brier_below=0.0
        )
        found.append(embedding.grad.clone())
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


def test_a_share_of_the_brier_gradient_reaches_the_layers_below_and_the_loss_stays_the_same() -> (
    None
):
    policy = word_policy()
    batch = [
        TrainingSequence(ids=s.ids, brier=(BrierSlot(position=5, target=1.0),))
        for s in sequences(policy, 3, 3, low=12)
    ]
    over = Denominators(brier=3.0)
    matrix = policy.model.model.layers[0].mlp.up_proj.weight
    found = []
    for below in (1.0, 0.25):
        loss, _ = loss_and_gradient(policy, batch, over, brier_below=below)
        found.append((loss, matrix.grad.clone()))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-7)
    torch.testing.assert_close(found[1][1], 0.25 * found[0][1], rtol=1e-5, atol=1e-9)


def test_brier_slots_need_levels_of_one_token() -> None:
    batch = [TrainingSequence(ids=(5, 6, 7), brier=(BrierSlot(position=2, target=1.0),))]
    with pytest.raises(InputError, match="cuts the numerals"):
        trainer(byte_policy()).step(batch, denominators=Denominators(brier=1.0), step_index=0)


@pytest.mark.parametrize(("bf16", "bound"), [(False, 1e-5), (True, 5e-3)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_trainer_gives_sampled_tokens_the_log_probabilities_of_the_sampler(
    temperature: float, bf16: bool, bound: float
) -> None:
    policy = word_policy()
    backend = HFBackend(policy.model, dtype=torch.bfloat16 if bf16 else None)
    sampling = Sampling(temperature=temperature, max_tokens=20)
    requests = [
        Request(ids=tuple(range(4, 8 + n)), session=str(n), noise=(n,), sampling=sampling)
        for n in range(4)
    ]

    async def sample() -> list[TrainingSequence]:
        completions = await asyncio.gather(*(backend.generate(request) for request in requests))
        return [
            TrainingSequence(
                ids=request.ids + done.ids,
                pg_weight=(0.0,) * len(request.ids) + (1.0,) * len(done.ids),
                advantage=(1.0,) * (len(request.ids) + len(done.ids)),
                sampling_logprobs=(0.0,) * len(request.ids) + done.logprobs,
            )
            for request, done in zip(requests, completions, strict=True)
        ]

    batch = asyncio.run(sample())
    stats = trainer(policy, temperature=temperature, bf16=bf16).step(
        batch, denominators=Denominators(pg=80.0), step_index=0
    )
    assert stats["log_ratio_abs"] < bound
    assert stats["ratio_max"] == pytest.approx(1.0, abs=10 * bound)
    assert stats["pg_loss"] == pytest.approx(-1.0, abs=10 * bound)
    assert 0 < stats["entropy"] < torch.tensor(float(len(policy.tokenizer))).log()


def test_large_vocabularies_are_scored_in_chunks_with_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = word_policy()
    batch = sequences(policy, 6, 4)
    over = denominators(batch)
    loss, whole = loss_and_gradient(policy, batch, over, temperature=0.8)
    in_chunks(monkeypatch, 7)
    again, chunked = loss_and_gradient(policy, batch, over, temperature=0.8)
    assert again == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-6)


def test_bf16_autocast_is_close_and_leaves_the_weights_in_float32() -> None:
    policy = word_policy()
    batch = sequences(policy, 4, 6)
    over = denominators(batch)
    loss, _ = loss_and_gradient(policy, batch, over)
    slots = [replace(s, brier=(BrierSlot(position=3, target=1.0),)) for s in batch]
    maker = trainer(policy, bf16=True, brier_coefficient=1e-9)
    stats = maker.step(slots, denominators=over, step_index=0)
    assert stats["loss"] == pytest.approx(loss, abs=0.05)
    assert policy.dtype == torch.float32


def test_a_coefficient_scales_its_loss_alone() -> None:
    policy = word_policy()
    batch = sequences(policy, 4, 7)
    over = denominators(batch)
    none = loss_and_gradient(policy, batch, over, pg_coefficient=0.0)[0]
    half = loss_and_gradient(policy, batch, over, ce_coefficient=0.0, pg_coefficient=0.5)[0]
    both = loss_and_gradient(policy, batch, over, pg_coefficient=0.5)[0]
    assert both == pytest.approx(none + half, abs=1e-5)


def test_a_sequence_without_a_weight_costs_no_forward_pass() -> None:
    policy = word_policy()
    batch = sequences(policy, 3, 8)
    silent = TrainingSequence(ids=batch[0].ids)
    stats = trainer(policy).step([*batch, silent], denominators=denominators(batch), step_index=0)
    assert stats["forwarded_tokens"] == sum(len(s.ids) for s in batch)
    trained = sum(
        bool(c or p) for s in batch for c, p in zip(s.ce_weight, s.pg_weight, strict=True)
    )
    assert stats["trained_tokens"] == trained


@pytest.mark.parametrize(("name", "wanted"), [("ce", "pg"), ("pg", "ce")])
def test_a_loss_without_its_denominator_is_refused(name: str, wanted: str) -> None:
    policy = word_policy()
    with pytest.raises(InputError, match=rf"Denominators\.{name}"):
        trainer(policy).step(
            sequences(policy, 2),
            denominators=Denominators(**{wanted: 1.0}),
            step_index=0,
        )


def test_a_sequence_beyond_the_model_or_the_micro_batch_is_refused_by_name() -> None:
    policy = word_policy()
    long = TrainingSequence(ids=(5,) * 300, ce_weight=(0.0,) + (1.0,) * 299, source="t9/1")
    with pytest.raises(InputError, match=r"t9/1.*300 tokens.*256"):
        trainer(policy).step([long], denominators=Denominators(ce=1.0), step_index=0)
    short = TrainingSequence(ids=(5,) * 90, ce_weight=(0.0,) + (1.0,) * 89, source="t9/2")
    with pytest.raises(InputError, match=r"t9/2.*90 tokens"):
        trainer(policy, micro_batch_tokens=80).step(
            [short], denominators=Denominators(ce=1.0), step_index=0
        )


def copy_task(policy: Policy, step: int, weight: float = 1.0) -> list[TrainingSequence]:
    """Six letters, a semicolon, the same six again; only the second half trains."""
    rng = random.Random(step)
    letters = policy.tokenizer.convert_tokens_to_ids(list("abcdefgh"))
    mark = policy.tokenizer.convert_tokens_to_ids(";")
    batch = []
    for _ in range(16):
        part = tuple(rng.choice(letters) for _ in range(6))
        weights = (0.0,) * 7 + (weight,) * 6
        batch.append(TrainingSequence(ids=(*part, mark, *part), ce_weight=weights, source="copy"))
    return batch


def learn(weight: float, steps: int = 30) -> list[float]:
    policy = word_policy(0, ModelShape(hidden=32, layers=2, heads=2, ffn=64, max_positions=32))
    maker = trainer(policy, OptimConfig(lr=1e-2, adamw_lr=1e-2), total_steps=steps)
    losses = []
    for step in range(steps):
        batch = copy_task(policy, step, weight)
        over = Denominators(ce=sum(sum(s.ce_weight) for s in batch))
        losses.append(maker.step(batch, denominators=over, step_index=step)["ce_loss"])
    return losses


def test_the_loss_of_a_copy_task_falls() -> None:
    losses = learn(1.0)
    assert losses[-1] < 0.7 * losses[0], losses


def test_its_twin_without_weights_stops_at_once() -> None:
    with pytest.raises(GuardRail, match="without a trained token"):
        learn(0.0)


def anchored(policy: Policy, reference: Policy, coefficient: float) -> Trainer:
    """A trainer with nothing but the KL term."""
    config = TrainerConfig(total_steps=60, pg_coefficient=1e-9, kl_coefficient=coefficient)
    optim = OptimConfig(name="adamw", lr=3e-3, schedule="constant", warmup_fraction=0.0)
    return Trainer(policy, optim, config, reference)


def test_the_kl_term_is_zero_at_the_reference_and_leads_back_to_it() -> None:
    policy, reference = word_policy(seed=1), word_policy(seed=0)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(8.0)  # far from the reference
    batch = sequences(policy, 6, 3)
    over = denominators(batch)
    at_home = anchored(word_policy(seed=0), reference, 1.0)
    assert at_home._gradients(batch, over, 0)[0].kl == pytest.approx(0.0, abs=1e-6)
    maker = anchored(policy, reference, 1.0)
    falls = [maker.step(batch, denominators=over, step_index=step)["kl_loss"] for step in range(40)]
    assert falls[-1] < 0.3 * falls[0]


def test_the_kl_term_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, reference = word_policy(seed=1), word_policy(seed=0)
    batch = sequences(policy, 6, 4)
    over = denominators(batch)

    def found() -> tuple[float, torch.Tensor]:
        maker = anchored(policy, reference, 0.5)
        return maker._gradients(batch, over, 0)[1], gradient(maker)

    loss, whole = found()
    in_chunks(monkeypatch, 7)
    again, chunked = found()
    assert again == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-6)


def test_a_reference_is_never_changed() -> None:
    policy = word_policy()
    reference = policy.copy()
    before = reference.sha256()
    batch = sequences(policy, 4, 3)
    anchored(policy, reference, 1.0).step(batch, denominators=denominators(batch), step_index=0)
    assert reference.sha256() == before
    assert policy.sha256() != before or policy.model is not reference.model


def test_the_kl_term_holds_the_output_embeddings_that_the_number_moves() -> None:
    policy = word_policy()
    reference = word_policy()
    policy.untie()
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(1.1)
    for held in (False, True):
        batch = [
            replace(
                s,
                ce_weight=(),
                advantage=(0.0,) * len(s.ids),
                pg_weight=(),
                kl_weight=tuple(HELD if held and w else w for w in s.kl_weight),
            )
            for s in sequences(policy, 3, 3, low=12)
        ]
        before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
        config = {"brier_below": 0.0, "kl_coefficient": 0.5, "clip_grad_norm": 0.0}
        maker = trainer(policy, reference=reference, **config)
        stats = maker.step(batch, denominators=Denominators(pg=9.0), step_index=0)
        moved = {
            name
            for name, p in policy.model.named_parameters()
            if not torch.equal(p.detach(), before[name])
        }
        assert stats["kl_loss"] > 0
        assert "lm_head.weight" in moved
        assert (moved == {"lm_head.weight"}) is held
