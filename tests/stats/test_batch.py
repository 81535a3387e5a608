"""Figures of a batch: lengths and entropies of what was written, where the numbers sit."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from forethought.stats.batch import q_histogram, span_stats
from forethought.types import RolloutError, StopReason, Turn
from tests.algos.algos_builders import rollout, sampled_turn
from tests.episode_builders import answering, block_of, episode_of


def _turn(spans: str, logprobs: list[float]) -> Turn:
    return replace(sampled_turn(spans, 0), logprobs=tuple(logprobs))


def test_by_hand_lengths_count_the_turns_that_have_the_span() -> None:
    one = _turn("iix", [-1.0, -3.0, -0.5])
    two = _turn("x", [-1.5])
    assert span_stats([rollout([one, two])]) == {
        "entropy_imaginary": 2.0,
        "length_imaginary": 2.0,
        "entropy_action": 1.0,
        "length_action": 1.0,
    }


def test_a_rollout_that_the_machine_ended_is_in_no_figure() -> None:
    whole = rollout([_turn("x", [-1.0])])
    gone = replace(
        rollout([_turn("xx", [-9.0, -9.0])]),
        stop_reason=StopReason.ERROR,
        error=RolloutError(kind="tool", message="gone"),
    )
    assert span_stats([whole, gone]) == span_stats([whole])


def test_the_estimate_of_the_entropy_is_unbiased() -> None:
    probabilities = [0.7, 0.2, 0.05, 0.05]
    entropy = -sum(p * math.log(p) for p in probabilities)
    rng = random.Random(1)
    drawn = rng.choices(probabilities, weights=probabilities, k=40_000)
    found = span_stats([rollout([_turn("t" * len(drawn), [math.log(p) for p in drawn])])])
    assert found["entropy_think"] == pytest.approx(entropy, abs=0.02)


def test_the_histogram_has_21_shares_that_sum_to_1() -> None:
    stated = [0.0, 0.05, 0.05, 1.0, None]
    episodes = [episode_of(answering(block=block_of(q)), 1) for q in stated]
    found = q_histogram(episodes)
    assert len(found) == 21 and sum(found.values()) == pytest.approx(1.0)
    assert found["q_at_5"] == 0.5 and found["q_at_0"] == found["q_at_100"] == 0.25
    assert q_histogram([episode_of(answering(), 1)]) == {}
