"""Laws of the probes: what is put back as it was changes nothing, what is rewritten is obeyed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from forethought.errors import InputError
from forethought.evals.interventions import parse_interventions
from forethought.evals.probe import (
    ProbeSetting,
    _variation,
    action_shift,
    forced,
    from_rollouts,
    keep,
    opposites,
    rewritten_rollouts,
    shuffled_tasks,
    swapped,
)
from forethought.evals.run import make_starts, roll_out
from forethought.types import Foresight


def faithful(probe: ProbeSetting, num: int) -> Any:
    tasks = probe.evaluation.domain.tasks("val", num)
    starts = make_starts(probe.evaluation, tasks)
    return tasks, roll_out(probe.evaluation, starts, probe.backend, probe.policy.tokenizer)


def text(rollouts: Any) -> list[list[tuple[str, str]]]:
    return [[(turn.text, turn.observation) for turn in r.turns] for r in rollouts]


def test_blocks_put_back_as_they_were_change_nothing(probe: ProbeSetting) -> None:
    tasks, own = faithful(probe, 30)
    again = rewritten_rollouts(probe, tasks, keep)
    assert text(again) == text(own)
    assert [r.stop_reason for r in again] == [r.stop_reason for r in own]
    assert max(len(r.turns) for r in own) > 2
    none = rewritten_rollouts(probe, tasks, lambda place, step, block: None)
    assert text(none) == text(own)


def test_a_forced_number_stands_in_every_block_and_nothing_else_changes(
    probe: ProbeSetting,
) -> None:
    tasks, own = faithful(probe, 12)
    rollouts = rewritten_rollouts(probe, tasks, forced(0.95, spaced=True))
    blocks = [turn.parsed.foresight for r in rollouts for turn in r.turns]
    assert {block.q for block in blocks if block} == {0.95} and all(blocks)
    assert [[t.parsed.action for t in r.turns] for r in rollouts] == [
        [t.parsed.action for t in r.turns] for r in own
    ]


def test_a_swapped_block_is_followed(probe: ProbeSetting) -> None:
    tasks, own = faithful(probe, 30)
    others = swapped(own)
    rollouts = rewritten_rollouts(probe, tasks, from_rollouts(others))
    for mine, other in zip(rollouts, others, strict=True):
        assert other is not None
        wanted = other.turns[0].parsed.foresight
        assert mine.turns[0].parsed.foresight == wanted
        assert mine.turns[0].parsed.think.split()[0] == wanted.roadmap.split()[0]
    assert text(rollouts) != text(own)


def test_the_opposite_is_a_rollout_of_the_other_outcome_or_nothing(probe: ProbeSetting) -> None:
    _, (a, b, c) = faithful(probe, 3)
    others = [[(True, a), (False, b)], [(None, a), (True, c)], [(True, a)]]
    assert opposites([True, False, True], others) == [b, c, None]
    assert opposites([None, None, None], others) == [None] * 3


def test_the_first_action_moves_with_the_block_and_not_by_itself(probe: ProbeSetting) -> None:
    tasks = probe.evaluation.domain.tasks("val", 20)
    block = Foresight(
        roadmap="a mentor lamp coast , reply ; 1 links open",
        keywords=("lamp",),
        analysis="0 spare",
        q=0.5,
        q_text="50 %",
    )
    other = replace(block, roadmap=block.roadmap.replace("a mentor", "b mentor"))
    same = action_shift(probe, tasks, [(block, block)] * 20, samples=6, seed=1)
    moved = action_shift(probe, tasks, [(block, other)] * 20, samples=6, seed=1)
    assert same.by_chance > 0 and abs(same.excess.value or 0.0) < 0.2
    assert moved.excess.value is not None and moved.excess.value > 0.4
    assert moved.total == pytest.approx(moved.by_chance + moved.excess.value)


def test_variation_is_half_the_sum_of_differences() -> None:
    a, b = Counter({("s", "x"): 3, ("s", "y"): 1}), Counter({("s", "x"): 1, ("s", "z"): 3})
    assert _variation(a, b) == pytest.approx(0.75)
    assert _variation(a, a) == 0 and _variation(a, Counter()) == 0.5


def test_the_order_of_tasks_is_a_function_of_the_seed(probe: ProbeSetting) -> None:
    tasks = probe.evaluation.domain.tasks("val", 20)
    assert shuffled_tasks(tasks, 3) == shuffled_tasks(tasks, 3) != shuffled_tasks(tasks, 4)
    assert sorted(t.id for t in shuffled_tasks(tasks, 3)) == sorted(t.id for t in tasks)


@pytest.mark.parametrize("text", ["", "remove", "q=3", "q=105", "q=", "delete,,swap"])
def test_unknown_interventions_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--do"):
        parse_interventions(text)
    assert parse_interventions("delete, q=5,delete") == ["delete", "q=5"]
