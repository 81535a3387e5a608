"""Evaluation: tasks in, episodes.jsonl and summary.json out; every figure comes from the episodes.

One harness for every policy: a trained model, and the scripted policies of a synthetic world, act
through the same engine, environment, parser and judge. Noise is keyed by task, so two policies are
compared on the same tasks with the same noise.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forethought.chat.judge import LlmJudge
from forethought.domains import Domain
from forethought.evals.estimate import Estimate
from forethought.foresight.grounding import keyword_record
from forethought.jsonl import write_json, write_jsonl
from forethought.progress import progress, say
from forethought.rewards.ruling import Judge, Ruling, rulings
from forethought.rewards.terms import RewardConfig
from forethought.rollout.backend import Backend
from forethought.rollout.engine import EngineConfig, Start, run_rollouts_sync
from forethought.rollout.episodes import to_episode
from forethought.rollout.render import TextFormat
from forethought.runlog import episode_to_row
from forethought.stats.summary import Labels, summarise
from forethought.training.levels import score_levels
from forethought.training.policy import Policy
from forethought.types import Episode, JsonRow, Rollout, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSetting:
    """How tasks are evaluated."""

    domain: Domain
    engine: EngineConfig
    reward: RewardConfig
    judge: Judge | None = None  # asked where an answer is no exact match; None: nobody is
    seed: int
    split: str
    mode: str = "foresight"
    samples: int = 1  # rollouts a task
    smoke: bool = False
    resamples: int = 2000
    wave: int = 256  # rollouts between two lines of progress
    label: str = ""  # what progress calls it
    estimate: Estimate | None = None  # q of a policy that writes none


def tasks_hash(tasks: Sequence[Task]) -> str:
    """sha256 of the ids, questions and answers of the tasks in order."""
    text = json.dumps([[t.id, t.question, list(t.answers)] for t in tasks])
    return hashlib.sha256(text.encode()).hexdigest()


def noise_key(setting: EvalSetting, task: Task, sample: int) -> tuple[int, ...]:
    """The key of a rollout's noise: the same for every policy that is evaluated on the task."""
    return (setting.seed, 4, zlib.crc32(task.id.encode()), sample)


def make_starts(setting: EvalSetting, tasks: Sequence[Task]) -> list[Start]:
    """One start for each task and sample."""
    return [
        Start(
            task=task,
            env=setting.domain.make_env(),
            index=sample,
            noise=noise_key(setting, task, sample),
            mode=setting.mode,
        )
        for task in tasks
        for sample in range(setting.samples)
    ]


def roll_out(
    setting: EvalSetting,
    starts: Sequence[Start],
    backend: Backend,
    tokenizer: Any,
    text_format: TextFormat | None = None,
) -> list[Rollout]:
    """The rollouts of all starts, in order, `setting.wave` at a time with progress between.

    `text_format`: how the tasks look as text; None: as the domain says.
    """
    form = text_format or setting.domain.text_format
    rollouts: list[Rollout] = []
    with progress(f"rolling out {setting.label}".rstrip(), len(starts)) as bar:
        for first in range(0, len(starts), setting.wave):
            wave = starts[first : first + setting.wave]
            rollouts += run_rollouts_sync(wave, backend, form, tokenizer, setting.engine)
            bar.advance(len(wave))
    return rollouts


def judge_all(
    setting: EvalSetting, rollouts: Sequence[Rollout], policy: Policy | None
) -> list[Episode]:
    """Episodes with expected q, oracle values and keyword fields filled in.

    Args:
        setting: environment name, reward, domain.
        rollouts: finished attempts.
        policy: scores the 21 levels at each confidence slot; None: no expected q.
    """
    temperature = setting.engine.sampling.temperature or 1.0
    levels = None if policy is None else score_levels(policy, rollouts, temperature=temperature)
    ruled = _rulings(setting, rollouts)
    episodes = [
        to_episode(
            rollout,
            setting.reward,
            setting.domain.env_name,
            levels=None if levels is None else levels[number],
            truth=setting.domain.truth(rollout),
            ruling=ruling,
        )
        for number, (rollout, ruling) in enumerate(zip(rollouts, ruled, strict=True))
    ]
    if setting.estimate is not None:
        episodes = setting.estimate.fill(episodes)
    records = keyword_record(episodes)
    return [
        replace(
            episode,
            turns=tuple(
                replace(turn, keywords_novel=k.novel, keywords_hit=k.hit, contrast=k.contrast)
                for turn, k in zip(episode.turns, record, strict=True)
            ),
        )
        for episode, record in zip(episodes, records, strict=True)
    ]


def _rulings(setting: EvalSetting, rollouts: Sequence[Rollout]) -> list[Ruling | None]:
    """The judge's, with a word on what it takes before it is asked, and on what did not come."""
    if isinstance(setting.judge, LlmJudge):
        say(f"judge {setting.judge.name}: {setting.judge.estimate(rollouts)}")
    ruled = rulings(rollouts, setting.judge)
    silent = [ruling for ruling in ruled if ruling is not None and ruling.right is None]
    if silent:
        say(
            f"{len(silent)} of {len(rollouts)} rollouts got no verdict ({silent[0].reason}): they "
            "are in no statistic. None of them is an exact match, so the success of the others is "
            "too high"
        )
    return ruled


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Attempts with their tokens and as judged episodes, in the same order."""

    rollouts: Sequence[Rollout]  # () where their tokens are not known: then none are written
    episodes: Sequence[Episode]
    model_sha256: str
    data_sha256: str


def write_evaluation(setting: EvalSetting, result: Evaluated, out: Path) -> dict[str, Any]:
    """Writes episodes.jsonl, tokens.jsonl and summary.json; returns the summary.

    Args:
        setting: seed, split and labels of the summary.
        result: what was rolled out and judged.
        out: folder of the evaluation.
    """
    episodes = result.episodes
    write_jsonl(out / "episodes.jsonl", (episode_to_row(episode) for episode in episodes))
    tokens = out / "tokens.jsonl"
    if result.rollouts:
        write_jsonl(tokens, (token_row(rollout) for rollout in result.rollouts))
    else:
        tokens.unlink(missing_ok=True)
    labels = Labels(
        seed=setting.seed,
        split=setting.split,
        smoke=setting.smoke,
        judge="exact" if setting.judge is None else setting.judge.name,
        model_sha256=result.model_sha256,
        data_sha256=result.data_sha256,
    )
    summary = summarise(episodes, labels, resamples=setting.resamples)
    write_json(out / "summary.json", summary)
    return summary


def token_row(rollout: Rollout) -> JsonRow:
    """The sampled ids of a rollout as one line of tokens.jsonl."""
    return {
        "task_id": rollout.task.id,
        "rollout": rollout.index,
        "prompt_ids": list(rollout.prompt_ids),
        "turns": [
            {
                "ids": list(turn.ids),
                "logprobs": [round(value, 6) for value in turn.logprobs],
                "observation_ids": list(turn.observation_ids),
            }
            for turn in rollout.turns
        ],
    }
