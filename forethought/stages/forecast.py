"""What a run will cost on this machine, from a calibration of about half a minute.

A few training steps and a few episodes of the real model are timed; the forecast multiplies them
by what the configuration asks for, in episodes of the size that the first trajectories of the
domain have. It is printed before the run and decides nothing. Sampling is timed on full batches; in
a run rows end at different times, so it takes longer than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from forethought.errors import InputError
from forethought.progress import say
from forethought.rollout.backend import Backend, Request, Sampling
from forethought.schema import RunConfig
from forethought.tools.threads import run_async

if TYPE_CHECKING:
    from forethought.domains import Domain
    from forethought.training.policy import Policy
    from forethought.types import Rollout

BUDGET_S = 30.0
EPISODE_TOKENS = 220  # of a typical episode, prompt and observations included
SAMPLED_TOKENS = 130  # those of them that the policy writes
LOOKED_AT = 32  # trajectories that tell the size of an episode
PROMPTS = 8  # that reading is timed on
LABEL_Q = 0.5  # of the blocks that are counted: every level is as long


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSize:
    """Of an episode, on average; without trajectories a typical one is assumed."""

    tokens: float = EPISODE_TOKENS  # prompt, blocks and observations included
    as_turns: float = 2 * EPISODE_TOKENS  # read as single turns, each behind its history
    sampled: float = SAMPLED_TOKENS  # those of them that the policy writes
    states: float = 1.0  # turns whose label is measured
    continued: float = SAMPLED_TOKENS  # sampled by a continuation from such a turn, without blocks
    looked_at: int = 0  # trajectories; 0 = assumed

    def __str__(self) -> str:
        told = f"of {self.looked_at} first attempts" if self.looked_at else "assumed"
        return f"{self.tokens:.0f} tokens an episode, {self.sampled:.0f} of them sampled ({told})"


ASSUMED = EpisodeSize()


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


def size_of(config: RunConfig, domain: Domain, tokenizer: Any) -> EpisodeSize:
    """The size of the first trajectories of a domain, as its policy would write them.

    `ASSUMED` where there is none. A teacher's blocks are taken to be as long as those by rule.
    """
    from forethought.hindsight.teacher import TeacherWriter
    from forethought.stages.labels import as_rollout

    try:
        found = domain.trajectories(min(LOOKED_AT, config.prepare.num_episodes), tokenizer)
    except InputError:  # rows that nothing is made from; what is malformed stops the run itself
        found = []
    if not found:
        return ASSUMED
    writer = domain.writer.rules if isinstance(domain.writer, TeacherWriter) else domain.writer
    whole, bare = [], []
    for made in found:
        steps = range(len(made.steps))
        blocks = [writer.write(made, step, LABEL_Q) for step in steps]
        whole.append(as_rollout(made, domain.text_format, tokenizer, blocks))
        bare.append(as_rollout(made, domain.text_format, tokenizer))
    states = sum(len(rollout.turns) - 1 for rollout in bare)
    return EpisodeSize(
        tokens=fmean(len(each.prompt_ids) + _written(each) + _shown(each) for each in whole),
        as_turns=fmean(map(_as_turns, whole)),
        sampled=fmean(map(_written, whole)),
        states=states / len(bare),
        # From behind turn t all later ones are written: turn t is, once for each before it.
        continued=sum(t * len(turn.ids) for each in bare for t, turn in enumerate(each.turns))
        / max(states, 1),
        looked_at=len(found),
    )


def _written(rollout: Rollout) -> int:
    return sum(len(turn.ids) for turn in rollout.turns)


def _shown(rollout: Rollout) -> int:
    return sum(len(turn.observation_ids) for turn in rollout.turns)


def _as_turns(rollout: Rollout) -> int:
    read, history = 0, len(rollout.prompt_ids)
    for turn in rollout.turns:
        read += history + len(turn.ids)
        history += len(turn.ids) + len(turn.observation_ids)
    return read


def load_of(config: RunConfig, size: EpisodeSize = ASSUMED) -> Load:
    """Tokens that every stage trains on and samples."""
    rl_rollouts = config.rl.updates * config.rl.prompts * config.rl.group_size
    arms = 1 + len(config.control.arms)
    sample = size.tokens if config.sft.samples == "episodes" else size.as_turns
    whole = config.prepare.num_episodes * config.midtrain.epochs + arms * rl_rollouts
    trained = whole * size.tokens
    trained += arms * config.sft.num_episodes * config.sft.epochs * sample
    evals = (2 + 2 * arms) * config.eval.num_tasks * (config.eval.attempts + config.eval.greedy_too)
    return Load(
        train_tokens=trained,
        sample_tokens=(arms * rl_rollouts + evals) * size.sampled
        + _continuations(config, size) * size.continued,
    )


def _continuations(config: RunConfig, size: EpisodeSize) -> float:
    """Continuations that measure labels: k of each labelled turn and executed alternative."""
    section = config.prepare
    unmeasured = section.outcome_only or section.labels == "teacher"
    states = 0.0 if unmeasured else section.num_episodes * size.states
    if config.sft.relabel and config.teaches_blocks and config.midtrain.epochs > 0:
        states += min(config.sft.num_episodes, section.num_episodes) * size.states
    return (states + section.branch_states * section.alternatives) * section.continuations


def measure_speed(config: RunConfig, size: EpisodeSize = ASSUMED) -> Speed:
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
        sample_tokens_per_s=run_async(
            sampling_speed(backend, rows, vocabulary, BUDGET_S / 2, size)
        ),
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


async def sampling_speed(
    backend: Backend, rows: int, vocabulary: int, seconds: float, size: EpisodeSize = ASSUMED
) -> float:
    """Sampled tokens a second while `rows` typical episodes are written side by side.

    Writing is timed in the middle of an episode, where the cache has its mean length, with twice
    as many tokens each time until the next wave would not fit; the last one counts. All rows have
    one beginning there, which is read once; what reading costs is timed on a few prompts.

    Args:
        backend: what the run samples with.
        rows: episodes at a time.
        vocabulary: ids are arbitrary ones below it.
        seconds: for the waves; one is run in any case.
        size: of an episode.
    """
    sampled = max(round(size.sampled), 1)
    read = max(round(size.tokens) - sampled, 1)
    shared = tuple(place % vocabulary for place in range(read + sampled))
    num, left = min(4, sampled), seconds
    while True:
        start = read + (sampled - num) // 2
        took, written = await _timed(backend, [shared[:start]] * rows, num)
        left -= took
        if 2 * num > sampled or 2 * took > left:
            break
        num *= 2
    prompts = [
        tuple((row + place) % vocabulary for place in range(read))
        for row in range(min(rows, PROMPTS))
    ]
    reading, _ = await _timed(backend, prompts, 1)
    read_s = reading / (len(prompts) * read)
    return 1.0 / (took / written + read_s * read / sampled)


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
    from forethought.domains import make_domain, make_tokenizer

    domain = make_domain(config)
    size = size_of(config, domain, make_tokenizer(config, domain))
    say(f"calibrating for about {BUDGET_S:.0f} s ...")
    speed = measure_speed(config, size)
    load = load_of(config, size)
    train_min = load.train_tokens / speed.train_tokens_per_s / 60
    sample_min = load.sample_tokens / speed.sample_tokens_per_s / 60
    say(
        f"forecast: {size}; {speed.train_tokens_per_s:.0f} trained and "
        f"{speed.sample_tokens_per_s:.0f} sampled tokens/s; about {train_min:.0f} min of training "
        f"and at least {sample_min:.0f} min of sampling"
    )
