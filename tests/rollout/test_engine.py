"""Episodes from start to end with scripted policies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rollout_toys import (
    ANSWER_B,
    ASK_A,
    CONFIG,
    FORM,
    TOKENIZER,
    VOID,
    Recorder,
    ToyEnv,
    play,
    start,
)

from forethought.errors import InputError
from forethought.rollout.backend import Completion, Request
from forethought.rollout.engine import run_rollouts_sync
from forethought.types import Rollout, StopReason


def test_an_episode_is_one_growing_sequence_of_what_was_really_sampled() -> None:
    backend, env = Recorder([ASK_A, ANSWER_B]), ToyEnv()
    [rollout] = run_rollouts_sync([start(env=env)], backend, FORM, TOKENIZER, CONFIG)
    assert rollout.stop_reason is StopReason.ANSWER
    assert rollout.answer == "b"
    assert rollout.env == "ToyEnv"
    assert [turn.text for turn in rollout.turns] == [ASK_A, ANSWER_B]
    assert [turn.observation for turn in rollout.turns] == ["page a", ""]
    assert TOKENIZER.decode(rollout.prompt_ids) == "q ; plain"
    assert TOKENIZER.decode(rollout.turns[0].observation_ids) == (
        "<information> page a </information>"
    )
    first, second = backend.requests
    assert first.ids == rollout.prompt_ids
    assert second.ids == first.ids + rollout.turns[0].ids + rollout.turns[0].observation_ids
    assert first.session == second.session
    assert backend.released == [first.session]
    for turn in rollout.turns:
        assert len(turn.ids) == len(turn.logprobs) == len(turn.token_spans)


def test_the_environment_gets_the_task_without_its_answers_and_is_closed() -> None:
    env = ToyEnv()
    run_rollouts_sync([start(env=env)], Recorder([ANSWER_B]), FORM, TOKENIZER, CONFIG)
    known = {"id": "t0", "question": "q", "kind": "qa", "world_seed": None, "budget": 2}
    assert env._row == known
    assert env._closed


def searching(query: str) -> list[str]:
    return [f"<think> x </think> <search> {query} </search>", ANSWER_B]


@pytest.mark.parametrize(
    ("script", "reason", "turns"),
    [
        ([ANSWER_B], StopReason.ANSWER, 1),
        (searching("end"), StopReason.DONE, 1),
        ([ASK_A], StopReason.MAX_TURNS, 3),
        (["x " * 50], StopReason.LENGTH, 1),
        (searching("boom"), StopReason.ERROR, 1),
        (searching("bad"), StopReason.ANSWER, 2),
    ],
)
def test_every_way_to_end(script: list[str], reason: StopReason, turns: int) -> None:
    [rollout] = play([script])
    assert rollout.stop_reason is reason
    assert len(rollout.turns) == turns
    assert (rollout.error is not None) == (reason is StopReason.ERROR)
    assert (rollout.answer is not None) == (reason is StopReason.ANSWER)


def test_a_failed_call_is_the_policy_s_and_a_raised_one_the_machine_s() -> None:
    good, bad, boom = play([[ASK_A, ANSWER_B], searching("bad"), searching("boom")])
    assert not good.turns[0].tool_error
    assert bad.turns[0].tool_error
    assert bad.turns[0].observation == "none"
    assert boom.error is not None
    assert boom.error.kind == "tool"
    assert "the index is gone" in boom.error.message
    assert not boom.turns[0].tool_error


def test_a_full_context_ends_the_rollout_before_the_next_turn() -> None:
    # Prompt 3, turn 6, reply 4: two tokens are left, fewer than the answer needs.
    [rollout] = play([[ASK_A, ANSWER_B]], replace(CONFIG, max_context_tokens=15))
    assert rollout.stop_reason is StopReason.LENGTH
    assert [len(turn.ids) for turn in rollout.turns] == [6, 2]
    [rollout] = play([[ASK_A, ANSWER_B]], replace(CONFIG, max_context_tokens=13))
    assert rollout.stop_reason is StopReason.LENGTH
    assert len(rollout.turns) == 1


def test_a_turn_without_an_action_gets_a_word_and_another_chance() -> None:
    [rollout] = play([[VOID, ANSWER_B]])
    assert rollout.stop_reason is StopReason.ANSWER
    assert rollout.turns[0].observation == "none"
    assert not rollout.turns[0].tool_error
    [rollout] = play([[VOID]])
    assert rollout.stop_reason is StopReason.MAX_TURNS
    assert len(rollout.turns) == 3
    [rollout] = play([[VOID, ANSWER_B]], replace(CONFIG, void="stop"))
    assert rollout.stop_reason is StopReason.MAX_TURNS
    assert len(rollout.turns) == 1


def test_a_tool_that_does_not_exist_is_the_policy_s_mistake() -> None:
    class OtherTools:
        def reset(self, **row: Any) -> None:
            pass

        def read(self, title: str) -> str:
            """Reads a page.

            Args:
                title: of the page.
            """
            return f"page {title}"

    [rollout] = run_rollouts_sync(
        [start(env=OtherTools())], Recorder([ASK_A, ANSWER_B]), FORM, TOKENIZER, CONFIG
    )
    assert rollout.turns[0].tool_error
    assert rollout.stop_reason is StopReason.ANSWER


def test_a_rollout_that_fails_leaves_the_others_alone() -> None:
    scripts = [[ASK_A, ANSWER_B], searching("boom"), [ASK_A, ASK_A, ANSWER_B]]
    whole = play(scripts)
    alone = play([scripts[0]])
    assert [r.stop_reason for r in whole] == [
        StopReason.ANSWER,
        StopReason.ERROR,
        StopReason.ANSWER,
    ]
    assert whole[0].turns == alone[0].turns


def test_turns_and_tools_go_in_rollout_order() -> None:
    log: list[str] = []
    starts = [start(number, env=ToyEnv(log)) for number in range(3)]
    backend = Recorder([ASK_A, ANSWER_B], searching("x"), searching("y"))
    run_rollouts_sync(starts, backend, FORM, TOKENIZER, CONFIG)
    assert log == ["reset t0", "reset t1", "reset t2", "t0 a", "t1 x", "t2 y"]
    assert [r.noise for r in backend.requests] == [
        (rollout, turn) for turn in range(2) for rollout in range(3)
    ]


def test_awaited_tools_overlap() -> None:
    class Slow(ToyEnv):
        waiting = 0
        most = 0

        async def search(self, query: str) -> str:  # type: ignore[override]
            """Waits a little.

            Args:
                query: what to look for.
            """
            Slow.waiting += 1
            Slow.most = max(Slow.most, Slow.waiting)
            await asyncio.sleep(0.01)
            Slow.waiting -= 1
            return "page"

    starts = [start(number, env=Slow()) for number in range(3)]
    rollouts = run_rollouts_sync(
        starts, Recorder(*[[ASK_A, ANSWER_B]] * 3), FORM, TOKENIZER, CONFIG
    )
    assert Slow.most == 3
    assert all(r.turns[0].observation == "page" for r in rollouts)


class Hanging(ToyEnv):
    """An awaited tool that never comes back."""

    async def search(self, query: str) -> str:  # type: ignore[override]
        """Hangs.

        Args:
            query: what to look for.
        """
        await asyncio.sleep(60)
        return "page"


@pytest.mark.parametrize("make", [ToyEnv, Hanging])
def test_a_call_past_its_deadline_ends_the_rollout_as_a_timeout(make: Callable[[], Any]) -> None:
    script = searching("slow")
    config = replace(CONFIG, tool_timeout_s=0.05)
    starts = [start(0, env=make()), start(1)]
    slow, quick = run_rollouts_sync(
        starts, Recorder(script, [ASK_A, ANSWER_B]), FORM, TOKENIZER, config
    )
    assert slow.stop_reason is StopReason.ERROR
    assert slow.error is not None
    assert slow.error.kind == "timeout"
    assert quick.stop_reason is StopReason.ANSWER
    assert quick.turns[0].observation == "page a"


def test_a_user_s_mistake_ends_the_run_and_frees_the_sessions() -> None:
    backend = Recorder(searching("wrong"))
    with pytest.raises(InputError, match="mend it"):
        run_rollouts_sync([start()], backend, FORM, TOKENIZER, CONFIG)
    assert len(backend.released) == 1


def test_a_reset_that_raises_is_the_machine_s_fault() -> None:
    class Broken(ToyEnv):
        def reset(self, **row: Any) -> str | None:
            raise OSError("no disk")

    starts = [start(0, env=Broken()), start(1)]
    backend = Recorder([ANSWER_B], [ANSWER_B])
    broken, whole = run_rollouts_sync(starts, backend, FORM, TOKENIZER, CONFIG)
    assert broken.stop_reason is StopReason.ERROR
    assert broken.turns == ()
    assert whole.stop_reason is StopReason.ANSWER


def test_a_forced_beginning_counts_as_text_of_the_turn_and_has_no_log_probability() -> None:
    backend = Recorder(["y </think> <search> a </search>", ANSWER_B])
    forced = tuple(TOKENIZER.encode("<think> x", add_special_tokens=False))
    [rollout] = run_rollouts_sync([start(prefix_ids=forced)], backend, FORM, TOKENIZER, CONFIG)
    turn, after = rollout.turns
    assert turn.text == "<think> x y </think> <search> a </search>"
    assert after.text == ANSWER_B
    assert turn.ids[:2] == forced
    assert turn.logprobs[:2] == (0.0, 0.0)
    assert backend.requests[0].ids == rollout.prompt_ids + forced
    assert backend.requests[0].sampling.max_tokens == 38
    assert rollout.answer == "b"


def test_a_branch_goes_on_after_its_history_without_a_reset() -> None:
    [whole] = play([[ASK_A, ANSWER_B]])
    log: list[str] = []
    backend = Recorder([ASK_A, ANSWER_B])
    branch = start(env=ToyEnv(log), turns=whole.turns[:1], prompt_ids=whole.prompt_ids)
    [rollout] = run_rollouts_sync([branch], backend, FORM, TOKENIZER, CONFIG)
    assert log == []
    assert rollout.turns == whole.turns
    assert len(backend.requests) == 1


def test_bounds_on_new_turns_and_a_closing_string_end_a_rollout_early() -> None:
    [rollout] = play([[ASK_A, ANSWER_B]], replace(CONFIG, stop_after_turns=1))
    assert rollout.stop_reason is StopReason.MAX_TURNS
    assert rollout.turns[0].observation == "page a"
    config = replace(CONFIG, stop_after_string="</think>")
    backend = Recorder([VOID])
    [rollout] = run_rollouts_sync([start()], backend, FORM, TOKENIZER, config)
    assert rollout.stop_reason is StopReason.MAX_TURNS
    assert rollout.turns[0].observation == ""
    tag = TOKENIZER.convert_tokens_to_ids("</think>")
    assert tag in backend.requests[0].sampling.stop_ids


def test_a_back_end_that_gives_up_is_the_machine_s_fault() -> None:
    class Lazy(Recorder):
        async def generate(self, request: Request) -> Completion:
            return Completion(ids=(), logprobs=(), stop="abort")

    [rollout] = run_rollouts_sync([start()], Lazy([ANSWER_B]), FORM, TOKENIZER, CONFIG)
    assert rollout.error is not None
    assert rollout.error.kind == "backend"


def test_a_running_loop_may_call_the_plain_function() -> None:
    async def work() -> list[Rollout]:
        return play([[ANSWER_B]])

    assert asyncio.run(work())[0].answer == "b"
