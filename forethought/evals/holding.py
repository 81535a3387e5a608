"""Abstain and escalate: what a low estimate is good for while the policy acts.

`abstain-Q` plays an episode to its end and withholds its answer where the last expected q is below
Q %. `abstain-Q-first` asks behind the first turn and spends nothing further. `escalate-Q-K` asks
there too and hands the task to the dearer imagine-K. A turn without a readable q holds nothing
back. With Q = 0 each of them plays what `faithful` plays, token for token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forethought.evals.imagine import block_ids, imagine_first
from forethought.evals.run import EvalSetting, make_starts, roll_out
from forethought.foresight.levels import expected_level
from forethought.rollout.backend import Backend
from forethought.training.levels import score_levels
from forethought.training.policy import Policy
from forethought.types import Rollout, StopReason, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A policy that is asked how sure it is."""

    setting: EvalSetting
    policy: Policy
    backend: Backend
    threshold: float  # of the expected q, in [0, 1]

    def abstain(self, tasks: Sequence[Task]) -> list[Rollout]:
        """Whole rollouts; the unsure ones end as abstained, with what they did and no answer."""
        rollouts = self._roll_out(self.setting, tasks)
        return [
            rollout
            if goes_on or rollout.error is not None
            else replace(rollout, answer=None, stop_reason=StopReason.ABSTAIN)
            for rollout, goes_on in zip(rollouts, self._sure(rollouts), strict=True)
        ]

    def abstain_first(self, tasks: Sequence[Task]) -> list[Rollout]:
        """Rollouts of which the unsure ones end behind their first turn, its call not made."""
        engine = replace(self.setting.engine, gate=self._sure)
        return self._roll_out(replace(self.setting, engine=engine), tasks)

    def escalate(self, tasks: Sequence[Task], k: int) -> list[Rollout]:
        """One rollout a task; the unsure tasks are played anew from the best of `k` first blocks.

        The first block that was unsure is one of the k, so what it cost beside them is the rest of
        its turn.
        """
        first = self.abstain_first(tasks)
        held = [n for n, rollout in enumerate(first) if rollout.stop_reason is StopReason.ABSTAIN]
        again = imagine_first(self.setting, [tasks[n] for n in held], self.policy, self.backend, k)
        played = list(first)
        for place, rollout in zip(held, again, strict=True):
            turn = first[place].turns[0]
            wasted = len(turn.ids) - len(block_ids(turn))
            played[place] = replace(rollout, extra_tokens=rollout.extra_tokens + wasted)
        return played

    def _roll_out(self, setting: EvalSetting, tasks: Sequence[Task]) -> list[Rollout]:
        starts = make_starts(setting, tasks)
        return roll_out(setting, starts, self.backend, self.policy.tokenizer)

    def _sure(self, rollouts: Sequence[Rollout]) -> list[bool]:
        """Whether the expected q of the last turn of each reaches the threshold, or is unknown."""
        temperature = self.setting.engine.sampling.temperature or 1.0
        scored = score_levels(self.policy, rollouts, temperature=temperature)
        last = [levels[-1] if levels else None for levels in scored]
        return [one is None or expected_level(one) >= self.threshold for one in last]
