"""Rows of episodes.jsonl and steps.jsonl, and the data types they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from forethought.errors import InputError
from forethought.jsonl import need
from forethought.types import (
    Action,
    Choice,
    Episode,
    EpisodeTurn,
    Foresight,
    JsonRow,
    RolloutError,
    StopReason,
)

EPISODE_SCHEMA = "forethought.episode/1"
STEP_SCHEMA = "forethought.step/1"
NUMBER = (int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One line of steps.jsonl: a turn with its hindsight block, placebos and filters."""

    task_id: str
    split: str
    world_seed: int | None
    source_policy: str
    step: int
    state: str
    action: Action
    future: tuple[str, ...]  # observations from this turn on
    alternatives: tuple[JsonRow, ...]  # {"action", "observation", "s", "k"}
    label: JsonRow  # {"value", "source", "s", "k", "prior"}
    block: JsonRow
    placebo: JsonRow  # {"shuffled", "blind", "constant"}: blocks
    outcome: int
    filters: dict[str, bool]  # leak code -> whether it rejects the block


def episode_to_row(episode: Episode) -> JsonRow:
    """The line of an episode."""
    error = episode.error
    return {
        "schema": EPISODE_SCHEMA,
        "task_id": episode.task_id,
        "rollout": episode.rollout,
        "world_seed": episode.world_seed,
        "split": episode.split,
        "env": episode.env,
        "question": episode.question,
        "answers": list(episode.answers),
        "answer": episode.answer,
        "success": episode.success,
        "reward": episode.reward,
        "judge": episode.judge,
        "stop_reason": episode.stop_reason.value,
        "error": None if error is None else {"kind": error.kind, "message": error.message},
        "tokens": {
            "prompt": episode.tokens_prompt,
            "sampled": episode.tokens_sampled,
            "observation": episode.tokens_observation,
            **({"extra": episode.tokens_extra} if episode.tokens_extra else {}),
        },
        "wall_s": round(episode.wall_s, 4),
        "choice": None if episode.choice is None else asdict(episode.choice),
        **({"group": episode.group} if episode.group else {}),
        **_beside_the_judge(episode),
        "turns": [_turn_row(turn) for turn in episode.turns],
    }


def _beside_the_judge(episode: Episode) -> JsonRow:
    """What only an evaluation with a judge has."""
    reason = {"judge_reason": episode.judge_reason} if episode.judge_reason else {}
    if episode.success_em is None:
        return reason
    return {**reason, "success_em": episode.success_em, "f1": episode.f1}


def _turn_row(turn: EpisodeTurn) -> JsonRow:
    action = turn.action
    return {
        "text": turn.text,
        "format_ok": turn.format_ok,
        "foresight": None if turn.foresight is None else block_row(turn.foresight),
        "action": None if action is None else {"kind": action.kind, "text": action.text},
        "observation": turn.observation,
        "tool_error": turn.tool_error,
        "oracle_p": turn.oracle_p,
        "copied": turn.copied,
        "keywords_novel": list(turn.keywords_novel),
        "keywords_hit": list(turn.keywords_hit),
        "contrast": turn.contrast,
        "q_expected": turn.q_expected,
        "q_levels": None if turn.q_levels is None else [round(p, 6) for p in turn.q_levels],
        "sampled_tokens": turn.sampled_tokens,
        "problems": list(turn.problems),
    }


def block_row(block: Foresight) -> JsonRow:
    """A block as JSON."""
    return {
        "roadmap": block.roadmap,
        "keywords": list(block.keywords),
        "analysis": block.analysis,
        "q": block.q,
        "q_text": block.q_text,
    }


