"""Laws of the modes: names read back, blocks only when due, choices by what they say."""

from __future__ import annotations

from typing import Any

import pytest

from forethought.errors import InputError
from forethought.evals import imagine
from forethought.evals.ways import play, skips_block
from forethought.rollout.modes import MODES, Mode, parse_mode
from forethought.types import Foresight, ParsedTurn, Turn


def turn(q: float | None) -> Turn:
    block = None if q is None else Foresight(roadmap="r", keywords=("k",), analysis="a", q=q)
    parsed = ParsedTurn(foresight=block, think="", action=None, problems=(), spans=())
    return Turn(
        ids=(),
        logprobs=(),
        text="",
        parsed=parsed,
        token_spans=(),
        observation="",
        observation_ids=(),
    )


@pytest.mark.parametrize(
    ("q", "skips"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.5], True),
        ([0.5, 0.55], True),
        ([0.5, 0.4], False),
        ([0.3, 0.6], False),
        ([0.5, 0.5, None], False),
        ([0.5, None, 0.5], False),
        ([0.1, 0.9, 0.9], True),
    ],
)
def test_a_block_is_left_out_behind_two_equal_estimates_only(
    q: list[float | None], skips: bool
) -> None:
    assert skips_block([turn(value) for value in q]) is skips


def test_every_mode_has_a_name_that_reads_back() -> None:
    for name in MODES:
        written = name.replace("K", "4").replace("Q", "40")
        assert parse_mode(written).prompt in ("foresight", "plain")
    assert parse_mode("imagine-8-short") == Mode(prompt="foresight", imagine=8, pick="short")
    assert parse_mode("escalate-5-2") == Mode(
        prompt="foresight", way="escalate", threshold=0.05, imagine=2
    )
    assert parse_mode("abstain-100-first").threshold == 1.0
    for wrong in (
        *(
            "imagine-1",
            "imagine-4-long",
            "Filler",
            "",
            "abstain-101",
            "abstain-",
            "abstain-40-last",
        ),
        *("escalate-40", "escalate-40-1", "escalate-101-4", "escalate--5-4"),
    ):
        with pytest.raises(InputError, match="--mode"):
            parse_mode(wrong)


def rollouts(probe: Any, name: str, num: int = 24) -> Any:
    tasks = probe.evaluation.domain.tasks("val", num)
    return play(probe.evaluation, tasks, probe.policy, probe.backend, parse_mode(name))


def test_adaptive_is_faithful_until_two_estimates_agree(probe: Any) -> None:
    adaptive, faithful = rollouts(probe, "adaptive"), rollouts(probe, "faithful")
    skipped = 0
    for mine, other in zip(adaptive, faithful, strict=True):
        assert [t.text for t in mine.turns[:2]] == [t.text for t in other.turns[:2]]
        for number, made in enumerate(mine.turns):
            due = not skips_block(mine.turns[:number])
            assert (made.parsed.foresight is not None) is due
            skipped += not due
    assert skipped > 0


def test_filler_blocks_are_as_long_and_say_nothing(probe: Any) -> None:
    filled, faithful = rollouts(probe, "filler"), rollouts(probe, "faithful")
    for mine, other in zip(filled, faithful, strict=True):
        block, own = mine.turns[0].parsed.foresight, other.turns[0].parsed.foresight
        assert set(block.roadmap.split()) == {"none"} and block.q == 0.5
        assert len(block.roadmap.split()) == len(own.roadmap.split())


@pytest.mark.parametrize("pick", ["", "-random", "-short"])
def test_of_several_first_blocks_one_is_followed(
    probe: Any,
    pick: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def levels(policy: Any, candidates: Any, *, temperature: float) -> list[list[Any]]:
        stated = [c.turns[0].parsed.foresight.q for c in candidates]
        return [[tuple(float(n == round(q * 20)) for n in range(21))] for q in stated]

    monkeypatch.setattr(imagine, "score_levels", levels)
    made, again = rollouts(probe, f"imagine-4{pick}"), rollouts(probe, f"imagine-4{pick}")
    assert [[t.text for t in r.turns] for r in made] == [[t.text for t in r.turns] for r in again]
    mean = sum(r.turns[0].parsed.foresight.q for r in made) / len(made)
    plain = [r.turns[0].parsed.foresight.q for r in rollouts(probe, "faithful")]
    if pick == "":
        assert mean > sum(plain) / len(plain) + 0.2
    assert {r.turns[0].parsed.foresight.q for r in made} <= {0.1, 0.5, 0.9}


def test_several_samples_of_a_mode_that_has_one_are_refused(probe: Any) -> None:
    from dataclasses import replace

    setting = replace(probe.evaluation, samples=2)
    tasks = setting.domain.tasks("val", 2)
    with pytest.raises(InputError, match="--samples"):
        play(setting, tasks, probe.policy, probe.backend, parse_mode("filler"))
