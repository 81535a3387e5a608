"""Mutual information of block and task: 0 where blocks are interchangeable, at most log P."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from forethought.domains.atlas import atlas_tokenizer
from forethought.training.information import block_information, information
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.types import Rollout
from tests.algos.algos_builders import rollout, sampled_turn


def test_blocks_that_say_nothing_of_their_task_have_none() -> None:
    rng = random.Random(0)
    rows = [[rng.uniform(-9, 0)] * 5 for _ in range(5)]
    assert information(rows) == {"block_mi": pytest.approx(0.0, abs=1e-12), "block_mi_top": 0.0}


def test_blocks_possible_behind_their_own_task_alone_reach_the_bound() -> None:
    rows = [[-3.0 if i == j else -1e6 for j in range(7)] for i in range(7)]
    assert information(rows) == {"block_mi": pytest.approx(math.log(7)), "block_mi_top": 1.0}


def test_it_is_never_above_the_logarithm_of_the_tasks() -> None:
    rng = random.Random(5)
    for _ in range(200):
        size = rng.randint(2, 9)
        rows = [[rng.gauss(-20, 15) for _ in range(size)] for _ in range(size)]
        assert information(rows)["block_mi"] <= math.log(size) + 1e-12


@pytest.fixture(scope="module")
def policy() -> Policy:
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=1, kv_heads=1, ffn=16, max_positions=64)
    model = build_tiny_llama(len(tokenizer), shape, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0)  # a fresh model hardly reads its prompt
    return Policy(model=model, tokenizer=tokenizer)


def _rollout(task: str, prompt: tuple[int, ...], block: tuple[int, ...]) -> Rollout:
    turn = replace(sampled_turn("ioctx", 0), ids=(*block, 7, 8))
    made = rollout([turn], prompt)
    return replace(made, task=replace(made.task, id=task))


def _score(policy: Policy, prompt: tuple[int, ...], block: tuple[int, ...], over: float) -> float:
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*prompt, *block]])).logits[0].float()
    logprobs = (logits / over).log_softmax(-1)
    return sum(
        float(logprobs[len(prompt) + n - 1, token]) for n, token in enumerate(block)
    )  # position p predicts p + 1


def test_a_policy_is_scored_on_its_blocks_alone_at_the_temperature_of_sampling(
    policy: Policy,
) -> None:
    prompts = [(10, 11, 12), (20, 21), (30, 31, 32, 33)]
    blocks = [(40, 41, 42), (50, 51, 52), (60, 61, 62)]
    rollouts = [
        _rollout(str(i), p, b) for i, (p, b) in enumerate(zip(prompts, blocks, strict=True))
    ]
    again = [replace(rollouts[0], index=1)]  # one rollout a task counts
    for temperature in (1.0, 0.6):
        scores = [[_score(policy, p, b, temperature) for p in prompts] for b in blocks]
        found = block_information(policy, rollouts + again, temperature)
        assert found == pytest.approx(information(scores), abs=1e-4)
        assert abs(found["block_mi"]) > 0.01


def test_one_task_has_no_information(policy: Policy) -> None:
    assert block_information(policy, [_rollout("t", (1, 2), (3, 4, 5))], 1.0) == {}
