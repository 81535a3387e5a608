"""Plays episodes: waves of turns through a back-end, tools between the waves.

The schedule is a function of the seeds. All live rollouts submit a turn in rollout order; a
back-end may hand some of them back unfinished, which go on in the next wave beside the turns that
follow the finished ones. Then the tools run in rollout order, those that are awaited side by side;
nothing asks a clock what to do next, except a deadline on tool calls where one is set.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from forethought.envs.base import row_of
from forethought.errors import ForethoughtError
from forethought.rollout.backend import Backend, Completion, Request, Sampling
from forethought.rollout.live import Live, Start
from forethought.rollout.render import TextFormat
from forethought.tools.threads import in_daemon, run_async
from forethought.types import Rollout, RolloutError, Turn

__all__ = ["EngineConfig", "Start", "run_rollouts", "run_rollouts_sync"]


Gate = Callable[[Sequence[Rollout]], Sequence[bool]]
"""Rollouts of one turn each -> whether each goes on; one that does not has abstained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Bounds of an episode and how turns are sampled.

    `sampling` holds the numbers; the stops of the text format are added to those in it.
    """

    max_turns: int = 6  # replayed ones included
    max_context_tokens: int = 4096  # of the whole sequence
    max_observation_tokens: int | None = None  # of a reply with its tags, which is cut; None: all
    sampling: Sampling = field(default_factory=Sampling)  # max_tokens bounds one turn
    stop_after_turns: int | None = None  # new turns to sample, then MAX_TURNS
    stop_after_string: str | None = None  # ends a turn, and the rollout with it (MAX_TURNS)
    void: Literal["continue", "stop"] = "continue"  # after a turn without an action
    gate: Gate | None = None  # asked behind the first turn of each rollout, before its call
    tool_timeout_s: float | None = None  # wall-clock bound on one tool call
    env_name: str = ""  # `Rollout.env`; "" = the class name of the environment


_numbers = itertools.count()  # only names sessions: unique, and seen by nothing that decides


def run_rollouts_sync(
    starts: Sequence[Start],
    backend: Backend,
    text_format: TextFormat,
    tokenizer: Any,
    config: EngineConfig,
) -> list[Rollout]:
    """`run_rollouts` for callers without an event loop, or inside one (a notebook)."""
    return run_async(run_rollouts(starts, backend, text_format, tokenizer, config))


async def run_rollouts(
    starts: Sequence[Start],
    backend: Backend,
    text_format: TextFormat,
    tokenizer: Any,
    config: EngineConfig,
) -> list[Rollout]:
    """Plays every start to its end.

    Args:
        starts: one each rollout; the order decides the order of requests and of tool calls.
        backend: samples; sessions are released at the end.
        text_format: prompts, stops, parsing.
        tokenizer: of the policy.
        config: bounds and sampling.

    Returns:
        The rollouts, in the order of `starts`. One that a tool or the back-end failed has an
        `error` and what was sampled until then.

    Raises:
        ForethoughtError: of a tool or reset as it is: a user's mistake, a missing part or a guard
            rail ends the run, not one rollout.
    """
    began = time.perf_counter()
    runner = _Runner(backend, text_format, tokenizer, config)
    lives = [runner.open(start) for start in starts]
    try:
        for live in lives:
            await runner.begin(live)
        while active := [live for live in lives if runner.is_ready(live)]:
            completions = await asyncio.gather(
                *(backend.generate(runner.request(live)) for live in active)
            )
            pairs = zip(active, completions, strict=True)
            whole = [live for live, completion in pairs if runner.take(live, completion)]
            runner.ask(whole)
            # Coroutines start in this order: plain tools run one by one, awaited ones overlap.
            await _all([runner.act(live) for live in whole if live.call is not None])
            for live in active:
                live.wall_s = time.perf_counter() - began
    finally:
        for live in lives:
            backend.release(live.session)
            await _close(live.start.env)
    return [live.rollout(config.env_name) for live in lives]


async def _all(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Awaits all, then raises the first error in order."""
    for outcome in await asyncio.gather(*coroutines, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _close(env: Any) -> None:
    leave = getattr(env, "__aexit__", None)
    if leave is not None:
        await leave(None, None, None)


class _Runner:
    """The steps of one rollout; holds what all rollouts of a call share."""

    def __init__(
        self, backend: Backend, text_format: TextFormat, tokenizer: Any, config: EngineConfig
    ) -> None:
        self._backend = backend
        self._format = text_format
        self._tokenizer = tokenizer
        self._config = config
        extra = () if config.stop_after_string is None else (config.stop_after_string,)
        stop_ids, stop_strings = text_format.stops(tokenizer, extra)
        sampling = config.sampling
        self._sampling = replace(
            sampling,
            stop_ids=tuple(dict.fromkeys((*sampling.stop_ids, *stop_ids))),
            stop_strings=tuple(dict.fromkeys((*sampling.stop_strings, *stop_strings))),
        )
        self._one_at_a_time = asyncio.Lock()

    def open(self, start: Start) -> Live:
        """The state of a rollout before anything has happened."""
        return Live(start=start, session=f"{start.task.id}#{start.index}#{next(_numbers)}")

    async def begin(self, live: Live) -> None:
        """Resets the environment where there is no history, and encodes the prompt."""
        start = live.start
        opening = ""
        if not start.turns:
            try:
                opening = str(await _maybe_await(start.env.reset(**row_of(start.task))) or "")
            except ForethoughtError:
                raise
            except Exception as error:  # foreign code: its faults are the machine's, and counted
                live.fail("tool", error)
        prompt = start.prompt_ids or self._format.encode_prompt(
            self._tokenizer, start.task, start.mode, opening
        )
        live.begin(prompt)

    def is_ready(self, live: Live) -> bool:
        """True if the rollout goes on; sets its stop reason when a bound says no."""
        if live.stop is not None:
            return False
        config, new = self._config, len(live.turns) - len(live.start.turns)
        if len(live.turns) >= config.max_turns or new == config.stop_after_turns:
            live.end_by_turns()
        elif self._room(live) < 1:
            live.end_by_length()
        return live.stop is None

    def _room(self, live: Live) -> int:
        """Tokens that the next turn may sample."""
        there = len(live.prefix) + len(live.begun)
        context = self._config.max_context_tokens - len(live.ids) - there
        return min(self._sampling.max_tokens - there, context)

    def request(self, live: Live) -> Request:
        """The next turn of a rollout that is ready, or the rest of it."""
        return Request(
            ids=(*live.ids, *live.prefix, *live.begun),
            session=live.session,
            parent=live.start.parent,
            noise=(*live.start.noise, len(live.turns)),
            sampling=replace(self._sampling, max_tokens=self._room(live)),
            begun=len(live.begun),
            may_pause=True,
        )

    def take(self, live: Live, completion: Completion) -> bool:
        """Appends a sampled turn and decides what it leads to; False while it is not whole."""
        ids = (*live.begun, *completion.ids)
        logprobs = (*live.begun_logprobs, *completion.logprobs)
        if completion.stop == "pause":
            live.begun, live.begun_logprobs = ids, logprobs
            return False
        if completion.stop == "abort":
            message = completion.reason or "the back-end gave up the request"
            live.error = RolloutError(kind="backend", message=message)
            live.end_by_error()
            return True
        forced = live.prefix
        turn = self._format.build_turn(
            self._tokenizer,
            (*forced, *ids),
            (*((0.0,) * len(forced)), *logprobs),
            live.start.mode,
        )
        live.append(turn)
        action = turn.parsed.action
        if completion.stop == "length":
            live.end_by_length()
        elif self._stopped_early(turn):
            live.end_by_turns()
        elif action is None:
            self._void(live)
        elif action.kind == "answer":
            live.end_by_answer(action.text)
        else:
            live.call = action
        return True

    def ask(self, lives: Sequence[Live]) -> None:
        """Ends the rollouts that the gate holds back behind their first turn."""
        gate, name = self._config.gate, self._config.env_name
        first = [live for live in lives if len(live.turns) == 1 and live.error is None]
        if gate is None or not first:
            return
        for live, goes_on in zip(first, gate([one.so_far(name) for one in first]), strict=True):
            if not goes_on:
                live.end_by_abstention()

    def _stopped_early(self, turn: Turn) -> bool:
        wanted = self._config.stop_after_string
        return wanted is not None and wanted in turn.text

    def _void(self, live: Live) -> None:
        if self._config.void == "stop":
            live.end_by_turns()
            return
        self._observe(live, self._format.void_observation(), failed=False)

    def _observe(self, live: Live, text: str, *, failed: bool) -> None:
        bound = self._config.max_observation_tokens
        if bound is not None:
            text = self._format.cut_observation(self._tokenizer, text, bound)
        ids = self._format.encode_observation(self._tokenizer, text)
        live.observe(text, ids, failed)

    async def act(self, live: Live) -> None:
        """Carries out the tool call of a turn."""
        action, live.call = live.call, None
        assert action is not None
        tool = live.tools().get(action.kind)
        if tool is None:
            self._observe(live, self._format.unknown_tool(action.kind), failed=True)
            return
        try:
            reply = await self._call(tool, action.text)
        except ForethoughtError:
            raise
        except TimeoutError as error:
            live.fail("timeout", error)
            return
        except Exception as error:  # foreign code: its faults are the machine's, and counted
            live.fail("tool", error)
            return
        done = bool(getattr(reply, "done", False))
        self._observe(live, str(reply), failed=bool(getattr(reply, "failed", False)))
        if done:
            live.end_by_world()

    async def _call(self, tool: Callable[[str], Any], text: str) -> Any:
        bound = self._config.tool_timeout_s
        if bound is None:
            return await _maybe_await(tool(text))
        if asyncio.iscoroutinefunction(tool):
            return await asyncio.wait_for(tool(text), bound)
        async with self._one_at_a_time:
            return await asyncio.wait_for(in_daemon(tool, text), bound)


async def _maybe_await(value: Any) -> Any:
    return await value if asyncio.iscoroutine(value) or asyncio.isfuture(value) else value
