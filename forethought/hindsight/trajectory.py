"""Trajectories as text, before any block is written: what stage 0 collects and rewrites.

A `Trajectory` keeps the thought, the action and the reply of each turn, and the verdict. It comes
from a rollout of a policy or from recorded annotations, and is rendered anew, with or without
blocks, by `forethought.hindsight.corpus`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forethought.types import Action, Rollout, StopReason, Task, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One turn without a block."""

    think: str
    action: Action
    observation: str  # "" after an answer
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One finished attempt as text."""

    task: Task
    source_policy: str
    steps: tuple[Step, ...]
    success: bool
    stop_reason: StopReason

    @property
    def num_calls(self) -> int:
        """Number of turns that call a tool; a block may look ahead from each of them."""
        return sum(step.action.kind != "answer" for step in self.steps)

    def future(self, step: int) -> tuple[str, ...]:
        """Observations from turn `step` on, empty ones left out."""
        return tuple(s.observation for s in self.steps[step:] if s.observation)

    def state(self, step: int) -> str:
        """What the policy has seen and written before turn `step`, as text."""
        seen = [self.task.question]
        for past in self.steps[:step]:
            seen += [past.think, past.action.text, past.observation]
        return "\n".join(part for part in seen if part)


def steps_of(turns: Sequence[Turn]) -> tuple[Step, ...] | None:
    """The turns as text; None when one of them is not well formed and so cannot be rewritten."""
    steps: list[Step] = []
    for turn in turns:
        if turn.parsed.action is None or not turn.parsed.format_ok:
            return None
        steps.append(
            Step(
                think=turn.parsed.think,
                action=turn.parsed.action,
                observation=turn.observation,
                failed=turn.tool_error,
            )
        )
    return tuple(steps)


def from_rollout(rollout: Rollout, *, success: bool, source_policy: str) -> Trajectory | None:
    """The text of a judged rollout; None when one of its turns is not well formed."""
    steps = steps_of(rollout.turns)
    if steps is None:
        return None
    return Trajectory(
        task=rollout.task,
        source_policy=source_policy,
        steps=steps,
        success=success,
        stop_reason=rollout.stop_reason,
    )
