"""Stage 3, FC-RL: fresh groups from the policy, credit for each span, one update a batch.

The eight calls of the main path: tasks -> rollouts -> verdicts -> credit -> training sequences ->
packed batch -> optimiser step -> the back-end takes the new weights. Everything that an update
needs from before it (weights, optimiser, the value fit) is in the checkpoint, so a killed run goes
on to the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from forethought.algos.batching import reinforced
from forethought.algos.credit import credit_episodes
from forethought.algos.values import ValueFit, fit_values
from forethought.errors import GuardRail, InputError
from forethought.jsonl import read_log
from forethought.progress import progress, say
from forethought.rewards.ruling import rulings
from forethought.rewards.terms import RewardConfig
from forethought.rollout.engine import Start, run_rollouts_sync
from forethought.rollout.episodes import to_episode
from forethought.rollout.hf.backend import HFBackend, backend_for
from forethought.runlog import MetricsLog
from forethought.schema import RlConfig
from forethought.stages.context import Context
from forethought.stages.example import keep_example
from forethought.stats.batch import (
    batch_stats,
    mixed_tasks,
    q_histogram,
    span_stats,
    stated_skill,
)
from forethought.tools.threads import run_async
from forethought.training import checkpoint
from forethought.training.credit import credit_config, reinforce_config
from forethought.training.information import block_information
from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.refit import refit_levels
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import Episode, Rollout, Task, TrainingSequence, TurnCredit

TASK_OFFSET = 50_000  # where the tasks of stage 3 begin, behind those of stage 0
HELD_SHARE = 8  # one in so many rollouts of the refit shows it what the other tokens are
REFITS = 2
NOTHING = TurnCredit(plan=0.0, confidence=0.0, act=0.0, analysis=0.0)


def run(context: Context, policy: Policy) -> Policy:
    """Runs `rl.updates` updates; returns the policy, saved as rl/model.

    Raises:
        GuardRail: too many rollouts lost to the machine, or a loss that is not finite.
    """
    section = context.config.rl
    folder = context.stage_dir("rl")
    policy.train_last(context.config.model.train_last_layers)
    # Before the checkpoint is read: the reference is the policy that the stage began with.
    reference = policy.copy() if section.kl > 0 else None
    config = _trainer_config(section, one_token_levels=policy.level_ids() is not None)
    embedding_lr = None if config.brier_below is None else section.readout_lr
    optim = OptimConfig(**section.optim.model_dump(), embedding_lr=embedding_lr)
    trainer = Trainer(policy, optim, config, reference)
    guard = {"config": context.config_hash, "data": "rl"}
    done, fit = _resume(context, policy, trainer, guard)
    backend = backend_for(policy, context.config.rollout)  # what it records serves every update
    log = MetricsLog(folder / "metrics.jsonl")
    log.truncate_after(done)
    if done == 0:
        (folder / "example.json").unlink(missing_ok=True)
    with progress(f"{context.eval_name('rl')}: updates", section.updates, done) as bar:
        for update in range(done, section.updates):
            tasks = context.domain.tasks(
                "train", section.prompts, offset=TASK_OFFSET + update * section.prompts
            )
            rollouts = sample_groups(context, policy, backend, tasks, update)
            stats, fit = one_update(context, policy, trainer, rollouts, fit, update)
            log.append(update + 1, **stats)
            bar.advance(note=f"reward {stats['reward']:.2f}")
            last = update + 1 == section.updates
            if (update + 1) % section.checkpoint_every == 0 and not last:
                state = {"step": update + 1, "seed": context.config.seed, **guard}
                state["fit"] = None if fit is None else asdict(fit)
                checkpoint.save(folder / "checkpoints", policy, trainer.optimiser, state)
    if config.brier_below is not None and section.refit_rollouts:
        _refit(context, policy, backend, log)
    policy.save(folder / "model")
    return policy


def _refit(context: Context, policy: Policy, backend: HFBackend, log: MetricsLog) -> None:
    """Fits the numbers of the finished policy to fresh rollouts of it, one a task, twice.

    The second time the rollouts read the numbers of the first: a later number sees earlier ones.
    """
    section = context.config.rl
    offset = TASK_OFFSET + section.updates * section.prompts
    reward = reward_config(section)
    for number in range(REFITS):
        tasks = context.domain.tasks("train", section.refit_rollouts, offset=offset)
        offset += len(tasks)
        rollouts = _sample(context, policy, backend, tasks, members=1, key=(4, number))
        sequences: list[TrainingSequence] = []
        for place, (rollout, episode) in enumerate(
            zip(rollouts, judged(context, rollouts, reward), strict=True)
        ):
            if episode.error is not None:
                continue
            sequence = _sequence(context, policy, rollout, [NOTHING] * len(rollout.turns), episode)
            sequences.append(_fitted(sequence, rollout, shows_others=place % HELD_SHARE == 0))
        if not any(sequence.brier for sequence in sequences):
            say(f"{context.eval_name('rl')}: no rollout states a number that could be fitted")
            return
        found = refit_levels(policy, sequences, ridge=section.refit_ridge)
        stats = {f"refit_{name}": value for name, value in found.items()}
        log.append(section.updates + 1 + number, **stats)


def _fitted(
    sequence: TrainingSequence, rollout: Rollout, *, shows_others: bool
) -> TrainingSequence:
    """The slots of a rollout to be fitted, and the tokens whose probabilities are to be kept.

    The number before an answer is kept: labels taught it from the outcome of that very answer, so
    the policy reads it as a word for which answer is right, and another number gets another answer.
    """
    kept = list(sequence.kl_weight) if shows_others else [0.0] * len(sequence.ids)
    slots, last = sequence.brier, rollout.turns[-1].parsed
    answers = last.action is not None and last.action.kind == "answer"
    if answers and slots and last.foresight is not None and last.foresight.q is not None:
        slots, held = slots[:-1], slots[-1]
        kept[held.position] = 1.0
    return replace(sequence, pg_weight=(), kl_weight=tuple(kept), brier=slots)


def _resume(
    context: Context, policy: Policy, trainer: Trainer, guard: dict[str, str]
) -> tuple[int, ValueFit | None]:
    folder = context.stage_dir("rl") / "checkpoints"
    if not context.resume or checkpoint.latest(folder) is None:
        return 0, None
    state = checkpoint.load(folder, policy, trainer.optimiser, guard)
    say(f"{context.eval_name('rl')}: going on after update {state['step']}")
    fit = state.get("fit")
    try:
        return int(state["step"]), None if fit is None else ValueFit.from_dict(fit)
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{checkpoint.latest(folder)}/state.json",
            got=f"a fit that is none ({error})",
            expected="the coefficients that stage 3 wrote, or null",
            next_step="restore the folder, or remove it and start again without --resume",
        ) from error


def _trainer_config(section: RlConfig, *, one_token_levels: bool) -> TrainerConfig:
    exact = section.profile == "causal" and one_token_levels
    return TrainerConfig(
        micro_batch_tokens=section.micro_batch_tokens,
        bf16=section.bf16,
        clip_grad_norm=section.clip_grad_norm,
        total_steps=section.updates,
        temperature=section.temperature,
        clip_low=section.clip_low,
        clip_high=section.clip_high,
        kl_coefficient=section.kl,
        kl_temperature=section.kl_temperature,
        brier_coefficient=section.c_q if exact else 0.0,
        brier_below=section.brier_below if exact else None,
    )


def sample_groups(
    context: Context, policy: Policy, backend: HFBackend, tasks: Sequence[Task], update: int
) -> list[Rollout]:
    """`rl.group_size` rollouts of each task at the training temperature, group by group."""
    members = context.config.rl.group_size
    return _sample(context, policy, backend, tasks, members=members, key=(3, update))


def _sample(
    context: Context,
    policy: Policy,
    backend: HFBackend,
    tasks: Sequence[Task],
    *,
    members: int,
    key: tuple[int, int],
) -> list[Rollout]:
    """`members` rollouts of each task; `key` sets the noise apart from that of other samples."""
    run_async(backend.load_weights(policy, key[1]))
    starts = [
        Start(
            task=task,
            env=context.domain.make_env(),
            index=member,
            noise=(context.config.seed, *key, number, member),
            mode=context.prompt_after("rl"),
        )
        for number, task in enumerate(tasks)
        for member in range(members)
    ]
    engine = context.engine(temperature=context.config.rl.temperature)
    return run_rollouts_sync(starts, backend, context.domain.text_format, policy.tokenizer, engine)


def one_update(
    context: Context,
    policy: Policy,
    trainer: Trainer,
    rollouts: Sequence[Rollout],
    fit: ValueFit | None,
    update: int,
) -> tuple[dict[str, float], ValueFit | None]:
    """Scores, credits and trains on one batch of rollouts; returns statistics and the next fit."""
    section = context.config.rl
    reward = reward_config(section)
    episodes = judged(context, rollouts, reward)
    valid = [number for number, episode in enumerate(episodes) if episode.error is None]
    lost = len(rollouts) - len(valid)
    if lost > section.max_failed_share * len(rollouts):
        first = next(e.error for e in episodes if e.error is not None)
        raise GuardRail(
            f"{lost} of {len(rollouts)} rollouts were lost ({first.kind}: {first.message})"
        )
    log = context.stage_dir("rl") / "metrics.jsonl"
    skill = recent_skill(log) if section.lam < 1 else None
    credits = credit_episodes(episodes, credit_config(section, skill), value_fit=fit)
    sequences = [
        _sequence(context, policy, rollouts[number], credits[number], episodes[number])
        for number in valid
    ]
    members = [(rollouts[n], episodes[n], s) for n, s in zip(valid, sequences, strict=True)]
    keep_example(context.stage_dir("rl") / "example.json", update, policy.tokenizer, members)
    if section.equal_groups == "drop":
        mixed = mixed_tasks(episodes)
        sequences = [
            s for n, s in zip(valid, sequences, strict=True) if episodes[n].task_id in mixed
        ]
    active = [s for s in sequences if any(s.advantage) or s.brier]
    blocks = sum(len(sequence.brier) for sequence in sequences)
    weighed = sum(sum(weight > 0 for weight in s.pg_weight) for s in sequences)
    constant = len(sequences) * section.reference_tokens
    denominators = Denominators(
        pg=float(max(constant if section.average == "constant" else weighed, 1)),
        brier=float(max(blocks, 1)),
    )
    stats: dict[str, float] = {}
    if section.information_every and update % section.information_every == 0:
        stats |= block_information(policy, rollouts, section.temperature)
    if active:
        stats |= trainer.step(active, denominators=denominators, step_index=update)
    stats |= batch_stats(episodes, section.group_size) | stated_skill(episodes)
    stats |= q_histogram(episodes) | span_stats(rollouts)
    next_fit = fit_values(episodes) if section.profile == "causal" else None
    if next_fit is not None:
        stats |= {f"value_beta_{k + 1}": beta for k, beta in enumerate(next_fit.beta)}
    return stats, next_fit


def judged(context: Context, rollouts: Sequence[Rollout], reward: RewardConfig) -> list[Episode]:
    """The episodes of rollouts; a judge, where one is on, hears all of them in one batch."""
    return [
        to_episode(rollout, reward, context.domain.env_name, ruling=ruling)
        for rollout, ruling in zip(rollouts, rulings(rollouts, context.judge), strict=True)
    ]


def recent_skill(file: Path) -> float | None:
    """Mean Brier skill of the stated q over the last ten updates; None before there are ten."""
    rows = [row for _, row in read_log(file)] if file.is_file() else []
    skills = [row["q_brier_skill"] for row in rows if row.get("q_brier_skill") is not None][-10:]
    return sum(skills) / 10 if len(skills) == 10 else None


def reward_config(section: RlConfig) -> RewardConfig:
    """The reward that stage 3 trains on; by default the outcome, and penalties for broken turns."""
    return RewardConfig(terms=section.terms, malformed_penalty=section.malformed_penalty)


def _sequence(
    context: Context,
    policy: Policy,
    rollout: Rollout,
    credits: Sequence[TurnCredit],
    episode: Episode,
) -> TrainingSequence:
    config = reinforce_config(
        context.config.rl,
        outcome=float(episode.success or 0),
        level_ids=policy.level_ids(),
        decision_ids=policy.word_ids(context.domain.writer.decisions),
    )
    return reinforced(rollout, credits, config)
