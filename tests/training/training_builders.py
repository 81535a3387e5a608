"""Tiny policies of both tokenizer kinds, random sequences, and turns with a stated number."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from forethought.rollout.spans import decode, token_spans
from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama, build_word_tokenizer
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import (
    CharSpan,
    Foresight,
    ParsedTurn,
    Rollout,
    Span,
    StopReason,
    Task,
    TrainingSequence,
    Turn,
)

SHAPE = ModelShape(hidden=32, layers=2, heads=2, kv_heads=1, ffn=48, max_positions=256)
TAGS = ("<confidence>", "</confidence>", "<think>", "</think>", "<answer>", "</answer>")
NUMERALS = tuple(str(5 * number) for number in range(21))
WORDS = (*NUMERALS, *["%", ";", "a", "b", "c", "d", "e", "f", "g", "h"])
FIRST_WORD = 4  # ids below are control tokens


def word_policy(seed: int = 0, shape: ModelShape = SHAPE) -> Policy:
    """Every numeral is one token."""
    tokenizer = build_word_tokenizer(WORDS, TAGS)
    return Policy(build_tiny_llama(len(tokenizer), shape, seed), tokenizer)


def byte_tokenizer() -> Any:
    """One token a byte, but "10" is one: levels take two or three tokens with the "%"."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: n for n, piece in enumerate(["<pad>", "<bos>", "<eos>", *alphabet, "10"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("1", "0")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def byte_policy(seed: int = 0) -> Policy:
    """Numerals are cut into digits."""
    tokenizer = byte_tokenizer()
    return Policy(build_tiny_llama(len(tokenizer), SHAPE, seed), tokenizer)


def sequences(
    policy: Policy, num: int, seed: int = 0, *, low: int = 5, high: int = 40
) -> list[TrainingSequence]:
    """Random ids with random weights in both token losses, about half of them 0."""
    rng = random.Random(seed)
    made = []
    for number in range(num):
        length = rng.randint(low, high)
        weights = [[0.0, *(rng.choice((0.0, 1.0, 0.5)) for _ in range(length - 1))] for _ in "cp"]
        made.append(
            TrainingSequence(
                ids=tuple(rng.randrange(FIRST_WORD, len(policy.tokenizer)) for _ in range(length)),
                ce_weight=tuple(weights[0]),
                pg_weight=tuple(weights[1]),
                kl_weight=tuple(float(weight != 0) for weight in weights[1]),
                advantage=tuple(rng.gauss(0, 1) for _ in range(length)),
                sampling_logprobs=tuple(rng.uniform(-5, -2) for _ in range(length)),
                source=f"t{number}/0",
            )
        )
    return made


def denominators(batch: list[TrainingSequence]) -> Denominators:
    """Cross-entropy by weight, policy gradient by rollouts."""
    return Denominators(
        ce=sum(sum(s.ce_weight) for s in batch), pg=10.0 * len(batch), brier=float(len(batch))
    )


def trainer(
    policy: Policy,
    optim: OptimConfig | None = None,
    *,
    reference: Policy | None = None,
    **config: Any,
) -> Trainer:
    """A trainer of six steps."""
    made = TrainerConfig(**{"total_steps": 6} | config)
    return Trainer(policy, optim or OptimConfig(), made, reference)


def turn(policy: Policy, text: str, stated: str, q: float | None, observation: str = "") -> Turn:
    """A turn whose confidence element is `stated`, a part of `text`."""
    ids = tuple(policy.tokenizer.encode(text, add_special_tokens=False))
    shown = decode(policy.tokenizer, ids)
    start = shown.index(stated)
    spans = (CharSpan(span=Span.CONFIDENCE, start=start, end=start + len(stated)),)
    block = Foresight(roadmap="r", keywords=(), analysis="", q=q, q_text=stated)
    return Turn(
        ids=ids,
        logprobs=(0.0,) * len(ids),
        text=shown,
        parsed=ParsedTurn(foresight=block, think="", action=None, problems=(), spans=spans),
        token_spans=token_spans(policy.tokenizer, ids, shown, spans),
        observation=observation,
        observation_ids=tuple(policy.tokenizer.encode(observation, add_special_tokens=False)),
    )


def rollout(policy: Policy, prompt: str, turns: list[Turn]) -> Rollout:
    return Rollout(
        task=Task(id="t", question="?", answers=("a",), kind="qa"),
        index=0,
        env="toy",
        prompt_ids=tuple(policy.tokenizer.encode(prompt, add_special_tokens=False)),
        turns=tuple(turns),
        answer=None,
        stop_reason=StopReason.ANSWER,
        error=None,
        wall_s=0.0,
    )


def divergence(
    logits: torch.Tensor, reference: torch.Tensor, weight: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Weighted sum of KL(logits || reference)."""
    log_pi, log_ref = ((x / temperature).log_softmax(-1) for x in (logits, reference))
    each = torch.nn.functional.kl_div(log_ref, log_pi, log_target=True, reduction="none")
    return weight @ each.sum(-1)


def gradient(maker: Trainer) -> torch.Tensor:
    """Of all parameters that have one, end to end."""
    parts = [p.grad for p in maker.policy.model.parameters() if p.grad is not None]
    return torch.cat([part.flatten() for part in parts])


def loss_and_gradient(
    policy: Policy, batch: list[TrainingSequence], over: Denominators, **config: Any
) -> tuple[float, torch.Tensor]:
    """Of a whole batch."""
    maker = trainer(policy, **config)
    _, loss = maker._gradients(batch, over, 0)
    return loss, gradient(maker)


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far two gradients are apart, as a share of the second."""
    return float((found - expected).norm() / expected.norm())


def in_chunks(patch: pytest.MonkeyPatch, tokens: int, *, again: bool = True) -> None:
    """Projects that many tokens at a time; `again`: their logits are computed again."""
    for name, value in (("_TOKENS", tokens), ("_LOGITS", 0), ("_KEPT", 0 if again else 1 << 30)):
        patch.setattr(f"forethought.training.scoring.{name}", value)
