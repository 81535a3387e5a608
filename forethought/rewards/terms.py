"""From a finished rollout to its success and its reward: a sum of named terms.

The default is the search reward of arXiv 2606.27483: 1 for a right answer, -0.01 for each turn
without an action. A rollout that the machine ended (`error`) has no success and no reward of its
own; every other end without a right answer is a failure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from forethought.errors import InputError
from forethought.rewards.ruling import Ruling, exact_ruling
from forethought.types import Rollout

MIN_CHANCE = 0.01
"""Floor of a chance in the logarithmic score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """Which terms are summed."""

    terms: tuple[str, ...] = ("outcome", "invalid_actions")  # names of `TERMS`
    invalid_penalty: float = 0.01  # for each turn without an action; the paper's value
    malformed_penalty: float = 0.1  # for each turn that the strict format refuses

    def __post_init__(self) -> None:
        """Refuses unknown terms.

        Raises:
            InputError: a name that is not in `TERMS`.
        """
        for name in self.terms:
            if name not in TERMS:
                raise InputError(
                    "reward.terms",
                    got=repr(name),
                    expected=" | ".join(TERMS),
                    next_step="see `forethought list terms`",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the terms know of a rollout."""

    success: bool
    num_turns: int
    num_invalid: int  # turns without an action
    num_malformed: int = 0  # turns with an action that the strict format refuses
    num_failed_calls: int = 0  # turns whose call failed for the policy's reasons
    q: float | None = None  # the estimate of the last turn; None = not readable


class Judgement(NamedTuple):
    """What a rollout is worth."""

    success: int | None  # 1 | 0 | None = the machine failed, in no statistic
    reward: float  # sum of the terms; 0.0 where success is None
    judge: str  # how the verdict was reached: `Ruling.how`, or "error:KIND"


def outcome(facts: Facts, config: RewardConfig) -> float:
    """1 for a right answer, else 0."""
    return float(facts.success)


def invalid_actions(facts: Facts, config: RewardConfig) -> float:
    """A small penalty for each turn without an action (0.01 in arXiv 2606.27483)."""
    return -config.invalid_penalty * facts.num_invalid


def malformed_turns(facts: Facts, config: RewardConfig) -> float:
    """A penalty for each turn that acts but breaks the format; not in the paper.

    Actions run whether or not the block around them parses, so without it nothing in stage 3 holds
    the format together.
    """
    return -config.malformed_penalty * facts.num_malformed


def maths_paper(facts: Facts, config: RewardConfig) -> float:
    """+-1 with the tool terms of arXiv 2606.27483, instead of `outcome`.

    With N turns and r = 0.05 (N - 2): a wrong answer gets min(0, -1 + r), a right one 1 + [N > 2].
    So a wrong answer is paid for every further turn, and a right one doubles at the third.
    """
    return _paid_by_turns(facts.success, facts.num_turns)


def maths_paper_executed(facts: Facts, config: RewardConfig) -> float:
    """`maths_paper` with N = turns that did something: calls that ran without failure, the answer.

    A call that failed and a turn without an action do not count, so that none of them pays; calls
    that run and find nothing still do. Not in the paper, which pays for every turn.
    """
    return _paid_by_turns(
        facts.success, facts.num_turns - facts.num_invalid - facts.num_failed_calls
    )


def _paid_by_turns(success: bool, num_turns: int) -> float:
    if success:
        return 1.0 + float(num_turns > 2)
    return min(0.0, -1.0 + 0.05 * (num_turns - 2))


def calibration(facts: Facts, config: RewardConfig) -> float:
    """-(q - I)^2 of the last estimate, -1 without one (RLCR, arXiv 2507.16806, with `outcome`)."""
    return -1.0 if facts.q is None else -((facts.q - float(facts.success)) ** 2)


def log_score(facts: Facts, config: RewardConfig) -> float:
    """The logarithm of the chance that the last estimate gave to what came, at least log .01.

    Proper but unbounded without that (Rewarding Doubt, arXiv 2503.02623); the least without one.
    """
    if facts.q is None:
        return math.log(MIN_CHANCE)
    return math.log(max(facts.q if facts.success else 1.0 - facts.q, MIN_CHANCE))


TERMS: dict[str, Callable[[Facts, RewardConfig], float]] = {
    "outcome": outcome,
    "invalid_actions": invalid_actions,
    "malformed_turns": malformed_turns,
    "maths_paper": maths_paper,
    "maths_paper_executed": maths_paper_executed,
    "calibration": calibration,
    "log_score": log_score,
}
"""Reward terms by name."""


def judge_rollout(
    rollout: Rollout, config: RewardConfig, ruling: Ruling | None = None
) -> Judgement:
    """Success, reward and the way the verdict was reached.

    Args:
        rollout: the finished attempt.
        config: the terms of the reward.
        ruling: of a judge; None: the grader decides. One without a verdict is the machine's fault.
    """
    if rollout.error is not None:
        return Judgement(success=None, reward=0.0, judge=f"error:{rollout.error.kind}")
    said = exact_ruling(rollout) if ruling is None else ruling
    if said.right is None:
        return Judgement(success=None, reward=0.0, judge="error:judge")
    last = rollout.turns[-1].parsed.foresight if rollout.turns else None
    facts = Facts(
        success=said.right,
        q=None if last is None else last.q,
        num_turns=len(rollout.turns),
        num_invalid=sum(turn.parsed.action is None for turn in rollout.turns),
        num_malformed=sum(
            turn.parsed.action is not None and not turn.parsed.format_ok for turn in rollout.turns
        ),
        num_failed_calls=sum(
            turn.parsed.action is not None and turn.tool_error for turn in rollout.turns
        ),
    )
    reward = sum(TERMS[name](facts, config) for name in config.terms)
    return Judgement(success=int(said.right), reward=float(reward), judge=said.how)