def episode_from_row(row: JsonRow, where: str, line: int) -> Episode:
    """The episode of a line.

    Raises:
        InputError: another schema, or a field that is absent or does not fit; names file and line.
    """
    if row.get("schema") != EPISODE_SCHEMA:
        raise _misfit(where, line, f"schema = {row.get('schema')!r}", f"{EPISODE_SCHEMA!r}")
    success = _maybe(row, "success", int, where, line)
    tokens = need(row, "tokens", dict, where, line)
    stop = need(row, "stop_reason", str, where, line)
    if stop not in list(StopReason):
        raise _misfit(where, line, f"stop_reason = {stop!r}", " | ".join(StopReason))
    error = _maybe(row, "error", dict, where, line)
    if success not in (0, 1, None) or (success is None and error is None):
        raise _misfit(where, line, f"success = {success!r}", "0, 1, or null beside an error")
    turns = need(row, "turns", list, where, line)
    choice = _maybe(row, "choice", dict, where, line)
    return Episode(
        task_id=need(row, "task_id", str, where, line),
        rollout=need(row, "rollout", int, where, line),
        env=need(row, "env", str, where, line),
        split=need(row, "split", str, where, line),
        question=need(row, "question", str, where, line),
        answers=_texts(row, "answers", where, line),
        answer=_maybe(row, "answer", str, where, line),
        success=success,
        reward=float(need(row, "reward", NUMBER, where, line)),
        judge=_maybe(row, "judge", str, where, line) or "",
        stop_reason=StopReason(stop),
        error=None if error is None else _error(error, where, line),
        turns=tuple(_turn(turn, where, line) for turn in turns),
        world_seed=_maybe(row, "world_seed", int, where, line),
        tokens_prompt=_count(tokens, "prompt", where, line),
        tokens_sampled=_count(tokens, "sampled", where, line),
        tokens_observation=_count(tokens, "observation", where, line),
        tokens_extra=_count(tokens, "extra", where, line) if "extra" in tokens else 0,
        wall_s=float(_maybe(row, "wall_s", NUMBER, where, line) or 0.0),
        choice=None if choice is None else _choice(choice, where, line),
        group=_maybe(row, "group", str, where, line) or "",
        judge_reason=_maybe(row, "judge_reason", str, where, line) or "",
        success_em=_bit(row, "success_em", where, line),
        f1=_share(row, "f1", where, line),
    )


def _error(row: Mapping[str, Any], where: str, line: int) -> RolloutError:
    return RolloutError(
        kind=need(row, "kind", str, where, line), message=need(row, "message", str, where, line)
    )


def _choice(row: Mapping[str, Any], where: str, line: int) -> Choice:
    values = {key: float(need(row, key, NUMBER, where, line)) for key in ("chosen", "mean", "best")}
    return Choice(**values)


def _turn(row: Any, where: str, line: int) -> EpisodeTurn:
    if not isinstance(row, dict):
        raise _misfit(where, line, f"a turn that is a {type(row).__name__}", "an object")
    block = _maybe(row, "foresight", dict, where, line)
    action = _maybe(row, "action", dict, where, line)
    levels = _maybe(row, "q_levels", list, where, line)
    return EpisodeTurn(
        text=need(row, "text", str, where, line),
        format_ok=need(row, "format_ok", bool, where, line),
        foresight=None if block is None else block_of_row(block, where, line),
        action=None if action is None else _action(action, where, line),
        observation=need(row, "observation", str, where, line),
        tool_error=_maybe(row, "tool_error", bool, where, line) or False,
        q_expected=_share(row, "q_expected", where, line),
        q_levels=None if levels is None else _numbers(levels, "q_levels", where, line),
        oracle_p=_share(row, "oracle_p", where, line),
        copied=_maybe(row, "copied", bool, where, line),
        keywords_novel=_texts(row, "keywords_novel", where, line, optional=True),
        keywords_hit=_texts(row, "keywords_hit", where, line, optional=True),
        contrast=_maybe(row, "contrast", NUMBER, where, line),
        sampled_tokens=_count(row, "sampled_tokens", where, line) if "sampled_tokens" in row else 0,
        problems=_texts(row, "problems", where, line, optional=True),
    )


def _action(row: Mapping[str, Any], where: str, line: int) -> Action:
    return Action(
        kind=need(row, "kind", str, where, line), text=need(row, "text", str, where, line)
    )


