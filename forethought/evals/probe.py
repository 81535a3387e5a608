"""Does the policy use its block? Rewrite it while the policy acts, and look at what changes.

At every turn the policy writes its own block; the block is rewritten, and the policy goes on from
the rewritten one, with the noise that it would have had. Reported are the success and the choice
of the first route against the untouched rollouts of the same tasks, and how far the distribution of
the first action moves: total variation between samples behind the own and behind the rewritten
block, less the variation between two samples behind the own one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forethought.envs.base import fork, snapshot
from forethought.evals.imagine import block_ids
from forethought.evals.run import EvalSetting, make_starts, noise_key
from forethought.foresight.block import render
from forethought.foresight.levels import LEVELS, level_text, nearest_level
from forethought.rollout.author import AuthoredTurn, author
from forethought.rollout.backend import Backend
from forethought.rollout.engine import Start, run_rollouts_sync
from forethought.stats.bootstrap import Draws, Interval, interval, task_counts
from forethought.training.policy import Policy
from forethought.types import Action, Foresight, Rollout, StopReason, Task

Rewrite = Callable[[int, int, Foresight], Foresight | None]
"""(place of the task, turn, the block that the policy wrote) -> another one; None: it stays."""

DELETE, SWAP, OPPOSITE = "delete", "swap", "opposite"
OTHER_SAMPLES = 4
"""Further rollouts of a task among which one of the other outcome is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSetting:
    """How rollouts with rewritten blocks are played."""

    evaluation: EvalSetting
    policy: Policy
    backend: Backend

    def play(self, starts: Sequence[Start]) -> list[Rollout]:
        """One turn each."""
        setting = self.evaluation
        engine = replace(setting.engine, stop_after_turns=1)
        found: list[Rollout] = []
        for first in range(0, len(starts), setting.wave):
            wave = starts[first : first + setting.wave]
            found += run_rollouts_sync(
                wave, self.backend, setting.domain.text_format, self.policy.tokenizer, engine
            )
        return found

    def encoded(self, task: Task, block: Foresight) -> tuple[int, ...]:
        """The ids of a block as the policy would have written it."""
        text_format = self.evaluation.domain.text_format
        kind = "answer" if text_format.style == "maths" else "search"
        text = render(
            block,
            "x",
            Action(kind=kind, text="x"),
            style=text_format.style,
            spaced=text_format.spaced,
        )
        turns = [AuthoredTurn(text=text, observation="")]
        made = author(task, turns, text_format, self.policy.tokenizer, "foresight")
        return block_ids(made.turns[0])


def rewritten_rollouts(
    setting: ProbeSetting, tasks: Sequence[Task], rewrite: Rewrite
) -> list[Rollout]:
    """One rollout a task whose every readable block is rewritten before the policy goes on."""
    make = setting.evaluation.domain.make_env

    def prefixes(live: Sequence[tuple[int, Start]]) -> list[tuple[int, ...]]:
        trial = [
            replace(start, env=fork(make, snapshot(start.env)) if start.turns else make())
            for _, start in live
        ]
        forced: list[tuple[int, ...]] = []
        for (place, start), rollout in zip(live, setting.play(trial), strict=True):
            step = len(start.turns)
            block = _block(rollout, step)
            other = None if block is None else rewrite(place, step, block)
            forced.append(() if other is None else setting.encoded(start.task, other))
        return forced

    return turn_by_turn(setting, tasks, prefixes)


def turn_by_turn(
    setting: ProbeSetting,
    tasks: Sequence[Task],
    prefixes: Callable[[Sequence[tuple[int, Start]]], list[tuple[int, ...]]],
) -> list[Rollout]:
    """One rollout a task whose next turn may be begun for the policy.

    Args:
        setting: how a turn is played.
        tasks: one start each, with the noise of an evaluation.
        prefixes: (place of the task, start with the turns so far) of all that go on -> the ids
            that their next turns begin with.
    """
    starts = make_starts(setting.evaluation, tasks)
    done: dict[int, Rollout] = {}
    while len(done) < len(starts):
        live = [(place, start) for place, start in enumerate(starts) if place not in done]
        begun = [
            replace(start, prefix_ids=prefix)
            for (_, start), prefix in zip(live, prefixes(live), strict=True)
        ]
        for (place, start), rollout in zip(live, setting.play(begun), strict=True):
            if _ended(rollout, start, setting.evaluation.engine.max_turns):
                done[place] = rollout
            starts[place] = replace(start, turns=rollout.turns, prompt_ids=rollout.prompt_ids)
    return [done[place] for place in range(len(starts))]


def _ended(rollout: Rollout, start: Start, max_turns: int) -> bool:
    """Whether a rollout that played one turn is over: anything but its own bound ends it."""
    grown = len(rollout.turns) > len(start.turns)
    stopped = rollout.stop_reason is not StopReason.MAX_TURNS
    return stopped or not grown or len(rollout.turns) >= max_turns


