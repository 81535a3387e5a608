"""Laws of several attempts at a task, and of the use of tools."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.stats.attempts import pass_at_k, shown
from forethought.stats.summary import Labels, summarise
from forethought.types import Episode, StopReason
from tests.stats.stats_builders import episode, turn

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")


def metrics(rows: list[Episode], resamples: int = 50) -> dict[str, Any]:
    found: dict[str, Any] = summarise(rows, Labels(seed=1), resamples=resamples)["metrics"]
    return found


def tried(task: str, *outcomes: int) -> list[Episode]:
    return [episode(task, won, turn(), rollout=r) for r, won in enumerate(outcomes)]


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_all_draws_that_hold_a_right_one(n: int, data: Any) -> None:
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(combinations([1] * right + [0] * (n - right), k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(map(max, draws)) / len(draws))


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("k", [1, 4, 10])
def test_pass_at_k_is_unbiased_and_the_naive_power_is_not(p: float, k: int) -> None:
    n = 10
    chance = [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    truth = 1 - (1 - p) ** k
    expected = sum(w * pass_at_k(n, c, k) for c, w in enumerate(chance))
    naive = sum(w * (1 - (1 - c / n) ** k) for c, w in enumerate(chance))
    assert expected == pytest.approx(truth)
    assert naive == pytest.approx(truth) if k == 1 else naive < truth - 1e-6


def test_powers_of_two_and_all_attempts_are_shown() -> None:
    assert [shown(n) for n in (2, 3, 4, 30)] == [[2], [2, 3], [2, 4], [2, 4, 8, 16, 30]]


def test_mean_and_pass_at_k_count_tasks() -> None:
    found = metrics([*tried("a", 1, 0, 0, 0), *tried("b", 1, 1, 1, 1), *tried("c", 0, 0, 0, 0)])
    assert found["mean_at_4"]["value"] == pytest.approx((0.25 + 1 + 0) / 3)
    assert found["pass_at_2"]["value"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["pass_at_4"]["value"] == pytest.approx(2 / 3)
    assert {found[name]["n"] for name in ("mean_at_4", "pass_at_2", "pass_at_4")} == {3}


def test_one_attempt_a_task_has_no_pass_at_k() -> None:
    found = metrics([*tried("a", 1), *tried("b", 0)])
    assert not [name for name in found if name.startswith(("pass_at", "mean_at"))]


def test_a_task_that_lost_attempts_to_the_machine_is_in_no_pass_at_more() -> None:
    lost = episode("b", 0, turn(), rollout=2, failed=True)
    found = metrics([*tried("a", 1, 0, 0), *tried("b", 1, 0), lost])
    assert found["pass_at_2"]["n"] == 2 and found["pass_at_3"]["n"] == 1
    assert found["mean_at_3"]["value"] == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_tasks_are_the_clusters_so_more_attempts_at_the_same_ones_narrow_little() -> None:
    def width(attempts: int) -> float:
        rows = [e for n in range(40) for e in tried(str(n), *[int(n % 2)] * attempts)]
        cell = metrics(rows, 2000)[f"mean_at_{attempts}"]
        return float(cell["hi"] - cell["lo"])

    assert width(16) == pytest.approx(width(2), abs=1e-9)
    assert width(2) > 0.25  # 40 tasks, half of them won


def test_calls_that_failed_are_a_share_of_calls_and_use_one_of_episodes() -> None:
    call, answer, void = turn(kind="python"), turn(kind="answer"), replace(turn(), action=None)
    failed = replace(call, tool_error=True)
    found = metrics(
        [
            episode("a", 1, call, failed, void, answer),
            episode("b", 0, answer),
            episode("c", 0, replace(void, tool_error=True)),
            episode("d", 1, call, call, failed),
        ]
    )
    cells = {name: (found[name]["value"], found[name]["n"]) for name in found}
    assert cells["tool_use_rate"] == (0.5, 4)
    assert cells["execution_error_rate"] == (pytest.approx(2 / 5), 2)
    assert cells["tool_error_rate"] == (pytest.approx(3 / 7), 3)
    assert cells["turns"] == (pytest.approx(9 / 4), 4)
    none = metrics([episode("b", 0, answer)])["execution_error_rate"]
    assert (none["value"], none["n"]) == (None, 0)


def listed() -> list[str]:
    """What stands in backticks in the first cells of the first table of docs/metrics.md."""
    table = PAGE.split("## Training curves")[0]
    cells = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def pattern(name: str) -> str:
    places = {"CUT": "(?:first|last|all)", "K": "[0-9]+", "NAME": "[a-z_0-9]+"}
    return re.sub("CUT|NAME|K$", lambda place: places[place[0]], name.replace(".", r"\."))


def everything() -> set[str]:
    """The names of a summary that has all there is: attempts, a judge, a mode that holds back."""
    rows = [*tried("a", 1, 0), *tried("b", 0, 1)]
    rows = [replace(e, success_em=e.success, f1=0.5, tokens_extra=1) for e in rows]
    return set(metrics([*rows, replace(rows[0], stop_reason=StopReason.ABSTAIN, success=0)]))


def test_every_metric_of_a_summary_is_in_the_docs_and_every_row_is_one() -> None:
    names = everything()
    for name in names:
        assert any(re.fullmatch(pattern(row), name) for row in listed()), name
    for row in listed():
        assert any(re.fullmatch(pattern(row), name) for name in names), row
