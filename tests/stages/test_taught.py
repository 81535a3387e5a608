"""Stage 0 with a teacher: what does not come is left out and counted, what costs too much stops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forethought.chat.client import ChatClient, ChatLimits, Prices, Server
from forethought.chat.transport import Response
from forethought.config import load_config
from forethought.domains.gsm8k import Gsm8kDomain
from forethought.errors import GuardRail, InputError, MissingError
from forethought.hindsight.records import Branch, Label, Labelled
from forethought.hindsight.teacher import TeacherWriter
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import MathsWriter
from forethought.jsonl import read_json, read_jsonl
from forethought.schema import TeacherConfig
from forethought.stages import prepare
from forethought.stages.context import open_run
from forethought.stages.teacher import fetch_blocks
from forethought.types import Action, StopReason, Task

FIXTURE = Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl"
REPLY = {
    "roadmap": "Multiply the two counts, then add the rest",
    "missing": "One result is missing",
    "keywords": ["even", "product"],
    "good": "A direct calculation",
    "open": "The order may be wrong",
    "poor": "A count is lacking",
}


class FakeServer:
    """Writes a block, but not where the prompt holds one of these words."""

    def __init__(self, *fails: str, **more: object) -> None:
        self.fails = fails
        self.more = more
        self.num = 0

    def __call__(self, url: str, headers: dict[str, str], body: bytes, timeout: float) -> Response:
        self.num += 1
        prompt = json.loads(body)["messages"][-1]["content"]
        failed = any(word in prompt for word in self.fails)
        text = "I cannot" if failed else json.dumps(REPLY | self.more)
        row = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        return Response(status=200, body=json.dumps(row).encode())


def writer(server: FakeServer, **prices: float) -> TeacherWriter:
    client = ChatClient(
        Server("m", "http://localhost:1"),
        limits=ChatLimits(tries=1),
        prices=Prices(**prices),
        transport=server,
    )
    return TeacherWriter(client=client, rules=MathsWriter())


def item(number: int) -> Labelled:
    steps = (
        Step(think="so", action=Action(kind="python", text=f"print({number})"), observation="12"),
        Step(think="then", action=Action(kind="answer", text="12"), observation=""),
    )
    other = (
        Step(think="or", action=Action(kind="python", text=f"print(-{number})"), observation="-1"),
        Step(think="then", action=Action(kind="answer", text="-1"), observation=""),
    )
    label = Label(value=0.5, source="monte_carlo", s=1, k=2, prior=0.5)
    return Labelled(
        trajectory=Trajectory(
            task=Task(
                id=f"t{number}",
                question=f"task {number}?",
                answers=("12",),
                kind="maths",
                split="train",
            ),
            source_policy="recorded",
            steps=steps,
            success=True,
            stop_reason=StopReason.ANSWER,
        ),
        labels=(label, label),
        branches=(Branch(step=0, steps=other, success=False, s=0, k=2),),
    )


ITEMS = [item(number) for number in range(100, 140)]


def test_every_block_twin_and_branch_is_asked_for_once() -> None:
    server = FakeServer()
    kept, report = fetch_blocks(ITEMS, writer(server), TeacherConfig(model="m"))
    assert kept == ITEMS and server.num == report["requests"] == 40 * (2 + 1 + 1)
    assert (report["failed"], report["trajectories_left_out"]) == (0, 0)


def test_what_does_not_come_is_left_out_and_counted() -> None:
    section = TeacherConfig(model="m")
    kept, report = fetch_blocks(ITEMS, writer(FakeServer("task 101?")), section)
    assert kept == [ITEMS[0], *ITEMS[2:]]
    assert (report["failed"], report["trajectories_left_out"]) == (4, 1)
    kept, _ = fetch_blocks(ITEMS, writer(FakeServer("print(-102)")), section)
    assert kept == [*ITEMS[:2], replace(ITEMS[2], branches=()), *ITEMS[3:]]


def test_too_many_failures_and_too_high_a_price_stop_the_run() -> None:
    with pytest.raises(GuardRail, match="160 of 160 blocks"):
        fetch_blocks(ITEMS, writer(FakeServer("task")), TeacherConfig(model="m"))
    server = FakeServer()
    with pytest.raises(InputError, match=r"teacher\.max_cost"):
        fetch_blocks(ITEMS, writer(server, prompt=1e3), TeacherConfig(model="m", max_cost=0.1))
    assert server.num == 0


def test_the_teachers_guesses_take_the_place_of_measured_labels_where_they_are_asked_for() -> None:
    section = TeacherConfig(model="m")
    asks = replace(writer(FakeServer(chance="80 %")), guesses=True)
    kept, report = fetch_blocks(ITEMS, asks, section)
    guess = Label(value=0.8, source="teacher", s=0, k=0, prior=0.8)
    assert kept == [replace(each, labels=(guess, guess)) for each in ITEMS]
    assert report["requests"] == 40 * 4, "one request brings text and guess"
    block = asks.write(ITEMS[0].trajectory, 0, kept[0].labels[0].value)
    assert (block.q, block.analysis) == (0.8, REPLY["good"])
    with pytest.raises(GuardRail, match="160 of 160 blocks"):
        fetch_blocks(ITEMS, replace(writer(FakeServer()), guesses=True), section)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETHOUGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    (tmp_path / "gsm8k_train.jsonl").write_bytes(FIXTURE.read_bytes())


CONFIG = {
    "prepare.writer": "teacher",
    "teacher.model": "m",
    "teacher.tries": "1",
    "prepare.num_episodes": "12",
    "prepare.branch_states": "0",
    "prepare.outcome_only": "true",
}


def test_a_prepared_corpus_has_the_teachers_text_and_the_measured_label(
    data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeServer()
    context = open_run(load_config("maths/gsm8k-smollm2", CONFIG), tmp_path / "run", resume=False)
    taught: Any = context.domain.writer
    taught.client._transport = server
    trajectories = context.domain.trajectories(12, None)
    labels = [ITEMS[0].labels[:1] * len(t.steps) for t in trajectories]
    monkeypatch.setattr(prepare, "measure_labels", lambda *args, **keys: labels)
    monkeypatch.setattr(prepare, "_branches", lambda *args: {})
    policy: Any = type("Policy", (), {"tokenizer": None})()
    items = prepare.run(context, policy)
    rows = [row for _, row in read_jsonl(tmp_path / "run" / "prepare" / "steps.jsonl")]
    assert items and {row["block"]["analysis"] for row in rows} == {REPLY["open"]}
    assert {row["block"]["q"] for row in rows} == {0.5}
    report = read_json(tmp_path / "run" / "prepare" / "report.json")
    assert 12 < server.num <= report["teacher"]["requests"]  # equal twins are asked for once
    again = open_run(load_config("maths/gsm8k-smollm2", CONFIG), tmp_path / "two", resume=False)
    prepare.run(again, policy)  # no server: every reply is in the cache
    two = [row for _, row in read_jsonl(tmp_path / "two" / "prepare" / "steps.jsonl")]
    assert two == rows


def test_without_a_server_nothing_is_missed_before_a_reply_is(
    data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    domain = Gsm8kDomain.from_config(load_config("maths/gsm8k-smollm2", CONFIG))
    with pytest.raises(MissingError, match="OPENAI_BASE_URL"):
        domain.writer.write(ITEMS[0].trajectory, 0, 0.5)


@pytest.mark.parametrize(
    ("name", "changed", "told"),
    [
        ("maths/gsm8k-smollm2", {"teacher.model": ""}, "without teacher.model"),
        ("demo/atlas", {}, "vocabulary"),
        ("maths/gsm8k-smollm2", {"prepare.labels": "teacher"}, "sft.relabel = false"),
    ],
)
def test_what_cannot_be_taught_is_refused(name: str, changed: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_config(name, {**CONFIG, **changed})
