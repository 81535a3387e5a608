"""benchmarks/parsing.py: valid turns are valid, broken ones broken, and the peer reads the rest."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from speed_builders import check_rows, script

from forethought.foresight.block import parse


@pytest.fixture
def parsing(monkeypatch: pytest.MonkeyPatch) -> Any:
    return script(monkeypatch, "parsing")


def test_every_way_to_break_a_turn_is_seen_by_the_parser(parsing: Any) -> None:
    texts = parsing.recorded()
    assert len(texts) >= len(parsing.BREAKS)
    for way in parsing.BREAKS.values():
        assert all(parse(way(text)).problems for text in texts)
    assert all(parse(text).problems for text in parsing.broken(texts))


def test_both_sides_read_the_same_from_valid_turns_and_not_from_broken_ones(parsing: Any) -> None:
    texts = parsing.recorded()
    assert parsing.same_block(texts) == 1
    assert parsing.same_block(parsing.broken(texts)) < 1
    turns = [parse(text) for text in texts]
    maths = parsing.rendered(turns, "maths")
    for found, turn in zip(parsing.by_patterns(maths, "maths"), turns, strict=True):
        assert found[0] == turn.foresight.roadmap and found[3] == turn.foresight.q_text


def test_long_turns_are_as_long_as_they_say_and_valid(parsing: Any) -> None:
    turns = [parse(text) for text in parsing.recorded()[:2]]
    for text in parsing.lengthened(turns, 500):
        assert 500 < len(text) < 800 and not parse(text).problems


def test_rows_of_every_kind_of_turn(parsing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "LENGTHS", (400, 800))
    found = parsing.rows((2, 16))
    check_rows(found)
    kinds = [(row["x"]["work"], row["x"].get("turns")) for row in found]
    assert kinds == [
        ("parse", "valid"),
        ("parse", "malformed"),
        ("parse", "long"),
        ("parse", "long"),
        ("parse", "valid"),
        ("render", None),
        ("render", None),
    ]
    for row in found:
        assert row["per_s"] == pytest.approx(1e6 / row["ours"]["median"], rel=0.01)
