"""`eval --model openai:NAME` and `--judge.kind llm` from outside, with a server of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forethought.chat.transport import Response
from forethought.cli import main
from forethought.jsonl import write_jsonl
from forethought.runlog import read_episodes
from forethought.types import Episode
from tests.chat_fakes import Body, FakeServer, completion, serving

BLOCK = (
    "<imaginary>the page of the city</imaginary>\n<keyword>harbour, river</keyword>\n"
    "<analysis>it may be missing</analysis>\n<confidence>{}%</confidence>\n<think>x</think>\n"
)
TASKS = [
    {"id": "a", "question": "Which river is in Hamburg?", "answers": ["Elbe"], "kind": "qa"},
    {"id": "b", "question": "Which river is in Lyon?", "answers": ["Rhone"], "kind": "qa"},
    {"id": "c", "question": "Which river is in Bonn?", "answers": ["Rhine"], "kind": "qa"},
]
PAGES = [
    {"id": "1", "title": "Hamburg", "text": "A harbour on the Elbe."},
    {"id": "2", "title": "Lyon", "text": "A town on the Rhone."},
]


def write(body: Body) -> Response | str:
    """A policy that searches once and answers, and a judge that knows one other name."""
    if "references" in body["messages"][-1]["content"]:
        facts = json.loads(body["messages"][-1]["content"])
        same = facts["prediction"] == "the river Rhone"
        return json.dumps({"equivalent": same, "reason": "another name"})
    question = body["messages"][1]["content"]
    block = "" if "<imaginary>" not in body["messages"][0]["content"] else BLOCK
    if len(body["messages"]) == 2:
        return completion(
            f"{block.format(40)}<search>{question.split()[-1][:-1]}", prompt_tokens=90
        )
    answer = {"Hamburg": "Elbe", "Lyon": "the river Rhone", "Bonn": "Danube"}
    told = next(a for city, a in answer.items() if city in question)
    return completion(f"{block.format(70)}<answer>{told}", prompt_tokens=150, completion_tokens=21)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeServer]:
    monkeypatch.setenv("FORETHOUGHT_HOME", str(tmp_path / "home"))
    with serving(write) as (url, fake):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        yield fake


@pytest.fixture
def evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `eval` over the three questions; code, summary, episodes and messages."""
    files = [str(tmp_path / "tasks.jsonl"), str(tmp_path / "corpus.jsonl")]
    write_jsonl(Path(files[0]), TASKS)
    write_jsonl(Path(files[1]), PAGES)

    def call(*words: str, name: str = "out") -> tuple[int, dict[str, Any], list[Episode], str]:
        out = tmp_path / name
        common = ["--json", "--out", str(out), "--eval.resamples", "20", "--served.tries", "2"]
        sources = [] if "--worlds" in words else ["--tasks", files[0], "--corpus", files[1]]
        code = main(["eval", "demo/atlas", "--model", "openai:m", *common, *sources, *words])
        said = capsys.readouterr()
        if code:
            return code, {}, [], said.err
        return code, json.loads(said.out), read_episodes(out / "episodes.jsonl"), said.err

    return call


def story(episodes: list[Episode]) -> list[Any]:
    return [(e.task_id, e.success, e.answer, e.judge, e.turns, e.tokens_sampled) for e in episodes]


def test_any_model_is_asked_for_its_block_and_judged_as_ours_are(
    evaluated: Any, server: FakeServer, tmp_path: Path
) -> None:
    code, summary, episodes, said = evaluated("--parallel", "2")
    assert (code, summary["num_rollouts"], summary["num_failed"]) == (0, 3, 0)
    assert [e.success for e in episodes] == [1, 0, 0]
    first = episodes[0]
    assert [t.foresight.q for t in first.turns if t.foresight] == [0.4, 0.7]
    assert [t.q_expected for t in first.turns] == [None, None]
    assert first.turns[0].observation == "Doc 1 (Title: Hamburg) A harbour on the Elbe."
    assert first.turns[0].keywords_hit == ("harbour",)
    assert all(turn.format_ok for e in episodes for turn in e.turns)
    assert summary["metrics"]["brier.first"]["n"] == 3
    assert summary["metrics"]["brier_expected.first"]["n"] == 0
    words = len(f"{BLOCK.format(40)}<search>Hamburg".split())
    assert (first.tokens_prompt, first.tokens_sampled) == (90, words + 21)
    assert first.tokens_observation == 150 - 90 - words
    assert "at most 18 requests" in said
    assert not (tmp_path / "out" / "tokens.jsonl").exists()


def test_a_second_run_asks_for_nothing_and_says_the_same(
    evaluated: Any, server: FakeServer
) -> None:
    judge = ["--judge.kind", "llm", "--judge.model", "j", "--samples", "2"]
    _, _, first, _ = evaluated(*judge, "--parallel", "1", name="one")
    asked = len(server.bodies)
    _, _, second, _ = evaluated(*judge, "--parallel", "8", name="two")
    assert asked > 0 and len(server.bodies) == asked
    assert story(first) == story(second)
    seeds = [body["seed"] for body in server.bodies if "seed" in body]
    assert len(set(seeds)) == len(seeds) == 12


