"""A toy environment, scripts for it, and a back-end that keeps what it was asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rollout_builders import word_tokenizer

from forethought.envs.base import Observation
from forethought.errors import InputError
from forethought.rollout.backend import Completion, Request, Sampling
from forethought.rollout.engine import EngineConfig, Start, run_rollouts_sync
from forethought.rollout.render import TextFormat
from forethought.rollout.scripted import ScriptedBackend
from forethought.types import Rollout, Task

FORM = TextFormat(name="toy", spaced=True)
WORDS = """q ; plain foresight <think> </think> <search> </search> <answer> </answer> <information>
</information> <imaginary> </imaginary> <keyword> </keyword> <analysis> </analysis> <confidence>
</confidence> 65 % none a b page boom end bad slow wrong x y"""
TOKENIZER = word_tokenizer(WORDS)
CONFIG = EngineConfig(max_turns=3, max_context_tokens=200, sampling=Sampling(max_tokens=40))
ASK_A = "<think> x </think> <search> a </search>"
ANSWER_B = "<think> y </think> <answer> b </answer>"
VOID = "<think> x </think>"


class ToyEnv:
    """Replies by query; logs what happened to it."""

    def __init__(self, log: list[str] | None = None) -> None:
        self._log = [] if log is None else log
        self._row: dict[str, Any] = {}
        self._closed = False

    def reset(self, **row: Any) -> str | None:
        self._row = row
        self._log.append(f"reset {row['id']}")
        return None

    def search(self, query: str) -> str:
        """Looks something up.

        Args:
            query: what to look for.
        """
        self._log.append(f"{self._row.get('id')} {query}")
        if query == "boom":
            raise RuntimeError("the index is gone")
        if query == "wrong":
            raise InputError("corpus", got="x", expected="y", next_step="mend it")
        if query == "slow":
            time.sleep(0.3)
        if query == "end":
            return Observation("none", done=True)
        return Observation("none", failed=True) if query == "bad" else f"page {query}"

    async def __aexit__(self, *error: object) -> None:
        self._closed = True


class Recorder:
    """A scripted back-end that keeps its requests and releases. Scripts are chosen by noise key."""

    def __init__(self, *scripts: Sequence[str]) -> None:
        def write(session: str, noise: tuple[int, ...], text: str) -> str:
            script = scripts[noise[0]]
            return script[min(text.count("<information>"), len(script) - 1)]

        self._inner = ScriptedBackend(write, TOKENIZER)
        self.requests: list[Request] = []
        self.released: list[str] = []

    async def generate(self, request: Request) -> Completion:
        self.requests.append(request)
        return await self._inner.generate(request)

    def release(self, session: str) -> None:
        self.released.append(session)

    async def load_weights(self, weights: Any, version: int) -> None:
        await self._inner.load_weights(weights, version)

    async def close(self) -> None:
        await self._inner.close()


def task(number: int = 0) -> Task:
    return Task(id=f"t{number}", question="q", answers=("b",), kind="qa", columns={"budget": 2})


def start(number: int = 0, env: Any = None, **more: Any) -> Start:
    env = ToyEnv() if env is None else env
    fields = {"task": task(number), "env": env, "noise": (number,), "mode": "plain", **more}
    return Start(**fields)


def play(scripts: Sequence[Sequence[str]], config: EngineConfig = CONFIG) -> list[Rollout]:
    starts = [start(number) for number in range(len(scripts))]
    return run_rollouts_sync(starts, Recorder(*scripts), FORM, TOKENIZER, config)
