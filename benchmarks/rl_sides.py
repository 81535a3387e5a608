"""The two sides of `rl_step.py`, each with its own copy of the policy, and whether they agree."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch
from gradients import SAME, apart, gradient_of
from search_world import (
    FORMAT,
    RESPONSE_TEMPLATE,
    Lengths,
    Library,
    World,
    build_pages,
    build_world,
    drawn_reward,
    make_tasks,
)
from trl_side import PLAIN, Stepper

from forethought.algos.batching import ReinforceConfig, reinforced
from forethought.algos.credit import CreditConfig, credit_episodes
from forethought.rewards.grading import grade
from forethought.rewards.terms import RewardConfig
from forethought.rollout.backend import Sampling
from forethought.rollout.engine import EngineConfig, Start, run_rollouts_sync
from forethought.rollout.episodes import to_episode
from forethought.rollout.hf.backend import HFBackend
from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import Rollout, Task, TrainingSequence

RATE = 1e-6
CLIP = (0.2, 0.28)
MOVED = 0.02  # standard deviation of what is added to the weights before losses are compared


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played, and how often."""

    size: str = "1m"
    lengths: Lengths = field(default_factory=Lengths)
    turns: int = 4
    prompts: int = 8
    members: int = 8
    silent: bool = False  # nobody wins in every second group
    updates: int = 6
    micro: int | None = None  # sequences of a micro-batch of the peer; None: all

    @property
    def episodes(self) -> int:
        """Of one update."""
        return self.prompts * self.members


@dataclass(slots=True)
class Counted:
    """What a side has done in all its updates."""

    sampled: int = 0
    forced: int = 0
    played_s: float = 0.0  # CPU seconds until the episodes are over
    rest_s: float = 0.0

    def __sub__(self, other: Counted) -> Counted:
        """What was done since."""
        mine, theirs = asdict(self), asdict(other)
        return Counted(**{name: mine[name] - theirs[name] for name in mine})


def _world(plan: Plan) -> tuple[World, list[Task]]:
    world = build_world(plan.size, plan.lengths)
    return world, make_tasks(world, plan.prompts * plan.updates, plan.turns)


class Ours:
    """Our update: stage 3 without its log and its checkpoints."""

    def __init__(self, plan: Plan) -> None:
        """Builds the policy, its optimiser and the back-end."""
        self.plan, self.counted = plan, Counted()
        self.world, self._tasks = _world(plan)
        self._policy, self._pages = self.world.policy, build_pages(self.world)
        self._trainer = trainer_of(self._policy, plan.updates)
        self._backend = HFBackend(self._policy.model, max_batch=plan.episodes)
        self._update = 0

    def play(self) -> list[Rollout]:
        """The groups of one update."""
        plan, update = self.plan, self._update
        tasks = self._tasks[update * plan.prompts : (update + 1) * plan.prompts]
        starts = [
            Start(
                task=task,
                env=Library(self._pages),
                index=member,
                noise=(0, 3, update, number, member),
                mode="plain",
            )
            for number, task in enumerate(tasks)
            for member in range(plan.members)
        ]
        longest = plan.lengths.sampled(plan.turns) + plan.lengths.forced(plan.turns)
        engine = EngineConfig(
            max_turns=plan.turns,
            max_context_tokens=longest + 1,
            sampling=Sampling(max_tokens=longest),
        )
        return run_rollouts_sync(starts, self._backend, FORMAT, self._policy.tokenizer, engine)

    def sequences(self, rollouts: Sequence[Rollout]) -> list[TrainingSequence]:
        """Judges and credits rollouts."""
        episodes = []
        for rollout in rollouts:
            judged = to_episode(rollout, RewardConfig(), "library")
            extra = drawn_reward(rollout.task.id, rollout.index, self.plan.silent)
            episodes.append(replace(judged, reward=judged.reward + extra))
        credits = credit_episodes(episodes, CreditConfig(profile="grpo", normaliser="centre"))
        config = ReinforceConfig(profile="grpo")
        return [reinforced(r, c, config) for r, c in zip(rollouts, credits, strict=True)]

    def step(self) -> None:
        """One update."""
        began = time.process_time()
        rollouts = self.play()
        played = time.process_time()
        sequences = self.sequences(rollouts)
        active = [sequence for sequence in sequences if any(sequence.advantage)]
        self._trainer.step(active, denominators=over(sequences), step_index=self._update)
        self._update += 1
        counted = self.counted
        counted.played_s += played - began
        counted.rest_s += time.process_time() - played
        sampled = sum(len(turn.ids) for rollout in rollouts for turn in rollout.turns)
        counted.sampled += sampled
        counted.forced += sum(len(sequence.ids) for sequence in sequences) - sampled

    def close(self) -> None:
        """Nothing is open."""


