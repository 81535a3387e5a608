"""Laws of abstaining and escalating: who is held back, what is spent, what the summary says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from forethought.errors import InputError  # noqa: E402
from forethought.evals import holding, imagine  # noqa: E402
from forethought.evals.imagine import block_ids  # noqa: E402
from forethought.evals.run import Evaluated, judge_all, write_evaluation  # noqa: E402
from forethought.evals.ways import play  # noqa: E402
from forethought.rollout.modes import parse_mode  # noqa: E402
from forethought.runlog import read_episodes  # noqa: E402
from forethought.types import Rollout, StopReason  # noqa: E402

Q = {0.1: 0.1, 0.5: 0.5, 0.9: 0.9}


@pytest.fixture(autouse=True)
def stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The expected q of a turn is the one that its block states."""

    def levels(policy: Any, rollouts: Any, *, temperature: float) -> list[list[Any]]:
        return [
            [
                None
                if (block := turn.parsed.foresight) is None
                else tuple(float(n == round(block.q * 20)) for n in range(21))
                for turn in rollout.turns
            ]
            for rollout in rollouts
        ]

    monkeypatch.setattr(imagine, "score_levels", levels)
    monkeypatch.setattr(holding, "score_levels", levels)


def rollouts(probe: Any, name: str, num: int = 30, samples: int = 1) -> list[Rollout]:
    setting = replace(probe.evaluation, samples=samples)
    tasks = setting.domain.tasks("val", num)
    return play(setting, tasks, probe.policy, probe.backend, parse_mode(name))


def q_at(rollout: Rollout, place: int) -> float:
    block = rollout.turns[place].parsed.foresight
    assert block is not None and block.q is not None
    return block.q


def same(a: Rollout, b: Rollout) -> bool:
    """Everything but the clock."""
    return replace(a, wall_s=0.0) == replace(b, wall_s=0.0)


def written(probe: Any, name: str, out: Path) -> dict[str, Any]:
    made = rollouts(probe, name)
    episodes = judge_all(probe.evaluation, [replace(r, wall_s=0.0) for r in made], None)
    result = Evaluated(rollouts=made, episodes=episodes, model_sha256="m", data_sha256="d")
    return write_evaluation(probe.evaluation, result, out)


