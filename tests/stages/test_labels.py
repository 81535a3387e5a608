"""Measured labels go on where a killed run left them, and never from the counts of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from forethought.errors import InputError
from forethought.hindsight.trajectory import Trajectory
from forethought.stages.labels import _label, _Place, _read_counts
from forethought.types import StopReason, Task

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