def test_a_judge_decides_where_there_is_no_exact_match_and_stands_beside_it(
    evaluated: Any, server: FakeServer
) -> None:
    _, summary, episodes, said = evaluated("--judge.kind", "llm", "--judge.model", "j")
    assert [e.success for e in episodes] == [1, 1, 0]
    assert [e.judge for e in episodes] == ["exact", "llm:j", "llm:j"]
    assert [e.judge_reason for e in episodes] == ["", "another name", "another name"]
    values = {name: cell["value"] for name, cell in summary["metrics"].items()}
    assert values["success"] == pytest.approx(2 / 3)
    assert values["success_em"] == pytest.approx(1 / 3)
    assert values["f1"] == pytest.approx((1 + 2 / 3) / 3)
    assert summary["judge"] == "llm:j"
    assert "judge llm:j: 2 requests, 0 of them cached" in said
    judged = [body for body in server.bodies if body["model"] == "j"]
    assert len(judged) == 2 and all(body["temperature"] == 0.0 for body in judged)


def test_plain_has_no_block_and_no_estimate(evaluated: Any, server: FakeServer) -> None:
    _, summary, episodes, _ = evaluated("--mode", "plain")
    assert all("<imaginary>" not in body["messages"][0]["content"] for body in server.bodies)
    assert summary["metrics"]["q_missing"]["value"] == 1.0
    assert episodes[0].success == 1


@pytest.mark.parametrize("config", ["demo/atlas", "demo/workbook"])
def test_questions_of_the_worlds_come_with_what_a_stranger_must_know(
    server: FakeServer, tmp_path: Path, config: str
) -> None:
    words = ["--model", "openai:m", "--num", "2", "--out", str(tmp_path / "o"), "--mode", "plain"]
    server._write = lambda body: "<think>x</think>\n<answer>none"
    assert main(["eval", config, *words, "--eval.resamples", "10"]) == 0
    told = server.bodies[0]["messages"][0]["content"]
    assert "A question reads" in told
    assert ("- loop(input)" in told) == (config == "demo/workbook")
    assert ("python" in told) is False
    episodes = read_episodes(tmp_path / "o" / "episodes.jsonl")
    assert all(turn.oracle_p is not None for e in episodes for turn in e.turns)


def test_a_request_that_fails_is_a_lost_rollout_and_the_others_count(
    evaluated: Any, server: FakeServer
) -> None:
    def failing(body: Body) -> Response | str:
        lyon = "Lyon" in body["messages"][1]["content"] and len(body["messages"]) > 2
        return Response(status=400, body=b"too long") if lyon else write(body)

    server._write = failing
    code, summary, episodes, said = evaluated()
    assert (code, summary["num_failed"]) == (0, 1)
    assert [e.success for e in episodes] == [1, None, 0]
    assert episodes[1].error is not None and episodes[1].error.kind == "backend"
    assert summary["metrics"]["success"]["n"] == 2
    assert "1 of 3 rollouts were lost" in said and "too long" in said


def test_a_judge_without_verdicts_loses_rollouts_and_says_what_that_does(
    evaluated: Any, server: FakeServer
) -> None:
    def mute(body: Body) -> Response | str:
        return "hm" if body["model"] == "j" else write(body)

    server._write = mute
    code, summary, episodes, said = evaluated("--judge.kind", "llm", "--judge.model", "j")
    assert (code, summary["num_failed"]) == (0, 2)
    assert [e.success for e in episodes] == [1, None, None]
    assert {e.error.kind for e in episodes if e.error is not None} == {"judge"}
    assert "2 of 3 rollouts got no verdict" in said and "too high" in said


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["--mode", "imagine-4"], 2, "--mode"),
        (["--mode", "abstain-40"], 2, "--mode"),
        (["--estimates"], 2, "--estimates"),
        (["--model", "openai:"], 2, "--model"),
        (["--model", "planner", "--parallel", "2"], 2, "--parallel"),
        (["--judge.kind", "llm"], 2, "judge.model"),
        (["--served.max_total_tokens", "20", "--parallel", "1"], 3, "bound"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_refused_by_name(
    evaluated: Any, server: FakeServer, words: list[str], code: int, named: str
) -> None:
    found, _, _, said = evaluated(*words)
    assert found == code and named in said


def test_without_a_server_there_is_nothing_to_ask(
    evaluated: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FORETHOUGHT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    code, _, _, said = evaluated()
    assert code == 4 and "OPENAI_BASE_URL" in said
    code, _, _, said = evaluated("--model", "planner", "--judge.kind", "llm", "--judge.model", "j")
    assert code == 4 and "OPENAI_BASE_URL" in said


def test_a_scripted_policy_may_be_judged_too(evaluated: Any, server: FakeServer) -> None:
    server._write = lambda body: '{"equivalent": true, "reason": "so be it"}'
    words = ["--model", "reactive", "--worlds", "100000:100002"]
    _, summary, episodes, _ = evaluated(*words, "--judge.kind", "llm", "--judge.model", "j")
    _, exact, _, _ = evaluated(*words)
    assert summary["metrics"]["success_em"]["value"] == exact["metrics"]["success"]["value"]
    assert all(e.success for e in episodes if e.answer is not None)
    assert "success_em" not in exact["metrics"] and exact["judge"] == "exact"
