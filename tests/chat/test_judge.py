"""Laws of the judge: who is asked, what counts as a verdict, and that silence is never a zero."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forethought.chat.client import ChatClient, Server
from forethought.chat.judge import (
    AGAIN,
    MAX_CHARS,
    TRIES,
    LlmJudge,
    Opinion,
    judge_of,
    read_opinion,
)
from forethought.chat.transport import Response, UnreachableError
from forethought.config import load_config
from forethought.errors import GuardRail, InputError, MissingError
from forethought.rewards.terms import RewardConfig
from forethought.rollout.episodes import to_episode
from forethought.runlog import episode_to_row
from forethought.runlog_rows import episode_from_row
from forethought.stats.summary import Labels, summarise
from forethought.types import Episode, Rollout, RolloutError, StopReason, Task
from tests.chat_fakes import Body, FakeServer

GOLD = ("Barack Obama", "Obama")


def attempt(answer: str | None, number: int = 0, **changes: Any) -> Rollout:
    task = Task(id=f"t{number}", question="Who was it?", answers=GOLD, kind="qa")
    made = Rollout(
        task=task,
        index=0,
        env="e",
        prompt_ids=(1,),
        turns=(),
        answer=answer,
        stop_reason=StopReason.MAX_TURNS if answer is None else StopReason.ANSWER,
        error=None,
        wall_s=0.0,
    )
    return replace(made, **changes)


def facts(body: Body) -> Any:
    return json.loads(body["messages"][1]["content"])


def says(body: Body) -> str:
    """Accepts every prediction that begins with B."""
    same = facts(body)["prediction"].startswith("B")
    return json.dumps({"equivalent": same, "reason": f"{same} for B"})


def episodes(judge: LlmJudge, rollouts: list[Rollout]) -> list[Episode]:
    return [
        to_episode(rollout, RewardConfig(), "e", ruling=ruling)
        for rollout, ruling in zip(rollouts, judge.rule(rollouts), strict=True)
    ]


def test_only_answers_that_are_no_exact_match_are_asked_about_and_equal_ones_once() -> None:
    gone = RolloutError(kind="tool", message="gone")
    fake = FakeServer(says)
    rollouts = [
        attempt("the Obama!"),
        attempt("Barry"),
        attempt("Merkel"),
        attempt(None),
        attempt(" "),
        attempt("Barry", 1),
        attempt("Bush", error=gone, stop_reason=StopReason.ERROR),
    ]
    found = episodes(LlmJudge(fake.client()), rollouts)
    assert sorted(facts(body)["prediction"] for body in fake.bodies) == ["Barry", "Merkel"]
    assert [e.success for e in found] == [1, 1, 0, 0, 0, 1, None]
    assert [e.reward for e in found] == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    how = ["exact", "llm:m", "llm:m", "no_answer", "none", "llm:m", "error:tool"]
    assert [e.judge for e in found] == how
    assert [e.success_em for e in found] == [1, 0, 0, 0, 0, 0, None]
    assert [e.judge_reason for e in found][:3] == ["", "True for B", "False for B"]


def test_the_judge_is_told_question_references_and_prediction_and_nothing_is_drawn() -> None:
    fake = FakeServer(says)
    LlmJudge(fake.client(), max_tokens=77).rule([attempt("B" * (MAX_CHARS + 9))])
    (body,) = fake.bodies
    told = facts(body)
    assert (told["question"], told["references"]) == ("Who was it?", list(GOLD))
    assert told["prediction"] == "B" * MAX_CHARS + " [cut]"
    assert (body["temperature"], body["max_tokens"], "seed" in body) == (0.0, 77, False)
    assert body["messages"][0]["role"] == "system"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"equivalent": true, "reason": " same "}', Opinion(True, "same")),
        ('```json\n{"equivalent": false,\n "reason": "x"}\n```', Opinion(False, "x")),
        (
            '<think>{"equivalent": true} would be wrong</think>{"equivalent": false}',
            Opinion(False, ""),
        ),
        ('{"equivalent": true, "reason": "as {a set} says"}', Opinion(True, "as {a set} says")),
        ('{"equivalent": false, "reason": "it says {\\"equivalent\\": true}"}', None),
        ('{"equivalent": "true"}', None),
        ('{"equivalent": 1}', None),
        ('{"equal": true}', None),
        ('{"equivalent": true', None),
        ("yes", None),
        ("", None),
        ("{" * 5000, None),
    ],
)
def test_a_verdict_is_a_json_object_with_true_or_false(text: str, found: Opinion | None) -> None:
    if "it says" in text:  # a quoted verdict inside the reason is text, not a verdict
        found = Opinion(False, 'it says {"equivalent": true}')
    assert read_opinion(text) == found


def test_who_is_not_clear_is_asked_again_in_the_same_dialogue() -> None:
    def write(body: Body) -> str:
        return says(body) if len(body["messages"]) > 2 else "I think so."

    fake = FakeServer(write)
    (found,) = episodes(LlmJudge(fake.client()), [attempt("Barry")])
    assert (found.success, found.error) == (1, None)
    first, second = fake.bodies
    assert second["messages"][:2] == first["messages"]
    assert [m["content"] for m in second["messages"][2:]] == ["I think so.", AGAIN]


def failing(fake: FakeServer, **limits: Any) -> list[Episode]:
    rollouts = [attempt("Obama"), attempt("Barry", 1), attempt("Merkel", 2), attempt(None, 3)]
    return episodes(LlmJudge(fake.client(tries=2, **limits)), rollouts)


def check_silence(found: list[Episode], reason: str) -> None:
    assert [e.success for e in found] == [1, None, None, 0]
    for lost in found[1:3]:
        assert lost.error is not None and lost.error.kind == "judge"
        assert reason in lost.error.message
        assert lost.stop_reason is StopReason.ERROR
        assert (lost.judge, lost.success_em, lost.f1) == ("error:judge", None, None)
    summary = summarise(found, Labels(seed=0), resamples=10)
    assert summary["num_failed"] == 2
    metrics = summary["metrics"]
    assert [metrics[name]["value"] for name in ("success", "success_em", "f1")] == [0.5, 0.5, 0.5]
    assert [metrics[name]["n"] for name in ("success", "success_em", "f1")] == [2, 2, 2]


def test_no_verdict_after_all_retries_is_a_lost_rollout_and_never_a_zero() -> None:
    fake = FakeServer(lambda body: "no json")
    check_silence(failing(fake), "no verdict in 'no json'")
    assert len(fake.bodies) == 2 * TRIES


@pytest.mark.parametrize(
    "what",
    [
        Response(status=500, body=b""),
        UnreachableError("unreachable: refused"),
    ],
    ids=["broken", "down"],
)
def test_a_server_that_fails_loses_the_rollout_and_never_gives_a_zero(what: Any) -> None:
    check_silence(failing(FakeServer(lambda body: what), parallel=1), "")


def test_one_refused_request_is_lost_and_a_server_that_refuses_all_is_the_users_to_mend() -> None:
    long = Response(status=400, body=b"too long")
    fake = FakeServer(lambda body: long if facts(body)["prediction"] == "Bush" else says(body))
    found = episodes(LlmJudge(fake.client()), [attempt("Barry"), attempt("Bush", 1)])
    assert [e.success for e in found] == [1, None]
    assert found[1].error is not None and "too long" in found[1].error.message
    with pytest.raises(InputError, match="HTTP 400: too long"):
        LlmJudge(fake.client()).rule([attempt("Bush")])


def test_what_was_said_before_the_server_went_down_still_counts(tmp_path: Path) -> None:
    LlmJudge(FakeServer(says).client(tmp_path)).rule([attempt("Barry")])
    down = FakeServer(lambda body: UnreachableError("unreachable: refused"))
    judge = LlmJudge(down.client(tmp_path, tries=1))
    found = episodes(judge, [attempt("Barry"), attempt("Bush", 1)])
    assert [e.success for e in found] == [1, None]


def test_a_wrong_key_and_a_missing_address_are_the_users_to_mend() -> None:
    refusing = FakeServer(lambda body: Response(status=401, body=b"bad key"))
    with pytest.raises(InputError, match="bad key"):
        LlmJudge(refusing.client()).rule([attempt("Barry")])
    with pytest.raises(MissingError, match="OPENAI_BASE_URL"):
        LlmJudge(ChatClient(Server("m", ""))).rule([attempt("Barry")])


def test_exact_match_and_verdict_stand_in_columns_of_their_own() -> None:
    rollouts = [attempt(a, n) for n, a in enumerate(("Obama", "Barry Obama", "Bush", "Merkel"))]
    found = episodes(LlmJudge(FakeServer(says).client()), rollouts)
    again = [episode_from_row(json.loads(json.dumps(episode_to_row(e))), "f", 1) for e in found]
    assert again == found
    for rows in (found, again):
        metrics = summarise(rows, Labels(seed=0), resamples=10)["metrics"]
        assert metrics["success"]["value"] == 0.75
        assert metrics["success_em"]["value"] == 0.25
        assert metrics["f1"]["value"] == pytest.approx((1 + 2 / 3) / 4)
    exact = [to_episode(rollout, RewardConfig(), "e") for rollout in rollouts]
    metrics = summarise(exact, Labels(seed=0), resamples=10)["metrics"]
    assert metrics["success"]["value"] == 0.25
    assert not {"success_em", "f1"} & set(metrics)
    assert not {"success_em", "f1", "judge_reason"} & set(episode_to_row(exact[0]))


def test_a_killed_run_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    rollouts = [attempt(f"B{n}", n) for n in range(12)]
    left = threading.Semaphore(5)

    def dying(body: Body) -> str | Exception:
        return says(body) if left.acquire(blocking=False) else SystemError("killed")

    first, second, third = FakeServer(dying), FakeServer(says), FakeServer(says)
    with pytest.raises(SystemError):
        LlmJudge(first.client(tmp_path, parallel=2)).rule(rollouts)
    resumed = LlmJudge(second.client(tmp_path))
    assert resumed.estimate(rollouts).cached == 5
    found = resumed.rule(rollouts)
    assert len(second.bodies) == 7
    assert LlmJudge(third.client(tmp_path)).rule(rollouts) == found
    assert third.bodies == []


def test_rulings_do_not_hang_on_the_order_of_the_replies() -> None:
    rollouts = [attempt(f"{'BC'[n % 3 == 0]}{n}", n) for n in range(9)]

    def late(body: Body) -> float:
        return 0.005 * (9 - int(facts(body)["prediction"][1:]))

    slow = LlmJudge(FakeServer(says, late).client(parallel=9)).rule(rollouts)
    assert slow == LlmJudge(FakeServer(says).client(parallel=1)).rule(rollouts)


def test_a_spending_bound_stops_the_run() -> None:
    judge = LlmJudge(FakeServer(says).client(parallel=1, max_tokens=30))
    with pytest.raises(GuardRail, match="bound"):
        judge.rule([attempt(f"B{n}", n) for n in range(9)])


def test_the_judge_of_a_configuration_is_none_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert judge_of(load_config("demo/atlas"), needed=True) is None
    with pytest.raises(InputError, match=r"judge\.model"):
        load_config("demo/atlas", {"judge.kind": "llm"})
    config = load_config("demo/atlas", {"judge.kind": "llm", "judge.model": "x"})
    with pytest.raises(MissingError, match="OPENAI_BASE_URL"):
        judge_of(config, needed=True)
    judge = judge_of(config)
    assert judge is not None and judge.name == "llm:x"