def over(sequences: Sequence[TrainingSequence]) -> Denominators:
    """The weighted tokens of all groups, silent ones included, as TRL's `dapo` counts them."""
    weighed = sum(sum(weight > 0 for weight in sequence.pg_weight) for sequence in sequences)
    return Denominators(pg=float(weighed))


def trainer_of(policy: Policy, steps: int, clip_norm: float = 1.0) -> Trainer:
    """Our trainer with AdamW as the peer has it."""
    optim = OptimConfig(
        name="adamw", lr=RATE, betas=(0.9, 0.95), schedule="constant", warmup_fraction=0.0
    )
    config = TrainerConfig(
        total_steps=steps, clip_low=CLIP[0], clip_high=CLIP[1], clip_grad_norm=clip_norm
    )
    return Trainer(policy, optim, config)


class Peer:
    """TRL's update: `GRPOTrainer.train()`, step by step."""

    def __init__(self, plan: Plan) -> None:
        """Builds the trainer and brings it before its first step."""
        self.plan, self.counted = plan, Counted()
        self.world, tasks = _world(plan)
        environment = partial(Library, build_pages(self.world))
        self._folder = tempfile.TemporaryDirectory()
        trainer = _grpo(self, tasks, self._folder.name, environment_factory=environment)
        self._stepper = Stepper(trainer)

    def step(self) -> None:
        """One update."""
        began, played = time.process_time(), self.counted.played_s
        self._stepper.step()
        self.counted.rest_s += time.process_time() - began - (self.counted.played_s - played)

    def close(self) -> None:
        """Ends the run."""
        self._stepper.close()
        self._folder.cleanup()


def _grpo(side: Peer | Check, tasks: Sequence[Task], folder: str, **more: Any) -> Any:
    """A GRPOTrainer of the side's policy that adds to the side's counts."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    plan, world = side.plan, side.world
    world.policy.tokenizer.response_template = RESPONSE_TEMPLATE
    micro = plan.micro or plan.episodes
    config = GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=plan.episodes // micro,
        num_generations=plan.members,
        max_steps=plan.updates,
        max_completion_length=plan.lengths.sampled(plan.turns) + plan.lengths.forced(plan.turns),
        max_tool_calling_iterations=plan.turns,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta2=0.95,
        max_grad_norm=1.0,
        beta=0.0,
        loss_type="dapo",
        scale_rewards="none",
        epsilon=CLIP[0],
        epsilon_high=CLIP[1],
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        shuffle_dataset=False,
        bf16=False,
        **PLAIN,
    )

    class Counting(GRPOTrainer):  # type: ignore[misc]
        """Counts tokens and the CPU time of playing."""

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            found = super()._generate(*args, **kwargs)
            side.counted.played_s += time.process_time() - began
            return found

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            found = super()._generate_and_score_completions(inputs)
            mask = found["completion_mask"]
            sampled = int((mask * found["tool_mask"]).sum())
            side.counted.sampled += sampled
            side.counted.forced += int(mask.sum() + found["prompt_mask"].sum()) - sampled
            return found

    def reward(completions: Any, id: Any, answers: Any, **_: Any) -> list[float]:
        """The grader's word on the last message, and what is drawn."""
        return [
            float(grade("qa", answer_of(messages), accepted).correct)
            + drawn_reward(task, number % plan.members, plan.silent)
            for number, (messages, task, accepted) in enumerate(
                zip(completions, id, answers, strict=True)
            )
        ]

    rows = [
        {
            "prompt": [{"role": "user", "content": task.question}],
            "id": task.id,
            "answers": list(task.answers),
            **task.columns,
        }
        for task in tasks
    ]
    return Counting(
        model=world.policy.model,
        args=config,
        processing_class=world.policy.tokenizer,
        train_dataset=Dataset.from_list(rows),
        reward_funcs=reward,
        **more,
    )


