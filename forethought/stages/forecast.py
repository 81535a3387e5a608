"""What a run will cost on this machine, from a calibration of about half a minute.

A few training steps and a few episodes of the real model are timed; the forecast multiplies them
by what the configuration asks for. It is printed before the run and decides nothing. Sampling is
timed on full batches; in a run rows end at different times, so it takes longer than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forethought.progress import say
from forethought.rollout.backend import Backend, Request, Sampling
from forethought.schema import RunConfig

if TYPE_CHECKING:
    from forethought.training.policy import Policy

BUDGET_S = 30.0
EPISODE_TOKENS = 220  # of a typical episode, prompt and observations included
SAMPLED_TOKENS = 130  # those of them that the policy writes
PROMPTS = 8  # that reading is timed on


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Measured on the machine at hand."""

    train_tokens_per_s: float
    sample_tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a configuration asks for, in tokens."""

    train_tokens: float
    sample_tokens: float


def load_of(config: RunConfig) -> Load:
    """Tokens that every stage trains on and samples."""
    rl_rollouts = config.rl.updates * config.rl.prompts * config.rl.group_size
    arms = 1 + len(config.control.arms)
    trained = config.prepare.num_episodes * config.midtrain.epochs
    trained += arms * config.sft.num_episodes * config.sft.epochs
    evals = (2 + 2 * arms) * config.eval.num_tasks * (2 if config.eval.greedy_too else 1)
    labels = (
        0
        if config.prepare.outcome_only or config.prepare.labels == "teacher"
        else config.prepare.num_episodes
    )
    labels += config.sft.num_episodes if config.sft.relabel else 0
    sampled = arms * rl_rollouts + evals + labels * config.prepare.continuations
    return Load(
        train_tokens=(trained + arms * rl_rollouts) * EPISODE_TOKENS,
        sample_tokens=float(sampled * SAMPLED_TOKENS),
    )


def measure_speed(config: RunConfig) -> Speed:
    """Times training steps and sampling of the configured model within the budget."""
    from forethought.data.models import resolve_model
    from forethought.rollout.hf.backend import backend_for
    from forethought.stages.context import set_threads
    from forethought.training.policy import Policy

    set_threads(config)  # as the run will
    policy = Policy.load(resolve_model(config.model.name), dtype=config.model.dtype)
    policy.train_last(config.model.train_last_layers)
    trained = _training_speed(config, policy)
    # As many at a time as the evaluations of the run: larger batches sample faster.
    rows = min(config.rollout.max_batch, config.eval.num_tasks)
    backend = backend_for(policy, config.rollout)
    vocabulary = int(policy.model.config.vocab_size)
    return Speed(
        train_tokens_per_s=trained,
        sample_tokens_per_s=asyncio.run(sampling_speed(backend, rows, vocabulary, BUDGET_S / 2)),
    )


def _training_speed(config: RunConfig, policy: Policy) -> float:
    """Tokens a second of forward and backward passes, for half of the budget."""
    import torch

    ids = torch.arange(4 * 192, device=policy.device).view(4, 192)
    ids %= int(policy.model.config.vocab_size)
    deadline = time.monotonic() + BUDGET_S / 2
    begun, trained = time.monotonic(), 0
    while trained == 0 or time.monotonic() < deadline:
        with torch.autocast(policy.device.type, dtype=torch.bfloat16, enabled=config.sft.bf16):
            loss = policy.model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        policy.model.zero_grad(set_to_none=True)
        trained += ids.numel()
    return trained / (time.monotonic() - begun)


async def sampling_speed(backend: Backend, rows: int, vocabulary: int, seconds: float) -> float:
    """Sampled tokens a second while `rows` typical episodes are written side by side.

    Writing is timed in the middle of an episode, where the cache has its mean length, with twice
    as many tokens each time until the next wave would not fit; the last one counts. All rows have
    one beginning there, which is read once; what reading costs is timed on a few prompts.

    Args:
        backend: what the run samples with.
        rows: episodes at a time.
        vocabulary: ids are arbitrary ones below it.
        seconds: for the waves; one is run in any case.
    """
    read = EPISODE_TOKENS - SAMPLED_TOKENS
    shared = tuple(place % vocabulary for place in range(EPISODE_TOKENS))
    num, left = 4, seconds
    while True:
        start = read + (SAMPLED_TOKENS - num) // 2
        took, written = await _timed(backend, [shared[:start]] * rows, num)
        left -= took
        if 2 * num > SAMPLED_TOKENS or 2 * took > left:
            break
        num *= 2
    prompts = [
        tuple((row + place) % vocabulary for place in range(read))
        for row in range(min(rows, PROMPTS))
    ]
    reading, _ = await _timed(backend, prompts, 1)
    read_s = reading / (len(prompts) * read)
    return 1.0 / (took / written + read_s * read / SAMPLED_TOKENS)


async def _timed(
    backend: Backend, prompts: Sequence[tuple[int, ...]], num: int
) -> tuple[float, int]:
    """Seconds of a wave that writes `num` tokens behind each prompt, and the tokens written."""
    requests = [
        Request(ids=ids, session=f"{row}", noise=(row,), sampling=Sampling(max_tokens=num))
        for row, ids in enumerate(prompts)
    ]
    begun = time.monotonic()
    done = await asyncio.gather(*(backend.generate(request) for request in requests))
    took = time.monotonic() - begun
    for request in requests:
        backend.release(request.session)
    return took, sum(len(completion.ids) for completion in done)


def print_forecast(config: RunConfig) -> None:
    """Prints how long the run will take on this machine."""
    say(f"calibrating for about {BUDGET_S:.0f} s ...")
    speed = measure_speed(config)
    load = load_of(config)
    train_min = load.train_tokens / speed.train_tokens_per_s / 60
    sample_min = load.sample_tokens / speed.sample_tokens_per_s / 60
    say(
        f"forecast: {speed.train_tokens_per_s:.0f} trained and {speed.sample_tokens_per_s:.0f} "
        f"sampled tokens/s; about {train_min:.0f} min of training and at least {sample_min:.0f} "
        "min of sampling"
    )