@pytest.mark.parametrize("name", ["abstain-0", "abstain-0-first", "escalate-0-4"])
def test_nobody_is_unsure_below_a_threshold_of_zero_so_the_files_are_those_of_faithful(
    probe: Any, name: str, tmp_path: Path
) -> None:
    written(probe, name, tmp_path / "a")
    written(probe, "faithful", tmp_path / "b")
    for file in ("episodes.jsonl", "tokens.jsonl", "summary.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("percent", [10, 50, 60, 95])
def test_an_answer_is_withheld_exactly_where_the_last_estimate_is_below(
    probe: Any, percent: int
) -> None:
    for mine, own in zip(
        rollouts(probe, f"abstain-{percent}"), rollouts(probe, "faithful"), strict=True
    ):
        if q_at(own, -1) < percent / 100:
            assert (mine.stop_reason, mine.answer) == (StopReason.ABSTAIN, None)
            assert mine.turns == own.turns
        else:
            assert same(mine, own)


@pytest.mark.parametrize("samples", [1, 2])
def test_behind_the_first_turn_nothing_more_is_spent_and_no_call_is_made(
    probe: Any, samples: int
) -> None:
    held = 0
    for mine, own in zip(
        rollouts(probe, "abstain-60-first", samples=samples),
        rollouts(probe, "faithful", samples=samples),
        strict=True,
    ):
        if q_at(own, 0) >= 0.6:
            assert same(mine, own)
            continue
        held += 1
        assert (mine.stop_reason, mine.answer, len(mine.turns)) == (StopReason.ABSTAIN, None, 1)
        assert mine.turns[0].ids == own.turns[0].ids and mine.turns[0].observation == ""
    assert 0 < held < 30 * samples


def test_only_unsure_tasks_are_escalated_and_what_they_cost_is_counted(probe: Any) -> None:
    made, own = rollouts(probe, "escalate-40-4"), rollouts(probe, "faithful")
    best = rollouts(probe, "imagine-4")
    again = 0
    for mine, first, other in zip(made, own, best, strict=True):
        if q_at(first, 0) >= 0.4:
            assert same(mine, first) and mine.extra_tokens == 0
            continue
        again += 1
        assert mine.turns == other.turns and mine.answer == other.answer
        begun = first.turns[0]
        assert mine.extra_tokens == other.extra_tokens + len(begun.ids) - len(block_ids(begun))
    assert 0 < again < 30


def test_imagining_counts_the_blocks_that_were_thrown_away(probe: Any) -> None:
    setting = probe.evaluation
    tasks = setting.domain.tasks("val", 6)
    keys = [(task, n) for task in tasks for n in range(4)]
    from forethought.evals.run import noise_key, roll_out
    from forethought.rollout.engine import Start

    starts = [
        Start(
            task=task,
            env=setting.domain.make_env(),
            noise=(*noise_key(setting, task, 0), *((n,) if n else ())),
        )
        for task, n in keys
    ]
    one = replace(setting, engine=replace(setting.engine, stop_after_turns=1))
    drawn = roll_out(one, starts, probe.backend, probe.policy.tokenizer)
    blocks = [block_ids(rollout.turns[0]) for rollout in drawn]
    for place, made in enumerate(play_imagine(probe, tasks)):
        mine = blocks[4 * place : 4 * place + 4]
        chosen = block_ids(made.turns[0])
        assert chosen in mine
        assert made.extra_tokens == sum(map(len, mine)) - len(chosen) > 0


def play_imagine(probe: Any, tasks: Any) -> list[Rollout]:
    return play(probe.evaluation, tasks, probe.policy, probe.backend, parse_mode("imagine-4"))


def test_the_summary_tells_coverage_and_success_with_and_without_those_held_back(
    probe: Any, tmp_path: Path
) -> None:
    summary = written(probe, "abstain-60", tmp_path / "a")["metrics"]
    own = judge_all(probe.evaluation, rollouts(probe, "faithful"), None)
    sure = [e for e in own if e.turns[-1].foresight and (e.turns[-1].foresight.q or 0) >= 0.6]
    won = sum(e.success or 0 for e in sure)
    assert summary["coverage"]["value"] == pytest.approx(len(sure) / len(own))
    assert summary["success_answered"]["value"] == pytest.approx(won / len(sure))
    assert summary["success_answered"]["n"] == len(sure)
    assert summary["success"]["value"] == pytest.approx(won / len(own))
    # An abstained episode has no outcome: the estimate is scored on the answered ones alone.
    assert summary["brier.last"]["n"] == len(sure)
    plain = written(probe, "faithful", tmp_path / "b")["metrics"]
    assert "coverage" not in plain and "spent_tokens" not in plain


def test_an_abstained_or_dear_episode_reads_back(probe: Any, tmp_path: Path) -> None:
    written(probe, "abstain-60-first", tmp_path / "a")
    found = read_episodes(tmp_path / "a" / "episodes.jsonl")
    held = [e for e in found if e.stop_reason is StopReason.ABSTAIN]
    assert held and all(e.answer is None and e.success == 0 and e.error is None for e in held)
    summary = written(probe, "escalate-40-4", tmp_path / "b")["metrics"]
    found = read_episodes(tmp_path / "b" / "episodes.jsonl")
    spent = [e.tokens_sampled + e.tokens_extra for e in found]
    assert summary["spent_tokens"]["value"] == pytest.approx(sum(spent) / len(spent))
    rows = [json.loads(line) for line in (tmp_path / "b" / "episodes.jsonl").open()]
    assert {"extra" in row["tokens"] for row in rows} == {True, False}


def test_a_mode_that_asks_once_has_one_sample_when_it_escalates(probe: Any) -> None:
    with pytest.raises(InputError, match="--samples"):
        rollouts(probe, "escalate-40-4", num=2, samples=2)
