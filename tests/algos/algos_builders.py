"""One-line builders of episodes and rollouts for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence

from forethought.types import (
    Action,
    Episode,
    EpisodeTurn,
    Foresight,
    ParsedTurn,
    Rollout,
    RolloutError,
    Span,
    StopReason,
    Task,
    Turn,
)

SEARCH = Action(kind="search", text="query")
ANSWER = Action(kind="answer", text="yes")


def turn(
    q: float | None = None,
    keywords: Sequence[str] = (),
    observation: str = "",
    *,
    block: bool = True,
    think: str = "well",
    action: Action | None = SEARCH,
) -> EpisodeTurn:
    foresight = None
    text = ""
    if block:
        stated = "" if q is None else f"{round(100 * q)}%"
        foresight = Foresight(
            roadmap="a road", keywords=tuple(keywords), analysis="fine", q=q, q_text=stated
        )
        text = (
            f"<imaginary> a road </imaginary> <keyword> {' , '.join(keywords)} </keyword> "
            f"<analysis> fine </analysis> <confidence> {stated} </confidence> "
        )
    text += f"<think> {think} </think>"
    if action is not None:
        text += f" <{action.kind}> {action.text} </{action.kind}>"
    return EpisodeTurn(
        text=text, format_ok=True, foresight=foresight, action=action, observation=observation
    )


def episode(
    turns: Sequence[EpisodeTurn],
    reward: float,
    *,
    task: str = "t",
    success: int | None = None,
    stop: StopReason = StopReason.ANSWER,
    question: str = "who",
) -> Episode:
    failed = stop is StopReason.ERROR
    won = int(reward > 0.5) if success is None else success
    return Episode(
        task_id=task,
        rollout=0,
        env="search",
        split="train",
        question=question,
        answers=("yes",),
        answer=None,
        success=None if failed else won,
        reward=reward,
        judge="exact",
        stop_reason=stop,
        error=RolloutError(kind="tool", message="down") if failed else None,
        turns=tuple(turns),
    )


def sampled_turn(spans: str, first_id: int, *, q: float | None = 0.5, observation: int = 2) -> Turn:
    """A turn from a string of span letters: i k a c t x(action) o(other); ids count up."""
    names = {
        "i": Span.IMAGINARY,
        "k": Span.KEYWORD,
        "a": Span.ANALYSIS,
        "c": Span.CONFIDENCE,
        "t": Span.THINK,
        "x": Span.ACTION,
        "o": Span.OTHER,
    }
    ids = tuple(range(first_id, first_id + len(spans)))
    block = None
    if "i" in spans:
        block = Foresight(roadmap="r", keywords=("k",), analysis="a", q=q, q_text="50%")
    end = first_id + len(spans)
    return Turn(
        ids=ids,
        logprobs=tuple(-0.1 * (n + 1) for n in range(len(ids))),
        text=spans,
        parsed=ParsedTurn(foresight=block, think="t", action=SEARCH, problems=(), spans=()),
        token_spans=tuple(names[letter] for letter in spans),
        observation="seen" if observation else "",
        observation_ids=tuple(range(end, end + observation)),
    )


def rollout(turns: Sequence[Turn], prompt: Sequence[int] = (1, 2, 3)) -> Rollout:
    return Rollout(
        task=Task(id="t", question="who", answers=("yes",), kind="qa"),
        index=0,
        env="search",
        prompt_ids=tuple(prompt),
        turns=tuple(turns),
        answer=None,
        stop_reason=StopReason.ANSWER,
        error=None,
        wall_s=0.0,
    )
