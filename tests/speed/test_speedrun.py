"""benchmarks/speedrun.py: the record passes, and each broken rule is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from speed_builders import ROOT, script

from forethought.report.tables import drifted
from forethought.types import Action

RECORD = ROOT / "records" / "2026-11-28-demo-atlas"
Broken = dict[str, str]


@pytest.fixture
def speedrun(monkeypatch: pytest.MonkeyPatch) -> Any:
    return script(monkeypatch, "speedrun")


@pytest.fixture
def run(speedrun: Any) -> Any:
    return speedrun.read_run(RECORD / "seed-124")


def test_the_first_record_passes_and_is_what_the_page_says(
    speedrun: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speedrun.main([str(RECORD), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["schema"] == "forethought.speedrun/1" and verdict["passed"]
    assert [run["seed"] for run in verdict["runs"]] == [120, 121, 122, 123, 124]
    page = (ROOT / "docs" / "speedrun.md").read_text("utf-8")
    minutes = [run["cpu_min"] for run in verdict["runs"]]
    mean = verdict["mean"]["cpu_min"]
    assert f"| {mean:.1f} ({min(minutes):.1f} to {max(minutes):.1f}) |" in page
    assert f"least .{speedrun.SUCCESS * 100:.0f}" in page
    assert f"and .{speedrun.SKILL * 100:.0f} Brier skill" in page
    assert drifted(ROOT / "docs" / "speedrun.md", ROOT) == []


def test_one_run_is_no_entry_and_one_seed_is_one(speedrun: Any, run: Any) -> None:
    for runs in ([run], [run] * 5):
        verdict = speedrun.judge(runs)
        assert [rule["rule"] for rule in verdict["rules"] if not rule["kept"]] == ["seeds"]
        assert not verdict["passed"] and "FAIL  seeds" in speedrun.table(verdict)


def rules(speedrun: Any, run: Any, episodes: list[Any]) -> Broken:
    found = speedrun.broken_rules(replace(run, episodes=episodes))
    return {rule: why for rule, why in found.items() if why}


def test_each_rule_sees_what_breaks_it(speedrun: Any, run: Any) -> None:
    first, *rest = run.episodes
    assert rules(speedrun, run, run.episodes) == {}
    assert set(rules(speedrun, run, rest)) == {"tasks"}
    assert set(rules(speedrun, run, [first, *run.episodes])) == {"tasks"}
    assert set(rules(speedrun, run, [replace(first, split="train"), *rest])) == {"tasks"}
    other = replace(first, success=1 - first.success)
    assert set(rules(speedrun, run, [other, *rest])) == {"grades"}
    mute = [
        replace(e, turns=tuple(replace(t, foresight=None) for t in e.turns))
        for e in run.episodes[:20]
    ]
    assert set(rules(speedrun, run, [*mute, *run.episodes[20:]])) == {"blocks"}
    search = Action(kind="search", text="nothing")
    turn = replace(first.turns[0], action=search, observation="told")
    wrong = replace(first, turns=(turn, *first.turns[1:]))
    assert set(rules(speedrun, run, [wrong, *rest])) == {"world"}
    assert set(speedrun.broken_rules(replace(run, smoke=True))) >= {"whole"}


def test_too_little_success_or_skill_is_told(
    speedrun: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speedrun, "METRICS", dict.fromkeys(speedrun.METRICS, 0.99))
    kept = {rule["rule"]: rule["kept"] for rule in speedrun.judge([run])["rules"]}
    assert [kept[metric] for metric in speedrun.METRICS] == [False, False]


def test_a_folder_without_a_run_is_a_message(speedrun: Any, tmp_path: Path) -> None:
    assert speedrun.main([str(tmp_path)]) == 2