def block_of_row(row: Mapping[str, Any], where: str, line: int) -> Foresight:
    """The block that a JSON object stands for.

    Raises:
        InputError: a field is absent or does not fit.
    """
    q = _share(row, "q", where, line)
    return Foresight(
        roadmap=need(row, "roadmap", str, where, line),
        keywords=_texts(row, "keywords", where, line),
        analysis=need(row, "analysis", str, where, line),
        q=None if q is None else float(q),
        q_text=_maybe(row, "q_text", str, where, line) or "",
    )


def step_to_row(record: StepRecord) -> JsonRow:
    """The line of a step record."""
    return {
        "schema": STEP_SCHEMA,
        "task_id": record.task_id,
        "split": record.split,
        "world_seed": record.world_seed,
        "source_policy": record.source_policy,
        "step": record.step,
        "state": record.state,
        "action": {"kind": record.action.kind, "text": record.action.text},
        "future": list(record.future),
        "alternatives": [dict(row) for row in record.alternatives],
        "label": dict(record.label),
        "block": dict(record.block),
        "placebo": dict(record.placebo),
        "outcome": record.outcome,
        "filters": dict(record.filters),
    }


def step_from_row(row: JsonRow, where: str, line: int) -> StepRecord:
    """The step record of a line.

    Raises:
        InputError: another schema, or a field that is absent or does not fit; names file and line.
    """
    if row.get("schema") != STEP_SCHEMA:
        raise _misfit(where, line, f"schema = {row.get('schema')!r}", f"{STEP_SCHEMA!r}")
    return StepRecord(
        task_id=need(row, "task_id", str, where, line),
        split=need(row, "split", str, where, line),
        world_seed=_maybe(row, "world_seed", int, where, line),
        source_policy=need(row, "source_policy", str, where, line),
        step=need(row, "step", int, where, line),
        state=need(row, "state", str, where, line),
        action=_action(need(row, "action", dict, where, line), where, line),
        future=_texts(row, "future", where, line),
        alternatives=tuple(need(row, "alternatives", list, where, line)),
        label=need(row, "label", dict, where, line),
        block=need(row, "block", dict, where, line),
        placebo=need(row, "placebo", dict, where, line),
        outcome=need(row, "outcome", int, where, line),
        filters=need(row, "filters", dict, where, line),
    )


def _maybe(row: Mapping[str, Any], key: str, kind: Any, where: str, line: int) -> Any:
    """The value of a field that may be null or absent."""
    return None if row.get(key) is None else need(row, key, kind, where, line)


def _share(row: Mapping[str, Any], key: str, where: str, line: int) -> float | None:
    """A number in [0, 1]; null or absent: none."""
    value = _maybe(row, key, NUMBER, where, line)
    if value is not None and not 0 <= value <= 1:
        raise _misfit(where, line, f"{key} = {value}", "a number in [0, 1] or null")
    return value if value is None else float(value)


def _bit(row: Mapping[str, Any], key: str, where: str, line: int) -> int | None:
    """0 or 1; null or absent: none."""
    value: int | None = _maybe(row, key, int, where, line)
    if value not in (0, 1, None):
        raise _misfit(where, line, f"{key} = {value}", "0, 1 or null")
    return value


def _count(row: Mapping[str, Any], key: str, where: str, line: int) -> int:
    value: int = need(row, key, int, where, line)
    if value < 0:
        raise _misfit(where, line, f"{key} = {value}", "a whole number from 0 on")
    return value


def _numbers(values: list[Any], key: str, where: str, line: int) -> tuple[float, ...]:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise _misfit(where, line, f"{key} = {values!r:.60}", f'"{key}" as a list of numbers')
    return tuple(float(value) for value in values)


def _texts(
    row: Mapping[str, Any], key: str, where: str, line: int, *, optional: bool = False
) -> tuple[str, ...]:
    if optional and row.get(key) is None:
        return ()
    values = need(row, key, list, where, line)
    if not all(isinstance(value, str) for value in values):
        raise _misfit(where, line, f"{key} = {values!r:.60}", f'"{key}" as a list of texts')
    return tuple(values)


def _misfit(where: str, line: int, got: str, expected: str) -> InputError:
    return InputError(
        where,
        line=line,
        got=got,
        expected=expected,
        next_step="mend the line, or write the file again with this version",
    )