SIDES: dict[str, type[Ours] | type[Peer]] = {"ours": Ours, "peer": Peer}


def answer_of(messages: Any) -> str | None:
    """What the last message of an episode says, if it is no call."""
    last = messages[-1]
    return None if last["role"] != "assistant" or last.get("tool_calls") else last["content"]


class Check:
    """One batch of our rollouts, whose loss both sides take."""

    def __init__(self, plan: Plan) -> None:
        """Plays the batch, then moves the weights."""
        self.plan, self.counted = replace(plan, updates=1, micro=None), Counted()
        ours = Ours(self.plan)
        self._rollouts = ours.play()
        self._sequences = ours.sequences(self._rollouts)
        self.world = ours.world
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.world.policy.model.parameters():
                parameter += MOVED * torch.randn(parameter.shape, generator=draw)

    def ours(self) -> tuple[float, list[torch.Tensor], float]:
        """Our loss, its gradient, and the share of clipped tokens."""
        policy = replace_model(self.world.policy)
        trainer = trainer_of(policy, 1, clip_norm=0.0)
        stats, gradient = gradient_of(trainer, self._sequences, over(self._sequences))
        return stats["pg_loss"], gradient, stats["clip_share"]

    def peer(self) -> tuple[float, list[torch.Tensor]]:
        """TRL's loss by its own rewards and advantages, and the gradient."""
        tasks = list({rollout.task.id: rollout.task for rollout in self._rollouts}.values())
        with tempfile.TemporaryDirectory() as folder:
            trainer = _grpo(self, tasks, folder, rollout_func=self._played)
            rows = [dict(trainer.train_dataset[n]) for n in range(self.plan.prompts)]
            trainer.model.train()
            found = trainer._generate_and_score_completions(
                [row for row in rows for _ in range(self.plan.members)]
            )
            found["old_per_token_logps"] = found["sampling_per_token_logps"]
            trainer.current_gradient_accumulation_steps = 1
            loss = trainer._compute_loss(trainer.model, found)
            loss.backward()
        return float(loss.detach()), [p.grad for p in trainer.model.parameters()]

    def _played(self, prompts: Any, trainer: Any) -> dict[str, Any]:
        """What TRL takes instead of playing."""
        found: dict[str, list[Any]] = {
            name: [] for name in ("prompt_ids", "completion_ids", "logprobs", "env_mask")
        }
        for rollout in self._rollouts:
            ids, logprobs, mask = list[int](), list[float](), list[int]()
            for turn in rollout.turns:
                ids += [*turn.ids, *turn.observation_ids]
                logprobs += [*turn.logprobs, *(0.0 for _ in turn.observation_ids)]
                mask += [1] * len(turn.ids) + [0] * len(turn.observation_ids)
            found["prompt_ids"].append(list(rollout.prompt_ids))
            for name, values in zip(list(found)[1:], (ids, logprobs, mask), strict=True):
                found[name].append(values)
        return found


def replace_model(policy: Policy) -> Policy:
    """The same weights in a model of its own, which learns."""
    return Policy(copy.deepcopy(policy.model), policy.tokenizer)


def compare(plan: Plan) -> dict[str, float]:
    """Loss and gradient of both sides on equal rollouts.

    Raises:
        SystemExit: they differ.
    """
    check = Check(plan)
    loss, gradient, clipped = check.ours()
    other, theirs = check.peer()
    found = {
        "loss": loss,
        "loss_diff": abs(loss - other),
        "grad_diff": apart(gradient, theirs),
        "clip_share": clipped,
    }
    if max(found["loss_diff"], found["grad_diff"]) > SAME:
        raise SystemExit(f"the sides differ on equal rollouts: {found}")
    return {name: float(f"{value:.3g}") for name, value in found.items()}
