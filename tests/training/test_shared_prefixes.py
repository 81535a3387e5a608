"""A prefix that is read once gives the losses and gradients of sequences that read it each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from training_builders import (
    FIRST_WORD,
    denominators,
    distance,
    gradient,
    trainer,
    word_policy,
)

from forethought.algos.batching import HELD
from forethought.algos.packing import PackedBatch
from forethought.training import rows
from forethought.training.policy import Policy
from forethought.training.rows import can_share
from forethought.training.tiny import ModelShape
from forethought.types import BrierSlot, TrainingSequence

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "attn_implementation": "sdpa",
}
Maker = Callable[..., Policy]


def built(name: str, seed: int = 0, *, head: str = "ForCausalLM", **sizes: Any) -> Policy:
    """A tiny model of a `transformers` class with the words of `word_policy`."""
    import transformers

    tokenizer = word_policy().tokenizer
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=1, eos_token_id=2, **SIZES | sizes
    )
    torch.manual_seed(seed)
    return Policy(getattr(transformers, f"{name}{head}")(config).eval(), tokenizer)


def llama(seed: int = 0) -> Policy:
    return word_policy(seed, ModelShape(hidden=32, layers=2, heads=4, kv_heads=2, ffn=48))


def qwen(seed: int = 0) -> Policy:
    return built("Qwen3", seed, num_key_value_heads=2, head_dim=8)


def neox(seed: int = 0) -> Policy:
    return built("GPTNeoX", seed)


def groups(policy: Policy, seed: int, *, num: int = 3, members: int = 5) -> list[TrainingSequence]:
    """Groups behind prompts of their own, with all losses; one sequence stands alone."""
    rng = random.Random(seed)

    def tokens(low: int, high: int) -> tuple[int, ...]:
        top = len(policy.tokenizer)
        return tuple(rng.randrange(FIRST_WORD, top) for _ in range(rng.randint(low, high)))

    batch: list[TrainingSequence] = []
    for group in range(num):
        prompt = tokens(60, 110)
        for member in range(members if group else 1):
            rest = tokens(4, 30)
            whole = len(prompt) + len(rest)

            def stream(choices: tuple[float, ...], first: int = len(prompt), n: int = whole) -> Any:
                return tuple(rng.choice(choices) if i >= first else 0.0 for i in range(n))

            slot = BrierSlot(position=len(prompt) + rng.randrange(len(rest)), target=member % 2)
            made = TrainingSequence(
                ids=prompt + rest,
                ce_weight=stream((0.0, 0.5, 1.0)),
                pg_weight=stream((0.0, 1.0)),
                kl_weight=stream((0.0, 1.0, HELD)),
                advantage=tuple(rng.gauss(0, 1) for _ in range(whole)),
                sampling_logprobs=stream((-4.0, -3.5, -3.0), 0),
                brier=(slot,),
                source=f"t{group}/{member}",
            )
            # The token right behind the prompt is predicted by the last one of the prompt.
            batch.append(replace(made, pg_weight=one(made.pg_weight, len(prompt))))
    rng.shuffle(batch)
    return batch


def one(weights: tuple[float, ...], place: int) -> tuple[float, ...]:
    return (*weights[:place], 1.0, *weights[place + 1 :])


LOSSES = {"kl_coefficient": 0.3, "temperature": 0.8, "kl_temperature": 0.7}


def step(
    maker: Maker, batch: list[TrainingSequence], share: bool, **config: Any
) -> tuple[dict[str, float], torch.Tensor]:
    """What a step logs, and the gradient before it."""
    policy, reference = maker(1), maker(0)
    if "train_last" in config:
        policy.train_last(config.pop("train_last"))
    made = trainer(policy, reference=reference, share_prefixes=share, **LOSSES | config)
    over = denominators(batch)
    made._gradients(batch, over, 0)
    found = gradient(made)
    return made.step(batch, denominators=over, step_index=0), found


def require_equal(maker: Maker, batch: list[TrainingSequence], **config: Any) -> dict[str, float]:
    """Losses and gradients with sharing against those without; what the former logs."""
    apart, expected = step(maker, batch, False, **config)
    shared, found = step(maker, batch, True, **config)
    assert apart["shared_tokens"] == 0 < shared["shared_tokens"]
    assert distance(found, expected) < 1e-5
    for name in ("loss", "ce_loss", "pg_loss", "brier_loss", "kl_loss", "entropy", "grad_norm"):
        assert shared[name] == pytest.approx(apart[name], rel=1e-5, abs=1e-6), name
    for name in ("trained_tokens", "ratio_mean", "log_ratio_abs"):
        assert shared[name] == pytest.approx(apart[name], rel=1e-5), name
    return shared


@pytest.mark.parametrize("maker", [llama, qwen, neox])
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_and_gradients_are_those_of_sequences_that_read_their_prefix_each(
    maker: Maker, seed: int
) -> None:
    batch = groups(maker(), seed)
    shared = require_equal(maker, batch)
    total = sum(len(sequence.ids) for sequence in batch)
    assert shared["forwarded_tokens"] + shared["shared_tokens"] == total
    assert min(shared[name] for name in ("ce_loss", "brier_loss", "kl_loss")) > 0


@pytest.mark.parametrize(
    "config",
    [
        {"micro_batch_tokens": 200},  # a prefix is read again in each micro-batch
        {"row_length": 200},  # several members a row
        {"share_rows": False},
        {"brier_below": 0.25},
        {"train_last": 1},
    ],
    ids=str,
)
def test_they_are_however_rows_are_cut_and_whatever_learns(config: dict[str, Any]) -> None:
    require_equal(llama, groups(llama(), 2), **config)


def test_eager_attention_and_learned_positions_share_too() -> None:
    def eager(seed: int = 0) -> Policy:
        policy = llama(seed)
        policy.model.set_attn_implementation("eager")
        return policy

    def gpt2(seed: int = 0) -> Policy:
        off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return built("GPT2", seed, head="LMHeadModel", n_inner=48, **off)

    for maker in (eager, gpt2):
        require_equal(maker, groups(maker(), 3))


def test_bfloat16_autocast_is_as_near_with_sharing_as_without() -> None:
    batch = groups(llama(), 4)
    _, exact = step(llama, batch, False)
    apart, shared = (step(llama, batch, share, bf16=True)[1] for share in (False, True))
    assert distance(shared, exact) < 1.5 * distance(apart, exact) < 0.1


def test_documents_of_one_sequence_share_what_they_begin_with() -> None:
    batch = [s for s in groups(llama(), 5) if not s.source.startswith("t0")]
    group = [sequence for sequence in batch if sequence.source.startswith("t1")]
    names = ("ids", "ce_weight", "pg_weight", "kl_weight", "advantage", "sampling_logprobs")
    starts = [sum(len(s.ids) for s in group[:n]) for n in range(len(group))]
    joined = TrainingSequence(
        **{name: sum((getattr(s, name) for s in group), ()) for name in names},
        starts=tuple(starts),
        brier=tuple(
            replace(slot, position=slot.position + start)
            for s, start in zip(group, starts, strict=True)
            for slot in s.brier
        ),
        source="t1",
    )
    rest = [sequence for sequence in batch if sequence not in group]
    shared = require_equal(llama, [joined, *rest])
    assert shared["shared_tokens"] == step(llama, [*group, *rest], True)[0]["shared_tokens"]


def test_a_step_repeats_byte_for_byte() -> None:
    batch = groups(llama(), 6)
    hashes = set[str]()
    for _ in range(2):
        policy = llama(1)
        made = trainer(policy, reference=llama(), **LOSSES)
        assert made.step(batch, denominators=denominators(batch), step_index=0)["shared_tokens"]
        hashes.add(policy.sha256())
    assert len(hashes) == 1


def test_a_group_in_one_micro_batch_is_read_once() -> None:
    batch = [s for s in groups(llama(), 7, num=2) if s.source.startswith("t1")]
    prompt = next(n for n in range(200) if len({s.ids[n] for s in batch if n < len(s.ids)}) > 1)
    stats, _ = step(llama, batch, True)
    assert stats["forwarded_tokens"] <= prompt + sum(len(s.ids) - prompt for s in batch) + 2
    assert stats["shared_tokens"] >= (prompt - 2) * (len(batch) - 1)


def test_the_twin_with_positions_that_start_anew_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = groups(qwen(), 0)
    _, expected = step(qwen, batch, False)
    monkeypatch.setattr("forethought.training.scoring.can_share", lambda policy: True)
    real = rows.row_features

    def anew(policy: Policy, packed: PackedBatch) -> torch.Tensor:
        if packed.prefixes is not None:
            first = packed.prefixes.lengths[packed.prefix_of_row()]
            packed = replace(packed, position=(packed.position - first[:, None]).clip(0))
        return real(policy, packed)

    monkeypatch.setattr("forethought.training.scoring.row_features", anew)
    assert distance(step(qwen, batch, True)[1], expected) > 1e-3


def blind(prefixes: Any, document: torch.Tensor) -> torch.Tensor:
    """A mask that shows the documents and no prefix."""
    own = rows.document_mask(document)
    unseen = own.new_zeros((*document.shape, prefixes.ids.shape[1]))
    return torch.cat([unseen, own], dim=2)


def test_the_twin_whose_mask_hides_the_prefix_is_found_and_would_not_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = groups(qwen(), 0)
    _, expected = step(qwen, batch, False)
    monkeypatch.setattr(rows, "prefix_mask", blind)
    assert not can_share(qwen())
    fallen, found = step(qwen, batch, True)
    assert fallen["shared_tokens"] == 0 and distance(found, expected) == 0
    monkeypatch.setattr("forethought.training.scoring.can_share", lambda policy: True)
    assert distance(step(qwen, batch, True)[1], expected) > 1e-3


def test_the_twin_that_keeps_keys_without_their_gradient_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = groups(qwen(), 0)
    _, expected = step(qwen, batch, False)
    real = rows._handed_out
    monkeypatch.setattr(rows, "_handed_out", lambda kept, counts: real(kept.detach(), counts))
    assert distance(step(qwen, batch, True)[1], expected) > 1e-3


def window() -> Policy:
    return built("Mistral", num_key_value_heads=2, sliding_window=64)


def states() -> Policy:
    return built("Mamba", state_size=4, expand=2, attn_implementation="eager")


def alibi() -> Policy:
    return built("Bloom", n_head=4, n_layer=2, attn_implementation="eager")


def moving() -> Policy:
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    return built("Llama", num_key_value_heads=2, rope_parameters=rope)


def recomputing() -> Policy:
    policy = llama()
    policy.model.model.gradient_checkpointing = True
    return policy


@pytest.mark.parametrize("maker", [window, states, alibi, moving, recomputing])
def test_models_that_cannot_share_train_as_before(maker: Maker) -> None:
    policy = maker()
    assert not can_share(policy)
    batch = groups(policy, 0)
    made = trainer(policy, share_rows=False)
    assert made.step(batch, denominators=denominators(batch), step_index=0)["shared_tokens"] == 0


def test_a_reference_that_cannot_share_keeps_the_policy_from_it() -> None:
    policy, batch = qwen(), groups(qwen(), 0)
    made = trainer(policy, reference=window(), share_rows=False, **LOSSES)
    stats = made.step(batch, denominators=denominators(batch), step_index=0)
    assert stats["shared_tokens"] == 0
