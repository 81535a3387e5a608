"""The pinned definitions of summary.json, on small files worked by hand."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from forethought.stats.bootstrap import difference, mean_over_seeds, paired_draws, task_counts
from forethought.stats.floors import ece_floor, trivial_estimate
from forethought.stats.summary import Labels, summarise
from forethought.types import Choice, Episode
from tests.stats.stats_builders import episode, turn

LABELS = Labels(seed=1)
POOLED = ("format_ok", "q_missing", "q_modal_share", "tool_error_rate", "copy_accuracy")


def value(episodes: list[Episode], name: str) -> float | None:
    cell = summarise(episodes, LABELS, resamples=50)["metrics"][name]
    return None if cell["value"] is None else float(cell["value"])


def test_a_failed_rollout_is_counted_and_in_no_statistic() -> None:
    rows = [episode("a", 1, turn(0.5)), episode("b", 0, turn(0.5), failed=True)]
    summary = summarise(rows, LABELS, resamples=20)
    assert (summary["num_rollouts"], summary["num_failed"], summary["num_tasks"]) == (2, 1, 2)
    assert summary["metrics"]["success"] == {"value": 1.0, "lo": 1.0, "hi": 1.0, "n": 1}


def test_groups_count_success_by_ending_and_by_kind_of_task() -> None:
    rows = [
        replace(episode("a", 1, turn(0.5)), group="short"),
        replace(episode("b", 0, turn(0.5)), group="short"),
        episode("c", 1, turn(0.5)),
    ]
    groups = summarise(rows, LABELS, resamples=20)["groups"]
    assert groups == {
        "group=short": {
            "n": 2,
            "success": 0.5,
            "keyword_lift": None,
            "auroc_expected.first": 0.5,  # equal estimates
        },
        "stop_reason=answer": {"n": 3, "success": pytest.approx(2 / 3)},
    }


def test_first_and_last_leave_out_an_episode_whose_turn_has_no_q() -> None:
    rows = [
        episode("a", 1, turn(0.8), turn(None)),
        episode("b", 0, turn(0.2), turn(0.4)),
        episode("c", 0, turn(None), turn(0.6)),
    ]
    metrics = summarise(rows, LABELS, resamples=20)["metrics"]
    assert metrics["brier.first"]["n"] == 2
    assert metrics["brier.first"]["value"] == pytest.approx((0.04 + 0.04) / 2)
    assert metrics["brier.last"]["n"] == 2
    assert metrics["brier.last"]["value"] == pytest.approx((0.16 + 0.36) / 2)


def test_all_weighs_each_turn_by_one_over_the_turns_with_a_q() -> None:
    rows = [episode("a", 1, turn(1.0), turn(0.5)), episode("b", 0, turn(0.5))]
    assert value(rows, "brier.all") == pytest.approx(((0.0 + 0.25) / 2 + 0.25) / 2)


def test_a_missing_q_is_imputed_by_the_mean_success_of_the_rows_that_have_one() -> None:
    rows = [
        episode("a", 1, turn(1.0)),
        episode("b", 0, turn(0.0)),
        episode("c", 1, turn(None)),
    ]
    assert value(rows, "brier_imputed.first") == pytest.approx(0.25 / 3)
    assert value(rows, "q_missing") == pytest.approx(1 / 3)


def test_imputing_all_turns_fills_a_missing_one_beside_those_that_state_a_q() -> None:
    rows = [
        episode("a", 1, turn(1.0), turn(None), turn(None)),
        episode("b", 0, turn(0.5)),
        episode("c", 0, turn(None)),
    ]
    cell = summarise(rows, LABELS, resamples=20)["metrics"]["brier_imputed.all"]
    # the rows that have a q: one success and one failure, so 1/2 stands for the missing ones
    assert cell["value"] == pytest.approx((2 / 3 * 0.25 + 0.25 + 0.25) / 3)
    assert cell["n"] == 3


def test_format_and_tool_errors_pool_turns_and_answers_are_no_tool_calls() -> None:
    rows = [
        episode("a", 1, turn(0.5), turn(0.5, ok=False), turn(0.5, kind="answer")),
        episode("b", 0, turn(0.5)),
    ]
    assert value(rows, "format_ok") == pytest.approx(3 / 4)


def test_n_counts_episodes_also_where_turns_are_pooled() -> None:
    rows = [
        episode("a", 1, turn(0.5, copied=True), turn(0.5, copied=False), turn(0.5, kind="answer")),
        episode("b", 0, turn(None, kind="answer")),
        episode("c", 0),
    ]
    metrics = summarise(rows, LABELS, resamples=20)["metrics"]
    found = {name: (metrics[name]["value"], metrics[name]["n"]) for name in POOLED}
    assert found == {
        "format_ok": (1.0, 2),
        "q_missing": (0.25, 2),
        "q_modal_share": (1.0, 1),
        "tool_error_rate": (0.0, 1),
        "copy_accuracy": (0.5, 1),
    }


def test_lift_is_own_precision_minus_contrast_inside_an_episode_then_over_episodes() -> None:
    rows = [
        episode(
            "a",
            1,
            turn(0.5, novel=("x", "y"), hit=("x",), contrast=0.1),
            turn(0.5, novel=("z",), hit=("z",), contrast=0.2),
            turn(0.5, novel=(), contrast=0.9),
        ),
        episode("b", 0, turn(0.5, novel=("x",), hit=(), contrast=0.1)),
        episode("c", 0, turn(0.5, novel=("x",), hit=(), contrast=None)),
    ]
    assert value(rows, "keyword_lift") == pytest.approx(((0.4 + 0.8) / 2 - 0.1) / 2)


def test_precision_takes_every_turn_with_a_novel_keyword_and_a_later_observation() -> None:
    rows = [
        episode("a", 1, turn(novel=("x", "y"), hit=("x",), contrast=0.1), turn(novel=())),
        episode("b", 0, turn(novel=("x",), hit=("x",), contrast=None)),  # no other task gets there
        episode("c", 0, turn(novel=("x",), kind="answer")),  # nothing can come true
        episode("d", 0, turn(kind="parse error", novel=("x",), silent=True), turn()),
    ]
    metrics = summarise(rows, LABELS, resamples=20)["metrics"]
    assert metrics["keyword_precision"]["value"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert (metrics["keyword_precision"]["n"], metrics["keyword_lift"]["n"]) == (3, 1)


def test_the_oracles_of_question_and_route_stand_beside_the_first_turn() -> None:
    rows = [
        replace(
            episode(str(n), won, turn(0.5, oracle=0.5)),
            choice=Choice(chosen=0.9 if won else 0.2, mean=0.5, best=0.9),
        )
        for n, won in enumerate([1, 0, 1, 0])
    ]
    beside = summarise(rows, LABELS, resamples=5)["beside"]
    assert beside["oracle.first"]["auroc"] == 0.5
    assert beside["oracle_route.first"]["auroc"] == 1.0
    assert beside["oracle_route.first"]["brier"] == pytest.approx((0.01 + 0.04) / 2)
    assert summarise([episode("a", 1, turn())], LABELS)["beside"]["oracle_route.first"] is None


def test_an_undefined_metric_is_null_with_its_n() -> None:
    metrics = summarise([episode("a", 1, turn(None))], LABELS, resamples=20)["metrics"]
    assert metrics["auroc.first"] == {"value": None, "lo": None, "hi": None, "n": 0}


def test_the_summary_is_a_function_of_episodes_and_seed() -> None:
    rng = np.random.default_rng(3)
    rows = [episode(str(n), int(rng.random() < 0.5), turn(float(rng.random()))) for n in range(40)]
    assert summarise(rows, LABELS) == summarise(rows, LABELS)
    other = summarise(rows, Labels(seed=2))["metrics"]["brier.first"]
    assert other != summarise(rows, LABELS)["metrics"]["brier.first"]


def test_a_thousand_episodes_are_summarised_in_seconds() -> None:
    rng = np.random.default_rng(0)
    rows = [
        episode(str(n), int(rng.random() < 0.5), *(turn(float(rng.random())) for _ in range(3)))
        for n in range(1000)
    ]
    begun = time.process_time()
    summarise(rows, LABELS)
    assert time.process_time() - begun < 20


def test_tasks_are_the_clusters_so_copies_of_a_rollout_narrow_nothing() -> None:
    rng = np.random.default_rng(5)
    once = [episode(str(n), int(rng.random() < 0.5), turn(0.5)) for n in range(60)]
    copied = [
        episode(e.task_id, int(e.success or 0), turn(0.5), rollout=r)
        for e in once
        for r in range(4)
    ]
    narrow = summarise(copied, LABELS)["metrics"]["success"]
    wide = summarise(once, LABELS)["metrics"]["success"]
    assert narrow["hi"] - narrow["lo"] == pytest.approx(wide["hi"] - wide["lo"], abs=0.02)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # 60 files of 80 tasks; a 95 % interval misses more than 9 times with a chance below 1 in 500.
    rng = np.random.default_rng(11)
    missed = 0
    for seed in range(60):
        rows = [episode(str(n), int(rng.random() < 0.4), turn(None)) for n in range(80)]
        cell = summarise(rows, Labels(seed=seed), resamples=300)["metrics"]["success"]
        missed += not cell["lo"] <= 0.4 <= cell["hi"]
    assert missed <= 9


def test_a_paired_difference_of_a_file_with_itself_is_exactly_zero() -> None:
    rng = np.random.default_rng(2)
    rows = [episode(str(n), int(rng.random() < 0.5), turn(float(rng.random()))) for n in range(50)]
    cell = difference(paired_draws(rows, rows, ["auroc.first"], seed=0)["auroc.first"])
    assert cell is not None and (cell["diff"], cell["lo"], cell["hi"]) == (0.0, 0.0, 0.0)


def test_pairing_uses_the_tasks_that_both_files_have() -> None:
    a = [episode("x", 1, turn(0.5)), episode("only-a", 0, turn(0.5))]
    b = [episode("x", 0, turn(0.5)), episode("only-b", 1, turn(0.5))]
    cell = difference(paired_draws(a, b, ["success"], seed=0)["success"])
    assert cell is not None and cell["diff"] == 1.0


def test_disagreeing_seeds_widen_the_interval_over_seeds_alone() -> None:
    def arm(rate: float, seed: int) -> list[Episode]:
        rng = np.random.default_rng(seed)
        return [episode(str(n), int(rng.random() < rate), turn(0.5)) for n in range(200)]

    same = [(arm(0.6, s), arm(0.4, 100 + s)) for s in range(4)]
    apart = [(arm(0.4 + 0.2 * (s % 2) * 2, s), arm(0.4, 100 + s)) for s in range(4)]

    def width(pairs: list[tuple[list[Episode], list[Episode]]], seed: int | None) -> float:
        draws = [paired_draws(*pair, ["success"], seed=k) for k, pair in enumerate(pairs)]
        found = difference(mean_over_seeds([one["success"] for one in draws], seed))
        assert found is not None
        return found["hi"] - found["lo"]

    assert width(apart, 0) > 1.5 * width(same, 0)
    # With the seeds as they are, it says nothing about others, however they disagree.
    assert width(apart, None) == pytest.approx(width(same, None), rel=0.15)


def test_task_counts_draw_as_many_tasks_as_there_are() -> None:
    assert task_counts(7, 30, seed=0).sum(axis=1).tolist() == [7.0] * 30


def test_the_floor_of_the_calibration_error_shrinks_with_n() -> None:
    rng = np.random.default_rng(0)
    small, large = (ece_floor(rng.random(n), seed=0, draws=100) for n in (150, 2000))
    assert small == pytest.approx(0.077, abs=0.02)
    assert large == pytest.approx(0.021, abs=0.008)
    assert ece_floor(np.array([]), seed=0) is None


def test_the_trivial_estimate_of_noise_is_a_coin() -> None:
    rng = np.random.default_rng(4)
    rows = [episode(str(n), int(rng.random() < 0.5), turn(0.5)) for n in range(400)]
    found = trivial_estimate(rows, seed=0)
    assert found["auroc"] == pytest.approx(0.5, abs=0.08)
