"""GSM8K as the stages see it: which rows train, validate and test, and what is imitated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forethought.config import load_config
from forethought.domains import gsm8k, make_domain
from forethought.domains.gsm8k import VALIDATION_SHARE, Gsm8kDomain
from forethought.envs.maths import MathsPython, MathsSession
from forethought.tools.sandbox import open_sandbox

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl"


@pytest.fixture
def domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gsm8kDomain:
    rows = FIXTURE.read_text(encoding="utf-8").splitlines()
    tests = [
        {**json.loads(row), "question": f"Again: {json.loads(row)['question']}"} for row in rows
    ]
    (tmp_path / "gsm8k_train.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "gsm8k_test.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in tests), encoding="utf-8"
    )
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    return Gsm8kDomain.from_config(load_config("maths/gsm8k-smollm2"))


def test_validation_rows_never_train(domain: Gsm8kDomain) -> None:
    count = len(FIXTURE.read_text(encoding="utf-8").splitlines())
    held_out = {task.question for task in domain.tasks("val", count)}
    assert len(held_out) == round(count * VALIDATION_SHARE)
    trained = {t.task.question for t in domain.trajectories(10**6, None)}
    trained |= {task.question for task in domain.tasks("train", count)}
    assert trained and not trained & held_out
    assert not any(question.startswith("Again") for question in trained | held_out)


def test_tasks_behind_an_offset_are_others(domain: Gsm8kDomain) -> None:
    first = {task.id for task in domain.tasks("test", 6)}
    later = {task.id for task in domain.tasks("test", 4, offset=6)}
    assert len(later) == 4 and not first & later


def test_half_of_the_test_rows_have_few_annotations_and_all_say_their_kind(
    domain: Gsm8kDomain,
) -> None:
    tasks = domain.tasks("test", 12)
    assert [task.columns["group"] for task in tasks] == ["few annotations"] * 6 + ["all kinds"] * 6
    assert len({task.id for task in tasks}) == 12


def test_planted_slips_are_told_and_not_imitated(domain: Gsm8kDomain) -> None:
    assert any(not trajectory.success for trajectory in domain.trajectories(10**6, None))
    assert domain.imitate_failures is False


SOURCES: dict[str, dict[str, str]] = {
    "gsm8k": {},
    "maths": {"data.source": "maths", "data.benchmarks": '["plain-maths:absent_train.jsonl"]'},
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("keys", "kind", "level"),
    [
        ({}, MathsPython, "bwrap"),
        ({"tools.session": "true", "tools.sandbox": "landlock"}, MathsSession, "landlock"),
    ],
)
def test_programs_of_the_policy_run_where_the_configuration_says(
    source: str,
    keys: dict[str, str],
    kind: type[MathsPython],
    level: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named: list[str] = []
    monkeypatch.setattr(
        gsm8k, "open_sandbox", lambda name: named.append(name) or open_sandbox(name)
    )
    env = make_domain(load_config("maths/gsm8k-smollm2", keys | SOURCES[source])).make_env()
    env.reset(question="?")
    assert type(env) is kind and env.python("print(6 * 7)") == "42"
    assert open_sandbox(named[0]).level == level
