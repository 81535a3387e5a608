"""Imagine-K: sample K first blocks, go on from the one whose expected q is highest.

What it buys over one block is the value of the estimate for choosing, and what it costs is K - 1
more blocks of sampled tokens; both are reported. The choice uses the expected level over the 21
levels, not the sampled one, so that the noise of one draw does not decide.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from forethought.evals.run import EvalSetting, noise_key, roll_out
from forethought.foresight.levels import expected_level
from forethought.rollout.backend import Backend
from forethought.rollout.engine import Start
from forethought.training.levels import score_levels
from forethought.training.policy import Policy
from forethought.types import Rollout, Span, Task, Turn

_BLOCK = (Span.IMAGINARY, Span.KEYWORD, Span.ANALYSIS, Span.CONFIDENCE)


def block_ids(turn: Turn) -> tuple[int, ...]:
    """The sampled ids of a turn up to the end of its block."""
    last = max((n for n, span in enumerate(turn.token_spans) if span in _BLOCK), default=-1)
    return turn.ids[: last + 1]


def imagine_first(
    setting: EvalSetting,
    tasks: Sequence[Task],
    policy: Policy,
    backend: Backend,
    k: int,
    *,
    pick: Literal["q", "random", "short"] = "q",
) -> list[Rollout]:
    """Rollouts of every task whose first block is the best of `k` by expected q.

    The tokens of the blocks that were not chosen are the `extra_tokens` of each.

    What the choice is worth shows beside candidates that are drawn, or chosen for being short.

    Args:
        setting: the evaluation; its temperature is that of the candidates and of the rest.
        tasks: `setting.samples` rollouts each.
        policy: scores the levels.
        backend: samples.
        k: candidates; the first is the block that the plain evaluation would have sampled.
        pick: how one is chosen.
    """
    attempts = [(task, sample) for task in tasks for sample in range(setting.samples)]
    starts = [
        Start(
            task=task,
            env=setting.domain.make_env(),
            index=candidate,
            noise=(*noise_key(setting, task, sample), *((candidate,) if candidate else ())),
            mode=setting.mode,
        )
        for task, sample in attempts
        for candidate in range(k)
    ]
    one_turn = replace(setting, engine=replace(setting.engine, stop_after_turns=1))
    candidates = roll_out(one_turn, starts, backend, policy.tokenizer)
    levels = score_levels(
        policy, candidates, temperature=setting.engine.sampling.temperature or 1.0
    )
    chosen: list[Start] = []
    extra: list[int] = []
    for number, (task, sample) in enumerate(attempts):
        mine = range(number * k, (number + 1) * k)
        blocks = {i: block_ids(candidates[i].turns[0]) if candidates[i].turns else () for i in mine}
        if pick == "q":
            best = max(mine, key=lambda i: (_expected(levels[i]), -i))
        elif pick == "short":
            best = min(mine, key=lambda i: (len(blocks[i]), i))
        else:
            best = random.Random(str(noise_key(setting, task, sample))).choice(mine)
        extra.append(sum(len(ids) for i, ids in blocks.items() if i != best))
        chosen.append(
            Start(
                task=task,
                env=setting.domain.make_env(),
                index=sample,
                noise=noise_key(setting, task, sample),
                prefix_ids=blocks[best],
                mode=setting.mode,
            )
        )
    rollouts = roll_out(setting, chosen, backend, policy.tokenizer)
    return [
        replace(rollout, extra_tokens=more) for rollout, more in zip(rollouts, extra, strict=True)
    ]


def _expected(levels: Sequence[tuple[float, ...] | None]) -> float:
    first = levels[0] if levels else None
    return -1.0 if first is None else expected_level(first)
