"""What a batch of rollouts of stage 3 looked like: figures of its metrics log.

Read them for collapse: of the number (histogram, extremes), of the text (entropy and length of each
element), of the tasks (how many groups still have two outcomes). docs/method.md has formulas
and healthy ranges.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from forethought.foresight.levels import LEVELS, nearest_level
from forethought.stats.metrics import brier_skill
from forethought.types import Episode, Rollout, Span

WRITTEN = tuple(span for span in Span if span not in (Span.PROMPT, Span.OBSERVATION))
"""Spans that a policy samples."""


def mixed_tasks(episodes: Sequence[Episode]) -> set[str]:
    """Tasks whose valid rollouts have more than one reward; the others teach no choice."""
    rewards: dict[str, set[float]] = {}
    for episode in episodes:
        if episode.error is None:
            rewards.setdefault(episode.task_id, set()).add(episode.reward)
    return {task for task, found in rewards.items() if len(found) > 1}


def span_stats(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """`entropy_SPAN`, nats a token, and `length_SPAN`, tokens a turn, of each span written.

    The entropy of the sampling distribution is estimated by -log p of the sampled tokens, whose
    expectation it is as long as nothing is cut off (no top-p, no top-k). Lengths are means over the
    turns that have the span.
    """
    nats: dict[Span, float] = defaultdict(float)
    tokens: Counter[Span] = Counter()
    turns: Counter[Span] = Counter()
    for turn in (turn for rollout in rollouts if rollout.error is None for turn in rollout.turns):
        for logprob, span in zip(turn.logprobs, turn.token_spans, strict=True):
            nats[span] -= logprob
        tokens.update(turn.token_spans)
        turns.update(set(turn.token_spans))
    found: dict[str, float] = {}
    for span in WRITTEN:
        if tokens[span]:
            found[f"entropy_{span.value}"] = nats[span] / tokens[span]
            found[f"length_{span.value}"] = tokens[span] / turns[span]
    return found


def q_histogram(episodes: Sequence[Episode]) -> dict[str, float]:
    """`q_at_P`: share of the stated q at P per cent, for each of the 21 levels; {} without any."""
    levels = [nearest_level(q) for q in _stated(episodes)]
    return {
        f"q_at_{round(100 * level)}": levels.count(index) / len(levels)
        for index, level in enumerate(LEVELS)
        if levels
    }


def _stated(episodes: Sequence[Episode]) -> list[float]:
    """Every readable q of the valid episodes."""
    return [
        turn.foresight.q
        for episode in episodes
        if episode.error is None
        for turn in episode.turns
        if turn.foresight is not None and turn.foresight.q is not None
    ]


def stated_skill(episodes: Sequence[Episode]) -> dict[str, float]:
    """Brier skill of the stated q of all turns against their own base rate, if there is any."""
    pairs = [
        (turn.foresight.q, float(episode.success or 0))
        for episode in episodes
        if episode.error is None
        for turn in episode.turns
        if turn.foresight is not None and turn.foresight.q is not None
    ]
    if not pairs:
        return {}
    q, outcomes = np.array(pairs).T
    skill = float(brier_skill(q, outcomes, np.ones((1, len(pairs))))[0])
    return {} if np.isnan(skill) else {"q_brier_skill": skill}


def batch_stats(episodes: Sequence[Episode], group_size: int) -> dict[str, float]:
    """What a batch looked like: reward, format, use of the block, mixed groups, stated q."""
    valid = [episode for episode in episodes if episode.error is None]
    turns = [turn for episode in valid for turn in episode.turns]
    stated = _stated(episodes)
    groups = [episodes[i : i + group_size] for i in range(0, len(episodes), group_size)]
    mixed = sum(len({e.success for e in group if e.error is None}) > 1 for group in groups)
    count = max(len(turns), 1)
    return {
        "reward": sum(e.reward for e in valid) / max(len(valid), 1),
        "success": sum(e.success or 0 for e in valid) / max(len(valid), 1),
        "mixed_groups": mixed / max(len(groups), 1),
        "lost": float(len(episodes) - len(valid)),
        "format_ok": sum(turn.format_ok for turn in turns) / count,
        "q_mean": sum(stated) / max(len(stated), 1),
        "q_extreme": sum(q <= 0.05 or q >= 0.95 for q in stated) / max(len(stated), 1),
        "turns": len(turns) / max(len(valid), 1),
        "tool_calls": sum(t.action is not None and t.action.kind != "answer" for t in turns)
        / count,
        "sampled_tokens": sum(e.tokens_sampled for e in valid) / max(len(valid), 1),
    }
