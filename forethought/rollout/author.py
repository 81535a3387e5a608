"""Rollouts written by a program instead of sampled: what supervised stages train on.

The text of each turn is encoded once, turn by turn, and observations as the engine would append
them, so a taught sequence has the same token boundaries as a sampled one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from forethought.rollout.render import TextFormat
from forethought.types import Rollout, StopReason, Task, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoredTurn:
    """What the policy should write, and what the environment replied ("" = nothing)."""

    text: str
    observation: str


def author(
    task: Task,
    turns: Sequence[AuthoredTurn],
    text_format: TextFormat,
    tokenizer: Any,
    mode: str,
) -> Rollout:
    """The turns as a rollout with spans; log-probabilities are 0, nothing was sampled.

    Args:
        task: the problem.
        turns: texts and replies in order.
        text_format: prompt, parse and wrapping of observations.
        tokenizer: a Hugging Face tokenizer.
        mode: "foresight", "plain" or "free": which prompt, and how turns are parsed.
    """
    made = [_turn(turn, text_format, tokenizer, mode) for turn in turns]
    last = made[-1].parsed.action if made else None
    answered = last is not None and last.kind == "answer"
    return Rollout(
        task=task,
        index=0,
        env="authored",
        prompt_ids=tuple(text_format.encode_prompt(tokenizer, task, mode)),
        turns=tuple(made),
        answer=last.text if answered and last is not None else None,
        stop_reason=StopReason.ANSWER if answered else StopReason.DONE,
        error=None,
        wall_s=0.0,
    )


def _turn(turn: AuthoredTurn, text_format: TextFormat, tokenizer: Any, mode: str) -> Turn:
    ids = text_format.encode_turn(tokenizer, turn.text)
    made = text_format.build_turn(tokenizer, ids, (0.0,) * len(ids), mode)
    observed = text_format.encode_observation(tokenizer, turn.observation)
    return replace(
        made, observation=turn.observation, observation_ids=observed if turn.observation else ()
    )
