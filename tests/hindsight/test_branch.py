"""Labels come from continuations that were really run, with the student's own success."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.domains.atlas import AtlasDomain, atlas_tokenizer
from forethought.evals.baselines import scripted_backend
from forethought.hindsight.branch import BranchPoint, Student, alternatives, measure, smoothed
from forethought.rewards.terms import RewardConfig
from forethought.rollout.engine import EngineConfig
from forethought.rollout.scripted import ScriptedBackend
from forethought.schema import RunConfig
from forethought.stages.labels import as_rollout
from forethought.types import Rollout


@cache
def domain() -> AtlasDomain:
    return AtlasDomain.from_config(RunConfig(seed=100))


@cache
def tokenizer() -> Any:
    return atlas_tokenizer()


def student(write: Callable[[str, tuple[int, ...], str], str] | None = None) -> Student:
    backend = (
        scripted_backend("wanderer", domain().law, tokenizer())
        if write is None
        else ScriptedBackend(write, tokenizer())
    )
    return Student(
        backend=backend,
        tokenizer=tokenizer(),
        text_format=domain().text_format,
        engine=EngineConfig(max_turns=6),
        make_env=domain().make_env,
        reward=RewardConfig(),
        seed=1,
        max_wave=8,
    )


@cache
def rollouts() -> tuple[Rollout, ...]:
    made = domain().trajectories(12, tokenizer())
    return tuple(as_rollout(t, domain().text_format, tokenizer()) for t in made)


def starts() -> list[BranchPoint]:
    return [BranchPoint(rollout=r, history=(), key=n) for n, r in enumerate(rollouts())]


def test_a_student_that_always_gives_up_never_succeeds_and_one_that_knows_always_does() -> None:
    giving_up = student(lambda *_: "<think> none </think> <answer> none </answer>")
    assert {(m.s, m.k) for m in measure(starts(), 3, giving_up)} == {(0, 3)}
    answers = {r.task.question: r.task.answers[0] for r in rollouts()}

    def knowing(_: str, __: tuple[int, ...], text: str) -> str:
        name = next(a for q, a in answers.items() if q in text)
        return f"<think> {name} </think> <answer> {name} </answer>"

    assert {(m.s, m.k) for m in measure(starts(), 3, student(knowing))} == {(3, 3)}


def test_counts_are_a_function_of_the_seed_and_not_of_the_wave() -> None:
    first = [(m.s, m.k) for m in measure(starts(), 4, student())]
    assert first == [(m.s, m.k) for m in measure(starts(), 4, student())]
    assert first[:5] == [(m.s, m.k) for m in measure(starts()[:5], 4, student())]


def test_a_continuation_starts_from_the_state_that_the_history_led_to() -> None:
    point = BranchPoint(rollout=rollouts()[0], history=rollouts()[0].turns[:1], key=5)
    seen: list[str] = []

    def watching(_: str, __: tuple[int, ...], text: str) -> str:
        seen.append(text)
        return "<think> none </think> <answer> none </answer>"

    measure([point], 2, student(watching))
    history = rollouts()[0].turns[0]
    assert len(seen) == 2 and all(history.text in text for text in seen)
    assert all(history.observation in text for text in seen)


def test_alternatives_are_distinct_actions_at_most_as_many_as_asked() -> None:
    letters = random.Random(0)

    def roving(_: str, __: tuple[int, ...], text: str) -> str:
        question = text.split(" ; ")[0]
        words = question.split()
        relation = words[letters.choice((5, 6))]
        return f"<think> a {words[0]} </think> <search> {relation} {words[0]} </search>"

    for options in alternatives(starts()[:4], 2, 1, student(roving)):
        texts = [option.turn.parsed.action.text for option in options if option.turn.parsed.action]
        assert len(set(texts)) == len(texts) <= 2
        assert all(option.turn.observation for option in options)


@given(st.integers(0, 16), st.integers(0, 16), st.floats(0, 1), st.floats(0, 4))
def test_a_label_lies_between_the_rate_and_the_prior(
    s: int, more: int, prior: float, strength: float
) -> None:
    k = s + more
    value = smoothed(s, k, prior, strength)
    rate = s / k if k else prior
    assert min(rate, prior) - 1e-9 <= value <= max(rate, prior) + 1e-9


def test_without_runs_and_without_strength_the_label_is_the_prior() -> None:
    assert smoothed(0, 0, 0.3, 0.0) == pytest.approx(0.3)


class Waves:
    """A back-end that answers, like the in-process one, all requests of a turn of the loop."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._waiting: list[tuple[Any, asyncio.Future[None]]] = []
        self.waves: list[list[str]] = []  # tasks of the requests of each

    async def generate(self, request: Any) -> Any:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((request, turn))
        if len(self._waiting) == 1:
            loop.call_soon(self._go)
        await turn
        return await self._inner.generate(request)

    def _go(self) -> None:
        waiting, self._waiting = self._waiting, []
        self.waves.append([request.session.split("#")[0] for request, _ in waiting])
        for _, turn in waiting:
            turn.set_result(None)

    def release(self, session: str) -> None:
        self._inner.release(session)


def waves_of(max_wave: int) -> tuple[list[list[str]], list[list[Any]]]:
    """Tasks of the requests of each wave, and what the alternatives of four states came to."""
    plain = student()
    backend = Waves(plain.backend)
    one = replace(plain, backend=backend, max_wave=max_wave)
    found = [
        [(o.turn.text, o.measured.s, o.measured.k) for o in options]
        for options in alternatives(starts()[:4], 3, 2, one)
    ]
    return backend.waves, found


def test_alternatives_and_continuations_of_all_states_and_tasks_share_waves() -> None:
    waves, found = waves_of(512)
    tasks = {r.task.id for r in rollouts()[:4]}
    assert set(waves[0]) == tasks and len(waves[0]) == 4 * 2 * 3
    executed = sum(len(options) for options in found)
    assert set(waves[1]) == tasks and len(waves[1]) == 2 * executed
    apart, same = waves_of(1)
    assert all(len(set(wave)) == 1 for wave in apart) and len(apart) > 2 * len(waves)
    assert same == found