def _block(rollout: Rollout, step: int) -> Foresight | None:
    if len(rollout.turns) <= step:
        return None
    return rollout.turns[step].parsed.foresight


def keep(place: int, step: int, block: Foresight) -> Foresight:
    """Leaves every block as it is: the rollouts must be those without any rewriting."""
    return block


def forced(q: float, *, spaced: bool) -> Rewrite:
    """Puts one number into every block."""
    level = nearest_level(q)

    def rewrite(place: int, step: int, block: Foresight) -> Foresight:
        return replace(block, q=LEVELS[level], q_text=level_text(level, spaced=spaced))

    return rewrite


def filler(word: str) -> Rewrite:
    """Puts one word in the place of all others, as often as the block has words, and 50 %."""

    def rewrite(place: int, step: int, block: Foresight) -> Foresight:
        level = nearest_level(0.5)
        return Foresight(
            roadmap=" ".join([word] * max(len(block.roadmap.split()), 1)),
            keywords=(word,),
            analysis=" ".join([word] * max(len(block.analysis.split()), 1)),
            q=LEVELS[level],
            q_text=level_text(level, spaced=" %" in block.q_text),
        )

    return rewrite


def from_rollouts(others: Sequence[Rollout | None]) -> Rewrite:
    """Takes the blocks of another rollout, turn by turn; where it has none the own one stays."""

    def rewrite(place: int, step: int, block: Foresight) -> Foresight | None:
        other = others[place]
        return None if other is None else _block(other, step)

    return rewrite


def swapped(rollouts: Sequence[Rollout]) -> list[Rollout | None]:
    """For each rollout that of the next task."""
    return [*rollouts[1:], *rollouts[:1]]


def opposites(
    own: Sequence[bool | None], others: Sequence[Sequence[tuple[bool | None, Rollout]]]
) -> list[Rollout | None]:
    """For each task the first further rollout with the other outcome; None where none has it."""
    return [
        next((r for success, r in more if None not in (mine, success) and success != mine), None)
        for mine, more in zip(own, others, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionShift:
    """How far the distribution of the first action moves, and what chance alone would show."""

    excess: Interval  # total variation, less that of chance
    total: float
    by_chance: float


def action_shift(
    setting: ProbeSetting,
    tasks: Sequence[Task],
    pairs: Sequence[tuple[Foresight, Foresight]],
    *,
    samples: int,
    seed: int,
) -> ActionShift:
    """Total variation between first actions behind two blocks, over samples of each.

    Two samples from one distribution differ, too: a second sample behind the own block says how
    much, and is taken off.

    Args:
        setting: how turns are played.
        tasks: [N].
        pairs: [N] own and rewritten first block.
        samples: actions behind each block, per task.
        seed: of the resampling of tasks.
    """
    behind = [
        _first_actions(setting, tasks, [pair[side] for pair in pairs], samples, key)
        for key, side in enumerate((0, 0, 1))
    ]
    total = np.array([_variation(a, c) for a, c in zip(behind[0], behind[2], strict=True)])
    chance = np.array([_variation(a, b) for a, b in zip(behind[0], behind[1], strict=True)])
    counts_RT = task_counts(len(tasks), setting.evaluation.resamples, seed)
    excess = total - chance
    values_R = counts_RT @ excess / max(len(tasks), 1)
    draws = Draws(point=float(excess.mean()), values_R=values_R, n=len(tasks))
    return ActionShift(
        excess=interval(draws), total=float(total.mean()), by_chance=float(chance.mean())
    )


def _first_actions(
    setting: ProbeSetting,
    tasks: Sequence[Task],
    blocks: Sequence[Foresight],
    samples: int,
    key: int,
) -> list[Counter[tuple[str, str]]]:
    """[N] what was done first, in `samples` turns of each task; no action counts as one."""
    starts = [
        Start(
            task=task,
            env=setting.evaluation.domain.make_env(),
            index=sample,
            noise=(*noise_key(setting.evaluation, task, sample), 77, key),
            prefix_ids=setting.encoded(task, block),
            mode="foresight",
        )
        for task, block in zip(tasks, blocks, strict=True)
        for sample in range(samples)
    ]
    rollouts = setting.play(starts)
    found: list[Counter[tuple[str, str]]] = []
    for first in range(0, len(rollouts), samples):
        actions = [r.turns[0].parsed.action for r in rollouts[first : first + samples] if r.turns]
        found.append(Counter((a.kind, a.text) if a else ("", "") for a in actions))
    return found


def _variation(a: Counter[tuple[str, str]], b: Counter[tuple[str, str]]) -> float:
    """Half the sum of differences between two empirical distributions."""
    return 0.5 * sum(
        abs(a[action] / max(a.total(), 1) - b[action] / max(b.total(), 1)) for action in a | b
    )


def shuffled_tasks(tasks: Sequence[Task], seed: int) -> list[Task]:
    """The tasks in an order of their own, so that the next one is of another world."""
    order = list(tasks)
    random.Random(f"probe/{seed}").shuffle(order)
    return order
