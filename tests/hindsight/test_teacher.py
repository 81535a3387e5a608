"""Laws of the teacher: what it is told, what is read from its reply, whose number stands there."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.chat.client import ChatClient, ChatLimits, Server
from forethought.chat.transport import Response
from forethought.errors import GuardRail
from forethought.foresight.block import parse, render
from forethought.hindsight.leaks import check
from forethought.hindsight.teacher import TeacherWriter, Wanted, read_text
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import MathsWriter
from forethought.types import Action, StopReason, Task

GOOD_REPLY = {
    "roadmap": "Look up the film, then the novel behind it.",
    "missing": "The author is not known yet",
    "keywords": ["film, drama", "novel", "writer", "Film drama", "year", "country", "prize"],
    "good": "Direct and well documented",
    "open": "The second look-up may miss",
    "poor": "Nothing names the novel",
}


class FakeTeacher:
    """Replies with what it is given and remembers what it was asked."""

    def __init__(self, reply: object) -> None:
        self.reply = reply if isinstance(reply, str) else json.dumps(reply)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, url: str, headers: dict[str, str], body: bytes, timeout: float) -> Response:
        self.asked.append(json.loads(body))
        row = {"choices": [{"message": {"content": self.reply}, "finish_reason": "stop"}]}
        return Response(status=200, body=json.dumps(row).encode())


def trajectory(*, success: bool = True) -> Trajectory:
    return Trajectory(
        task=Task(
            id="t", question="Who wrote the novel?", answers=("Doe",), kind="qa", split="train"
        ),
        source_policy="recorded",
        steps=(
            Step(think="first", action=Action(kind="search", text="film"), observation="PAGE ONE"),
            Step(think="then", action=Action(kind="search", text="novel"), observation="PAGE TWO"),
            Step(think="so", action=Action(kind="answer", text="Doe"), observation=""),
        ),
        success=success,
        stop_reason=StopReason.ANSWER,
    )


def writer(fake: FakeTeacher) -> TeacherWriter:
    client = ChatClient(
        Server("m", "http://localhost:1/v1"), limits=ChatLimits(tries=1), transport=fake
    )
    return TeacherWriter(client=client, rules=MathsWriter())


def test_the_number_is_the_label_and_the_judgement_goes_with_it() -> None:
    teacher = writer(FakeTeacher(GOOD_REPLY))
    said = {q: teacher.write(trajectory(), 0, q) for q in (0.9, 0.5, 0.1)}
    assert [block.q for block in said.values()] == [0.9, 0.5, 0.1]
    assert [block.analysis for block in said.values()] == [
        GOOD_REPLY["good"],
        GOOD_REPLY["open"],
        GOOD_REPLY["poor"],
    ]
    assert len({block.roadmap for block in said.values()}) == 1
    assert said[0.9].keywords == ("film drama", "novel", "writer", "year", "country")
    assert said[0.9].roadmap.endswith(". The author is not known yet")


def test_the_blind_twin_is_asked_the_same_without_the_future() -> None:
    fake = FakeTeacher(GOOD_REPLY)
    teacher = writer(fake)
    teacher.write(trajectory(success=False), 1, 0.5)
    teacher.recap(trajectory(success=False), 1, 0.5)
    told, blind = (row["messages"][1]["content"] for row in fake.asked)
    assert "PAGE ONE" in told and "PAGE TWO" in told and "was not solved" in told
    assert "PAGE ONE" in blind and "PAGE TWO" not in blind and "solved" not in blind
    assert "Doe" not in blind


def test_written_blocks_render_and_pass_the_filters() -> None:
    block = writer(FakeTeacher(GOOD_REPLY)).write(trajectory(), 0, 0.55)
    text = render(block, "think", Action(kind="search", text="film"))
    assert parse(text).foresight == block
    assert check("Who wrote the novel?", ("Kurt Doe wrote it",), ("Doe",), block).accepted


@pytest.mark.parametrize(
    "reply",
    [
        "no object",
        "{broken",
        {**GOOD_REPLY, "keywords": []},
        {**GOOD_REPLY, "keywords": "film"},
        {**GOOD_REPLY, "poor": " "},
        {**GOOD_REPLY, "roadmap": 3},
        {**GOOD_REPLY, "missing": "it </imaginary> ends"},
        [GOOD_REPLY],
    ],
)
def test_what_is_no_block_is_told_apart_and_never_made_up(reply: object) -> None:
    fake = FakeTeacher(reply)
    text = fake.reply
    if not isinstance(reply, list):  # the object inside a list is found all the same
        assert read_text(text) is None
        with pytest.raises(GuardRail, match="wrote no block"):
            writer(fake).write(trajectory(), 0, 0.5)
        assert writer(fake).fetch([Wanted(trajectory(), 0)]) == [False]


def test_fences_and_sentences_around_the_object_do_no_harm() -> None:
    text = f"Here it is:\n```json\n{json.dumps(GOOD_REPLY, indent=1)}\n```"
    assert read_text(text) == read_text(json.dumps(GOOD_REPLY)) is not None


@given(st.text(max_size=200))
def test_reading_never_raises(text: str) -> None:
    read_text(text)
    read_text("{" + text + "}")


def test_all_turns_are_asked_for_at_once_and_counted_before() -> None:
    fake = FakeTeacher(GOOD_REPLY)
    teacher = writer(fake)
    places = [Wanted(trajectory(), step, blind) for step in range(3) for blind in (False, True)]
    estimate = teacher.estimate(places)
    assert (estimate.requests, estimate.cached) == (6, 0) and estimate.prompt_tokens > 1000
    assert teacher.fetch(places) == [True] * 6 and len(fake.asked) == 6


@pytest.mark.parametrize(
    ("said", "read"),
    [(80, 0.8), ("80", 0.8), (" 7.5 %", 0.075), (0, 0.0), (100, 1.0)]
    + [(bad, None) for bad in (101, -1, "likely", None, True, [80], float("nan"))],
)
def test_a_guess_is_a_number_from_0_to_100(said: object, read: float | None) -> None:
    text = read_text(json.dumps(GOOD_REPLY | {"chance": said}))
    assert text is not None and text.chance == read


def test_the_guess_is_asked_for_on_demand_alone() -> None:
    plain = writer(FakeTeacher(GOOD_REPLY))
    guessing = replace(plain, guesses=True)
    prompts = [w.request(trajectory(), 0).messages[0][1] for w in (plain, guessing)]
    assert "chance" not in prompts[0].split('"poor"')[1] and '"chance"' in prompts[1]
