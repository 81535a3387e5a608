"""Which numbers the last fit moves: all but the one before an answer."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from forethought.domains.atlas import atlas_format, atlas_tokenizer
from forethought.rollout.author import AuthoredTurn, author
from forethought.stages.rl import _fitted
from forethought.types import BrierSlot, Rollout, Task, TrainingSequence

BLOCK = (
    "<imaginary> reply ; 0 links open </imaginary> <keyword> reply </keyword> "
    "<analysis> home kept , 0 spare </analysis> <confidence> 45 % </confidence> "
)
SEARCH = "<think> a gera </think> <search> home gera </search>"
ANSWER = "<think> banok </think> <answer> banok </answer>"


def rollout(*texts: str) -> Rollout:
    task = Task(id="t", question="gera of east : a home mayor ; 2", answers=("x",), kind="qa")
    turns = [AuthoredTurn(text=text, observation="no page") for text in texts]
    return author(task, turns, atlas_format(), atlas_tokenizer(), "foresight")


def sequence(slots: int) -> TrainingSequence:
    return TrainingSequence(
        ids=tuple(range(9)),
        kl_weight=(0.5,) * 9,
        brier=tuple(BrierSlot(position=3 * n + 2, target=1.0) for n in range(slots)),
    )


@pytest.mark.parametrize("shows_others", [True, False])
def test_the_number_before_an_answer_is_kept(shows_others: bool) -> None:
    made = _fitted(sequence(2), rollout(BLOCK + SEARCH, BLOCK + ANSWER), shows_others=shows_others)
    assert [slot.position for slot in made.brier] == [2]
    rest = 0.5 if shows_others else 0.0
    assert made.kl_weight == tuple(1.0 if n == 5 else rest for n in range(9))


def test_numbers_before_calls_and_an_answer_without_one_are_all_fitted() -> None:
    for last in (BLOCK + SEARCH, ANSWER):
        made = _fitted(sequence(2), rollout(BLOCK + SEARCH, last), shows_others=False)
        assert [slot.position for slot in made.brier] == [2, 5]
        assert not any(made.kl_weight)
