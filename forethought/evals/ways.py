"""Playing tasks in a mode: a block a turn, none, the best of several, filler, or one when due.

Modes that hold an unsure episode back are in `forethought.evals.holding`.
"""

from __future__ import annotations

from collections.abc import Sequence

from forethought.errors import InputError
from forethought.evals.holding import Holding
from forethought.evals.imagine import imagine_first
from forethought.evals.probe import ProbeSetting, filler, rewritten_rollouts, turn_by_turn
from forethought.evals.run import EvalSetting, make_starts, roll_out
from forethought.rollout.backend import Backend
from forethought.rollout.engine import Start
from forethought.rollout.modes import Mode
from forethought.rollout.render import encode
from forethought.training.policy import Policy
from forethought.types import Rollout, Task, Turn

STABLE = 0.05
"""Two estimates that differ by no more say the same: then the next turn goes without a block."""
FILLER = {"search": "none", "maths": "none"}
"""The word of filler blocks; the synthetic worlds know it."""


def play(
    setting: EvalSetting, tasks: Sequence[Task], policy: Policy, backend: Backend, mode: Mode
) -> list[Rollout]:
    """The rollouts of all tasks in a mode, `setting.samples` each.

    Raises:
        InputError: several samples in a mode that has one, or a mode that the style cannot play.
    """
    if not mode.way:
        if mode.imagine:
            return imagine_first(setting, tasks, policy, backend, mode.imagine, pick=mode.pick)
        return roll_out(setting, make_starts(setting, tasks), backend, policy.tokenizer)
    holding = Holding(setting=setting, policy=policy, backend=backend, threshold=mode.threshold)
    if mode.way == "abstain":
        return holding.abstain(tasks)
    if mode.way == "abstain-first":
        return holding.abstain_first(tasks)
    if setting.samples > 1:
        raise InputError(
            "--samples",
            got=f"{setting.samples} in the mode {mode.way}",
            expected="1",
            next_step="give --samples 1, or choose another mode",
        )
    if mode.way == "escalate":
        return holding.escalate(tasks, mode.imagine)
    probe = ProbeSetting(evaluation=setting, policy=policy, backend=backend)
    if mode.way == "filler":
        word = FILLER[setting.domain.text_format.style]
        return rewritten_rollouts(probe, tasks, filler(word))
    return _adaptive(probe, tasks)


def skips_block(turns: Sequence[Turn]) -> bool:
    """Whether the next turn goes without a block: the last two wrote one, and their q agree.

    A fall of q, a rise of q and a turn without a block all ask for a new plan.
    """
    if len(turns) < 2:
        return False
    blocks = [turn.parsed.foresight for turn in turns[-2:]]
    q = [None if block is None else block.q for block in blocks]
    return q[0] is not None and q[1] is not None and abs(q[1] - q[0]) <= STABLE + 1e-9


def _adaptive(probe: ProbeSetting, tasks: Sequence[Task]) -> list[Rollout]:
    """Turn by turn; where no block is due the thought is begun for the policy."""
    setting = probe.evaluation
    if setting.domain.text_format.style != "search":
        raise InputError(
            "--mode",
            got=f"adaptive with a domain of style {setting.domain.text_format.style}",
            expected="a domain whose thought begins behind the block (style search)",
            next_step="choose faithful or plain",
        )
    thought = encode(probe.policy.tokenizer, "<think>")

    def prefixes(live: Sequence[tuple[int, Start]]) -> list[tuple[int, ...]]:
        return [thought if skips_block(start.turns) else () for _, start in live]

    return turn_by_turn(probe, tasks, prefixes)
