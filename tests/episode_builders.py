"""Judged episodes for tests: one turn that answers, and what a test changes in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from forethought.types import Action, Episode, EpisodeTurn, Foresight, StopReason


def answering(answer: str | None = "y", block: Foresight | None = None) -> EpisodeTurn:
    """A turn that answers."""
    return EpisodeTurn(
        text="x",
        format_ok=True,
        foresight=block,
        action=Action(kind="answer", text=answer or ""),
        observation="",
    )


def block_of(q: float | None) -> Foresight:
    """A block that states a number."""
    return Foresight(roadmap="r", keywords=("k",), analysis="a", q=q)


def episode_of(turn: EpisodeTurn, success: int | None, **changes: Any) -> Episode:
    """An episode of one turn that was right or not."""
    made = Episode(
        task_id="t",
        rollout=0,
        env="search_qa",
        split="test",
        question="?",
        answers=("y",),
        answer="y",
        success=success,
        reward=float(success or 0),
        judge="exact",
        stop_reason=StopReason.ANSWER,
        error=None,
        turns=(turn,),
    )
    return replace(made, **changes)
