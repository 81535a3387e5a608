"""Risk and coverage on the page, and the table of modes at equal cost, from files alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forethought.cli import main
from forethought.jsonl import write_json, write_jsonl
from forethought.report.figures import risk_coverage
from forethought.report.page import build_page
from forethought.report.selective import policy_of, selective_figures
from forethought.runlog import RunPaths, episode_to_row
from forethought.stats.selective import aurc, risk_curve
from forethought.stats.summary import Labels, summarise
from forethought.types import Episode, StopReason
from tests.stats.stats_builders import episode, turn


def episodes(num: int = 20, k: int = 1, tokens: int = 10) -> list[Episode]:
    """The higher q, the more is won."""
    return [
        replace(
            episode(f"t{n}", int(n % 4 < 2), turn(0.9 if n % 4 < 2 else 0.2), rollout=r),
            tokens_sampled=tokens,
            answer="buzur" if n % 4 < 2 else f"wrong {r % 2}",
        )
        for n in range(num)
        for r in range(k)
    ]


def write(folder: Path, found: list[Episode], model: str = "m") -> Path:
    write_jsonl(folder / "episodes.jsonl", (episode_to_row(one) for one in found))
    write_json(folder / "summary.json", summarise(found, Labels(seed=1, model_sha256=model)))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    paths = RunPaths(tmp_path / "run")
    write_json(paths.resolved, {"name": "r", "seed": 3, "smoke": True})
    write(paths.eval_dir("rl"), episodes())
    return paths.root


def test_the_mean_height_of_the_curve_is_the_area() -> None:
    rng = np.random.default_rng(0)
    q = rng.random(200)
    y = (rng.random(200) < q).astype(np.float64)
    heights = [risk for _, risk in risk_curve(q, y, points=2000)]
    assert np.mean(heights) == pytest.approx(aurc(q, y, np.ones((1, 200)))[0], abs=2e-3)
    assert risk_curve(q, y)[-1] == pytest.approx((1.0, 1 - y.mean()))
    assert risk_curve(np.zeros(0), np.zeros(0)) == []


def test_the_page_has_the_figure_from_the_second_estimate_on(run: Path) -> None:
    assert "Answering only when sure" not in build_page(run).read_text()
    silent = [replace(e, turns=(turn(None),)) for e in episodes()]
    write(RunPaths(run).eval_dir("base"), silent)
    assert "Answering only when sure" not in build_page(run).read_text()
    write(RunPaths(run).eval_dir("rl-imagine4"), episodes())
    text = build_page(run).read_text()
    figure = text.split("Answering only when sure")[1].split("</svg>")[0]
    assert figure.count("<polyline") == 2 and "rl: risk and coverage" in figure
    assert ">rl</text>" in figure and ">rl-imagine4</text>" in figure


def test_ways_of_one_policy_share_a_figure_and_many_are_cut() -> None:
    names = ["sft", "fe-sft-grpo-rl", "rl", "rl-greedy", *(f"rl-abstain-{n}" for n in range(5))]
    known = dict.fromkeys(names, episodes())
    assert policy_of("rl-greedy", known) == policy_of("rl-abstain-4", known) == "rl"
    assert policy_of("fe-sft-grpo-rl", known) == "fe-sft-grpo-rl"
    assert [figure.count("<polyline") for figure in selective_figures(known)] == [1, 1, 4, 3]


def points_of(figure: str) -> list[tuple[float, float]]:
    found = re.search(r'points="([^"]+)"', figure)
    assert found is not None
    x, y = zip(*(map(float, pair.split(",")) for pair in found[1].split()), strict=True)
    return list(zip(x, y, strict=True))


def test_a_perfect_estimate_lies_on_the_floor_until_only_losses_are_left() -> None:
    heights = [y for _, y in points_of(selective_figures({"a": episodes(), "b": episodes()})[0])]
    half = len(heights) // 2
    # Down the page is towards 0: while only the sure ones are answered nothing is lost.
    assert len(set(heights[:half])) == 1 and heights[-1] < heights[half - 1] == max(heights)
    assert risk_coverage("t", [("a", [])]) == ""


def test_the_line_of_a_mode_that_abstains_ends_on_that_of_the_policy_itself() -> None:
    own = [replace(e, success=int(n % 3 > 0)) for n, e in enumerate(episodes(20))]
    held = [
        replace(e, stop_reason=StopReason.ABSTAIN, success=0)
        if (e.turns[-1].q_expected or 0.0) < 0.5
        else e
        for e in own
    ]
    full, part = (points_of(figure) for figure in selective_figures({"a": own, "b": held}))
    assert part[-1][0] == pytest.approx((full[0][0] + full[-1][0]) / 2, abs=4)
    for x, y in part:
        assert min(abs(x - a) + abs(y - b) for a, b in full) < 4


def test_names_are_escaped() -> None:
    assert "<b>" not in risk_coverage("<b>", [("<b>", [(1.0, 0.5)])])


def test_report_prints_each_mode_beside_the_vote_at_its_cost(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = RunPaths(run)
    samples = write(paths.eval_dir("rl-samples"), episodes(k=4))
    write(paths.eval_dir("rl-imagine4"), episodes(tokens=25))
    write(paths.eval_dir("rl-dear"), episodes(tokens=90))
    write(paths.eval_dir("sft"), episodes(), model="another")
    assert main(["report", str(run), "--budget", str(samples), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "forethought.budget/1" and document["k"] == 4
    rows = {row["evaluation"]: row for row in document["rows"]}
    assert set(rows) == {"rl", "rl-imagine4", "rl-dear"}
    assert rows["rl"]["rollouts"]["value"] == pytest.approx(1.0)
    assert rows["rl-imagine4"]["rollouts"]["value"] == pytest.approx(2.5)
    assert rows["rl-dear"]["voted"]["value"] is None
    assert main(["report", str(run / "evals" / "sft"), "--budget", str(samples)]) == 0
    table = capsys.readouterr().out
    assert "sft" in table and "self-consistency, 20 tasks" in table


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evals/rl", "--budget", "evals/rl"], "several rollouts"),
        (["evals/other", "--budget", "evals/rl-samples"], "no task of"),
        (["evals/rl-samples", "--budget", "evals/rl-samples"], "no evaluation beside"),
        (["evals/rl", "--budget", "evals/nowhere"], "nowhere"),
        (["evals/rl", "--budget", "evals/rl-samples", "--check", "README.md"], "--check"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    run: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run)
    write(RunPaths(run).eval_dir("rl-samples"), episodes(k=4))
    write(RunPaths(run).eval_dir("other"), [replace(e, task_id="x") for e in episodes(2)])
    assert main(["report", *words]) == 2
    assert said in capsys.readouterr().err
