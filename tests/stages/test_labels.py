"""Measured labels go on where a killed run left them, and never from the counts of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from forethought.errors import InputError
from forethought.hindsight.trajectory import Trajectory
from forethought.stages.labels import (
    FEWEST_RUNS,
    _label,
    _Place,
    _read_counts,
    difficulty,
    labels_of,
    priors_of,
)
from forethought.types import StopReason, Task
from tests.domains.qa_builders import qa_domain

PLACES = [_Place(item, step) for item in range(3) for step in range(2)]
GOOD = [f'{{"i":{p.item},"t":{p.step},"s":1,"k":4}}\n'.encode() for p in PLACES]


def test_whole_waves_are_kept_and_a_torn_line_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    assert _read_counts(file, 2, PLACES) == []
    file.write_bytes(b"".join(GOOD[:3]) + b'{"i":1,"t"')
    assert [(r["i"], r["t"]) for r in _read_counts(file, 2, PLACES)] == [(0, 0), (0, 1)]
    file.write_bytes(b"".join(GOOD))
    assert len(_read_counts(file, 4, PLACES)) == 6


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\x00\x01",
        b"{}",
        b"[]",
        b'{"i":0,"t":1,"s":"x","k":4}',
        b'{"i":0,"t":1,"s":5,"k":4}',
        b'{"i":2,"t":1,"s":1,"k":4}',
        b'{"i":0,"t":1',
    ],
)
def test_a_line_that_is_no_count_of_its_turn_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_bytes(GOOD[0] + line + b"\n" + GOOD[2])
    with pytest.raises(InputError, match=r"labels\.jsonl:2: .*expected.*Next:"):
        _read_counts(file, 2, PLACES)


def test_more_counts_than_turns_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_bytes(b"".join([*GOOD, GOOD[0]]))
    with pytest.raises(InputError, match="the end of the file"):
        _read_counts(file, 2, PLACES)


def test_the_outcome_behind_a_last_turn_is_a_count_of_one_and_smoothed_like_any_count() -> None:
    won = Trajectory(
        task=Task(id="t", question="q", answers=("x",), kind="qa"),
        source_policy="wanderer",
        steps=(),
        success=True,
        stop_reason=StopReason.ANSWER,
    )
    label = _label(won, 0, None, {"": 0.4}, 1.0)
    assert (label.value, label.source, label.s, label.k) == (0.7, "outcome", 1, 1)
    assert _label(replace(won, success=False), 0, None, {"": 0.4}, 1.0).value == 0.2
    assert _label(won, 0, None, {"": 0.4}, 0.0).value == 1.0


def test_questions_of_public_sets_are_as_hard_as_their_kind_and_number_of_hops() -> None:
    attempts = qa_domain().trajectories(10**6, None)
    bins = {difficulty(each) for each in attempts}
    assert {"musique 2 hops, 2 steps", "musique 3 hops, 3 steps"} <= bins
    assert {"2wiki comparison, 2 steps", "2wiki bridge_comparison, 4 steps"} <= bins
    assert len(bins) > 6 and "all" not in bins
    bare = replace(attempts[0].task, columns={})
    assert difficulty(replace(attempts[0], task=bare)) == "all"
    budget = replace(bare, columns={"budget": 3, "group": "a"})
    assert difficulty(replace(attempts[0], task=budget)) == "3"


def test_a_label_leans_to_the_rate_of_its_own_kind_unless_too_few_were_run() -> None:
    def made(group: str, number: int) -> Trajectory:
        task = Task(
            id=f"{group}{number}",
            question="q",
            answers=("x",),
            kind="qa",
            columns={"group": group},
        )
        return Trajectory(
            task=task,
            source_policy="hops",
            steps=(),
            success=True,
            stop_reason=StopReason.ANSWER,
        )

    k = 2
    found = [(made("easy", n), [(2, k)]) for n in range(FEWEST_RUNS // k)]
    found += [(made("hard", n), [(n % 2, k)]) for n in range(FEWEST_RUNS // k)]
    found += [(made("rare", n), [(0, k)]) for n in range(FEWEST_RUNS // k - 1)]
    priors = priors_of(found)
    assert priors == {"easy": 1.0, "hard": 0.25, "": pytest.approx(25 / 58)}
    labels = {
        group: labels_of(made(group, 0), [(1, k)], priors, 1.0)[0].value
        for group in ("easy", "hard", "rare")
    }
    assert labels["easy"] == pytest.approx(2 / 3) and labels["hard"] == pytest.approx(1.25 / 3)
    assert labels["rare"] == pytest.approx((1 + 25 / 58) / 3)
    sized = replace(made("", 0), task=replace(made("", 0).task, columns={"budget": 4}))
    assert priors_of([(sized, [(1, k)])]) == {"": 0.5, "4": 0.5}
