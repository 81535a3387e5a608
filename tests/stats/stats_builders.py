"""Episodes in one line."""

from __future__ import annotations

from forethought.types import Action, Episode, EpisodeTurn, Foresight, RolloutError, StopReason


def turn(
    q: float | None = 0.5,
    *,
    expected: float | None = None,
    kind: str = "search",
    novel: tuple[str, ...] = (),
    hit: tuple[str, ...] = (),
    contrast: float | None = None,
    oracle: float | None = None,
    ok: bool = True,
    copied: bool | None = None,
    silent: bool = False,
) -> EpisodeTurn:
    """A turn that states q (None: no block)."""
    block = None
    if q is not None:
        block = Foresight(roadmap="r", keywords=(), analysis="a", q=q, q_text=f"{q:.0%}")
    return EpisodeTurn(
        text="t",
        format_ok=ok,
        foresight=block,
        action=Action(kind=kind, text="x"),
        observation="" if silent or kind == "answer" else "o",
        q_expected=q if expected is None else expected,
        oracle_p=oracle,
        keywords_novel=novel,
        keywords_hit=hit,
        contrast=contrast,
        copied=copied,
    )


def episode(
    task: str, success: int, *turns: EpisodeTurn, rollout: int = 0, failed: bool = False
) -> Episode:
    """A judged attempt; `failed` = lost to the machine."""
    return Episode(
        task_id=task,
        rollout=rollout,
        env="search_qa",
        split="val",
        question="gera of east : a mentor mentor ; 3",
        answers=("buzur",),
        answer=None if failed else "buzur",
        success=None if failed else success,
        reward=float(success),
        judge="exact",
        stop_reason=StopReason.ERROR if failed else StopReason.ANSWER,
        error=RolloutError(kind="tool", message="gone") if failed else None,
        turns=turns,
        tokens_sampled=10 * len(turns),
    )
