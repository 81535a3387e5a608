"""A model behind a server through the one engine: messages, counts, stops, bounds, failures."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_builders import request
from rollout_toys import CONFIG, ToyEnv, start

from forethought.chat.transport import Response
from forethought.errors import GuardRail, InputError
from forethought.rollout.backend import Sampling
from forethought.rollout.engine import EngineConfig, run_rollouts_sync
from forethought.rollout.instructions import instruction
from forethought.rollout.render import TextFormat
from forethought.rollout.served import Pieces, ServedBackend, seed_of, whole_turn
from forethought.types import BLOCK_SPANS, Rollout, Span, StopReason
from tests.chat_fakes import Body, FakeServer, Write, completion

FORM = TextFormat(name="toy", prompt_style="messages")
PIECES = Pieces()
BLOCK = (
    "<imaginary>a page</imaginary>\n<keyword>page</keyword>\n<analysis>none</analysis>\n"
    "<confidence>65%</confidence>\n"
)
THINK = "<think>x</think>\n"
BIG = replace(CONFIG, max_context_tokens=4000)


def replies(body: Body) -> int:
    return sum(message["role"] == "assistant" for message in body["messages"])


def script(*turns: str) -> Write:
    """Turn by turn, by how many of its own turns a request shows; the last one for ever."""
    return lambda body: turns[min(replies(body), len(turns) - 1)]


def play(write: Write, config: EngineConfig = BIG, **more: Any) -> tuple[Rollout, FakeServer]:
    fake = FakeServer(write)
    backend = ServedBackend(fake.client(tries=2))
    (rollout,) = run_rollouts_sync([start(**more)], backend, FORM, PIECES, config)
    return rollout, fake


@given(st.text(), st.integers(0, 60))
def test_pieces_join_to_their_text_and_are_as_many_as_asked_for(text: str, count: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert PIECES.decode(PIECES.encode(text)) == text
    if count or not text:
        ids = PIECES.counted(text, count)
        assert len(ids) == count and PIECES.decode(ids) == text


@given(st.lists(st.tuples(st.sampled_from(("system", "user", "assistant")), st.text(max_size=30))))
def test_messages_are_read_back_whatever_they_say(messages: list[tuple[str, str]]) -> None:
    told = [(role, text.encode("utf-8", "replace").decode()) for role, text in messages]
    ids = PIECES.apply_chat_template([{"role": r, "content": t} for r, t in told])
    assert PIECES.messages(ids) == (*told, ("assistant", ""))


def test_an_episode_is_a_dialogue_in_the_tags_of_the_format() -> None:
    rollout, fake = play(
        script(f"{BLOCK}{THINK}<search>a", f"{BLOCK}{THINK}<answer>b"), mode="foresight"
    )
    assert (rollout.stop_reason, rollout.answer) == (StopReason.ANSWER, "b")
    first, second = fake.bodies
    assert first["messages"] == [
        {"role": "system", "content": instruction("search", "foresight")},
        {"role": "user", "content": "Question: q"},
    ]
    assert second["messages"][:2] == first["messages"]
    assert second["messages"][2:] == [
        {"role": "assistant", "content": f"{BLOCK}{THINK}<search>a</search>"},
        {"role": "user", "content": "<information>page a</information>"},
    ]
    assert first["stop"] == ["</search>", "</answer>"]
    assert all(turn.parsed.format_ok for turn in rollout.turns)
    assert [turn.parsed.foresight.q for turn in rollout.turns if turn.parsed.foresight] == [
        0.65
    ] * 2


def test_plain_asks_for_no_block_and_reads_none() -> None:
    rollout, fake = play(script(f"{THINK}<answer>b</answer>"))
    assert fake.bodies[0]["messages"][0]["content"] == instruction("search", "plain")
    assert "imaginary" not in fake.bodies[0]["messages"][0]["content"]
    assert rollout.turns[0].parsed.format_ok and rollout.turns[0].parsed.foresight is None


@pytest.mark.parametrize(
    ("write", "reason", "turns"),
    [
        (script("<answer>b"), StopReason.ANSWER, 1),
        (script("<search>end"), StopReason.DONE, 1),
        (script("<search>a"), StopReason.MAX_TURNS, 3),
        (script("I wonder."), StopReason.MAX_TURNS, 3),
        (lambda body: completion("<search>a", "length"), StopReason.LENGTH, 1),
        (lambda body: completion(None, "length"), StopReason.LENGTH, 1),
        (script("<search>boom"), StopReason.ERROR, 1),
        (script("<search>bad", "<answer>b"), StopReason.ANSWER, 2),
        (script("", "<answer>b"), StopReason.ANSWER, 2),
    ],
)
def test_every_way_to_end(write: Write, reason: StopReason, turns: int) -> None:
    rollout, _ = play(write)
    assert (rollout.stop_reason, len(rollout.turns)) == (reason, turns)
    assert (rollout.error is not None) == (reason is StopReason.ERROR)


def test_a_turn_without_an_action_is_told_so_and_a_failed_call_is_marked() -> None:
    rollout, fake = play(script("I wonder.", "<search>bad", "<answer>b"))
    assert rollout.turns[0].observation.startswith("No action was found.")
    assert fake.bodies[1]["messages"][-1]["role"] == "user"
    assert "No action was found." in fake.bodies[1]["messages"][-1]["content"]
    assert [turn.tool_error for turn in rollout.turns] == [False, True, False]


def test_a_request_that_fails_is_a_lost_rollout_with_its_reason() -> None:
    late = Response(status=400, body=b"context too long")

    def write(body: Body) -> str | Response:
        return late if replies(body) else "<search>a"

    rollout, fake = play(write)
    assert rollout.error is not None and rollout.error.kind == "backend"
    assert "context too long" in rollout.error.message
    assert len(rollout.turns) == 1 and len(fake.bodies) == 2


def test_a_turn_has_as_many_tokens_as_the_server_counts_without_hidden_thought() -> None:
    def write(body: Body) -> Response:
        details = {"reasoning_tokens": 30}
        return completion("<answer>b", completion_tokens=37, completion_tokens_details=details)

    rollout, _ = play(write)
    assert [len(turn.ids) for turn in rollout.turns] == [7]
    (silent, _) = play(lambda body: completion("<answer>b", completion_tokens=0))
    assert len(silent.turns[0].ids) == len(PIECES.encode("<answer>b</answer>"))


def test_spans_follow_the_elements_of_the_text() -> None:
    rollout, _ = play(
        lambda body: completion(f"{BLOCK}{THINK}<answer>b", completion_tokens=200), mode="foresight"
    )
    (turn,) = rollout.turns
    for span, text in ((Span.CONFIDENCE, "65%"), (Span.THINK, "x"), (Span.ACTION, "b")):
        mine = [i for i, of in zip(turn.ids, turn.token_spans, strict=True) if of is span]
        assert text in PIECES.decode(mine)
    assert any(span in BLOCK_SPANS for span in turn.token_spans)


def test_the_bounds_of_turn_and_context_hold() -> None:
    config = EngineConfig(
        max_turns=9, max_context_tokens=230, sampling=Sampling(temperature=0.5, max_tokens=40)
    )
    rollout, fake = play(lambda body: completion("<search>a", completion_tokens=20), config)
    assert rollout.stop_reason is StopReason.LENGTH and len(rollout.turns) > 1
    asked = [body["max_tokens"] for body in fake.bodies]
    assert asked[0] == 40 and asked[-1] < 40 and min(asked) >= 1
    used = len(rollout.prompt_ids) + sum(len(turn.past_ids) for turn in rollout.turns)
    assert used + 40 > 230
    assert {body["temperature"] for body in fake.bodies} == {0.5}


@pytest.mark.parametrize(
    ("text", "finish", "turn"),
    [
        ("<think>x</think><search>a", "stop", "<think>x</think><search>a</search>"),
        ("<search>a</search> and <answer>b</answer>", "stop", "<search>a</search>"),
        ("<search>a", "length", "<search>a"),
        ("<search>a</search> more", "length", "<search>a</search>"),
        ("I may <search> or <answer>b", "stop", "I may <search> or <answer>b</answer>"),
        ("<think>a <search> may do</think> hm", "stop", "<think>a <search> may do</think> hm"),
        ("no tags", "stop", "no tags"),
        ("", "stop", ""),
    ],
)
def test_a_turn_ends_with_the_tag_that_stopped_it(text: str, finish: str, turn: str) -> None:
    stops = ("</search>", "</answer>")
    assert whole_turn(text, stops, finish) == (turn, turn.endswith(stops))


def test_each_turn_of_each_rollout_has_a_seed_of_its_own_which_the_noise_key_gives() -> None:
    seeds = {
        seed_of((7, 4, task, sample, n)) for task in (1, 2) for sample in (0, 1) for n in (0, 1)
    }
    assert len(seeds) == 8 and all(0 <= seed < 2**31 for seed in seeds)
    _, fake = play(script("<search>a", "<answer>b"))
    assert [body["seed"] for body in fake.bodies] == [seed_of((0, 0)), seed_of((0, 1))]


def told(rollouts: list[Rollout]) -> list[Any]:
    return [
        (r.answer, r.stop_reason, r.prompt_ids, r.turns, None if r.error is None else r.error)
        for r in rollouts
    ]


def test_rollouts_do_not_hang_on_the_order_of_the_replies() -> None:
    def write(body: Body) -> str:
        seed = body["seed"]
        return f"{seed} <answer>{seed}" if seed % 3 == 0 else f"{THINK}<search>{seed}"

    def log_of(parallel: int, late: Any) -> tuple[list[Any], list[str]]:
        log: list[str] = []
        backend = ServedBackend(FakeServer(write, late).client(parallel=parallel))
        starts = [start(number, ToyEnv(log)) for number in range(8)]
        return told(run_rollouts_sync(starts, backend, FORM, PIECES, BIG)), log

    one = log_of(1, lambda body: 0.0)
    assert log_of(8, lambda body: (body["seed"] % 8) * 0.003) == one
    assert log_of(8, lambda body: (7 - body["seed"] % 8) * 0.003) == one


def test_a_second_run_asks_for_nothing_and_plays_the_same(tmp_path: Any) -> None:
    def run(fake: FakeServer) -> list[Any]:
        backend = ServedBackend(fake.client(tmp_path))
        starts = [start(number) for number in range(3)]
        return told(run_rollouts_sync(starts, backend, FORM, PIECES, BIG))

    first, second = (FakeServer(lambda body: f"<search>{body['seed']}") for _ in range(2))
    assert run(first) == run(second)
    assert len(first.bodies) == 9 and second.bodies == []


def test_a_killed_run_asks_only_for_what_is_missing(tmp_path: Any) -> None:
    left = threading.Semaphore(5)

    def searching(body: Body) -> str:
        return f"<search>{body['seed']}"

    def dying(body: Body) -> str | Exception:
        return searching(body) if left.acquire(blocking=False) else SystemError("killed")

    def run(fake: FakeServer) -> list[Any]:
        backend = ServedBackend(fake.client(tmp_path, parallel=2))
        starts = [start(number) for number in range(3)]
        return told(run_rollouts_sync(starts, backend, FORM, PIECES, BIG))

    with pytest.raises(SystemError):
        run(FakeServer(dying))
    resumed, whole = FakeServer(searching), FakeServer(searching)
    found = run(resumed)
    assert len(resumed.bodies) == 9 - 5 and run(whole) == found and whole.bodies == []


def test_a_spending_bound_stops_the_run() -> None:
    backend = ServedBackend(FakeServer(script("<search>a")).client(parallel=1, max_tokens=12))
    with pytest.raises(GuardRail, match="bound"):
        run_rollouts_sync([start(n) for n in range(4)], backend, FORM, PIECES, BIG)


def test_words_of_ours_cannot_be_put_in_its_mouth() -> None:
    backend = ServedBackend(FakeServer(script("<answer>b")).client())
    begun = start(prefix_ids=tuple(PIECES.encode("<think>")))
    with pytest.raises(InputError, match="begins with text of ours"):
        run_rollouts_sync([begun], backend, FORM, PIECES, BIG)


def test_an_interrupt_stops_what_waits() -> None:
    fake = FakeServer(script("<answer>b"), lambda body: 0.05)
    backend = ServedBackend(fake.client(parallel=1))
    ids = PIECES.apply_chat_template([{"role": "user", "content": "?"}])

    async def work() -> None:
        waiting = [
            asyncio.ensure_future(backend.generate(request(ids, f"s{n}", n))) for n in range(40)
        ]
        await asyncio.sleep(0.12)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(work())
    assert len(fake.bodies) < 10


def test_text_that_no_file_can_hold_is_replaced() -> None:
    rollout, _ = play(lambda body: "\ud800 <answer>b")
    assert rollout.answer == "b"
    json.dumps(rollout.turns[0].text, ensure_ascii=False).encode("utf-8")
