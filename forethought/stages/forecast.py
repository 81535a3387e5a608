"""What a run will cost on this machine, from a calibration of about half a minute.

A few training steps and a few episodes of the real model are timed; the forecast multiplies them
by what the configuration asks for. It is printed before the run and decides nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from forethought.config import RunConfig
from forethought.progress import say

BUDGET_S = 30.0


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


def load_of(config: RunConfig, episode_tokens: int, sampled_tokens: int) -> Load:
    """Tokens that every stage trains on and samples.

    Args:
        config: the run.
        episode_tokens: tokens of a typical episode, prompt included.
        sampled_tokens: tokens of it that the policy writes.
    """
    rl_rollouts = config.rl.updates * config.rl.prompts * config.rl.group_size
    arms = 1 + len(config.control.arms)
    trained = config.prepare.num_episodes * config.midtrain.epochs
    trained += arms * config.sft.num_episodes * config.sft.epochs
    evals = (2 + 2 * arms) * config.eval.num_tasks * (2 if config.eval.greedy_too else 1)
    labels = 0 if config.prepare.outcome_only else config.prepare.num_episodes
    labels += config.sft.num_episodes if config.sft.relabel else 0
    sampled = arms * rl_rollouts + evals + labels * config.prepare.continuations
    return Load(
        train_tokens=(trained + arms * rl_rollouts) * episode_tokens,
        sample_tokens=float(sampled * sampled_tokens),
    )


def measure_speed(config: RunConfig) -> Speed:
    """Times training steps and sampling of the configured model within the budget."""
    import torch

    from forethought.data.models import resolve_model
    from forethought.training.policy import Policy

    policy = Policy.load(resolve_model(config.model.name), dtype=config.model.dtype)
    policy.train_last(config.model.train_last_layers)
    ids = torch.randint(10, 1000, (4, 192))
    deadline = time.monotonic() + BUDGET_S / 2
    begun, trained = time.monotonic(), 0
    while trained == 0 or time.monotonic() < deadline:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.sft.bf16):
            loss = policy.model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        policy.model.zero_grad(set_to_none=True)
        trained += ids.numel()
    train_speed = trained / (time.monotonic() - begun)
    begun = time.monotonic()
    prompt = ids[:, :64].repeat(4, 1)
    policy.model.generate(prompt, max_new_tokens=16, min_new_tokens=16, do_sample=True)
    sample_speed = prompt.shape[0] * 16 / (time.monotonic() - begun)
    return Speed(train_tokens_per_s=train_speed, sample_tokens_per_s=sample_speed)


def print_forecast(config: RunConfig) -> None:
    """Prints how long the run will take on this machine."""
    say(f"calibrating for about {BUDGET_S:.0f} s ...")
    speed = measure_speed(config)
    load = load_of(config, episode_tokens=220, sampled_tokens=130)
    train_min = load.train_tokens / speed.train_tokens_per_s / 60
    sample_min = load.sample_tokens / speed.sample_tokens_per_s / 60
    say(
        f"forecast: {speed.train_tokens_per_s:.0f} trained and {speed.sample_tokens_per_s:.0f} "
        f"sampled tokens/s; about {train_min:.0f} min of training and {sample_min:.0f} min of "
        "sampling"
    )
