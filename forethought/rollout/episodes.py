"""From a rollout to its episode: judged, without tokens, as it stands in episodes.jsonl."""

from __future__ import annotations

from collections.abc import Sequence

from forethought.foresight.levels import expected_level
from forethought.rewards.ruling import Ruling
from forethought.rewards.terms import RewardConfig, judge_rollout
from forethought.types import (
    Episode,
    EpisodeTurn,
    Rollout,
    RolloutError,
    StopReason,
    Task,
    Truth,
    Turn,
)


def to_episode(
    rollout: Rollout,
    reward: RewardConfig,
    env: str,
    *,
    levels: Sequence[tuple[float, ...] | None] | None = None,
    truth: Truth | None = None,
    ruling: Ruling | None = None,
) -> Episode:
    """Judges a rollout and drops its tokens.

    Args:
        rollout: the finished attempt.
        reward: how it is judged.
        env: name of the environment.
        levels: per turn the 21 level probabilities, None where there is no slot.
        truth: what the world knows about it, where it knows anything.
        ruling: of a judge, where one is on; without a verdict the machine has failed the rollout.
    """
    judged = judge_rollout(rollout, reward, ruling)
    error, heard = rollout.error, ruling is not None and ruling.right is not None
    if ruling is not None and not heard and error is None:
        error = RolloutError(kind="judge", message=ruling.reason)
    known = truth or Truth()
    count = len(rollout.turns)
    turns = tuple(
        _turn(
            turn,
            levels[number] if levels is not None else turn.level_probs,
            (known.p or (None,) * count)[number],
            (known.copied or (None,) * count)[number],
        )
        for number, turn in enumerate(rollout.turns)
    )
    return Episode(
        task_id=rollout.task.id,
        rollout=rollout.index,
        env=env,
        split=rollout.task.split,
        question=rollout.task.question,
        answers=rollout.task.answers,
        answer=rollout.answer,
        success=judged.success,
        reward=judged.reward,
        judge=judged.judge,
        stop_reason=rollout.stop_reason if error is None else StopReason.ERROR,
        error=error,
        turns=turns,
        world_seed=rollout.task.world_seed,
        tokens_prompt=len(rollout.prompt_ids),
        tokens_sampled=sum(len(turn.ids) for turn in rollout.turns),
        tokens_observation=sum(len(turn.observation_ids) for turn in rollout.turns),
        tokens_extra=rollout.extra_tokens,
        wall_s=rollout.wall_s,
        choice=known.choice,
        group=_kind(rollout.task),
        judge_reason=ruling.reason if ruling is not None and heard else "",
        success_em=int(ruling.exact) if ruling is not None and heard else None,
        f1=ruling.f1 if ruling is not None and heard else None,
    )


def _kind(task: Task) -> str:
    """The kind of a task: its row's own word, else whether it lies in a world's held-out slice."""
    columns = task.columns
    held_out = ("composed" if columns["composed"] else "seen") if "composed" in columns else ""
    return str(columns.get("group", held_out))


def _turn(
    turn: Turn, levels: tuple[float, ...] | None, oracle: float | None, copied: bool | None
) -> EpisodeTurn:
    return EpisodeTurn(
        text=turn.text,
        format_ok=turn.parsed.format_ok,
        foresight=turn.parsed.foresight,
        action=turn.parsed.action,
        observation=turn.observation,
        tool_error=turn.tool_error,
        q_expected=None if levels is None else expected_level(levels),
        q_levels=levels,
        oracle_p=oracle,
        copied=copied,
        sampled_tokens=len(turn.ids),
        problems=turn.parsed.problems,
    )
