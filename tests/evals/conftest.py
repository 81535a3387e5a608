"""A policy that does what its block says, for tests of what blocks do."""

from __future__ import annotations

import random
from typing import Any

import pytest

from forethought.config import load_config
from forethought.domains import make_domain
from forethought.domains.atlas import atlas_tokenizer
from forethought.evals.command import EvalRequest, setting_of
from forethought.evals.probe import ProbeSetting
from forethought.rollout.backend import Completion, Request
from forethought.rollout.modes import parse_mode

TOKENIZER = atlas_tokenizer()


class Obedient:
    """Writes a block of a random route, then searches along the route that its block names."""

    async def generate(self, request: Request) -> Completion:
        rng = random.Random(str(request.noise))
        words = TOKENIZER.decode(request.ids).split()
        replied = max((n for n, w in enumerate(words) if w == "</information>"), default=0)
        begun = max((n for n, w in enumerate(words) if w == "<imaginary>"), default=0)
        letter = rng.choice("abc")
        block = (
            f"<imaginary> {letter} mentor lamp coast , reply ; 1 links open </imaginary> "
            "<keyword> lamp </keyword> <analysis> 0 spare </analysis> "
            f"<confidence> {rng.choice((10, 50, 90))} % </confidence>"
        )
        if begun > replied:  # a block was put in its mouth
            block, letter = "", words[begun + 1]
        start = words[0]
        ends = rng.random() < 0.4
        relation = {"a": "mentor", "b": "employer"}.get(letter, "home")
        act = (
            f"<think> {letter} {start} </think> <search> {relation} {start} </search>"
            if not ends
            else f"<think> {letter} </think> <answer> {start} </answer>"
        )
        ids = tuple(TOKENIZER.encode(f"{block} {act}".strip(), add_special_tokens=False))
        return Completion(ids=ids, logprobs=(0.0,) * len(ids), stop="stop")

    def release(self, session: str) -> None:
        """Nothing is kept."""


@pytest.fixture(scope="module")
def probe() -> ProbeSetting:
    config = load_config("demo/atlas-fast", {"eval.resamples": "50"})
    request: Any = EvalRequest(model="m", out=None)  # type: ignore[arg-type]
    setting = setting_of(config, make_domain(config), request, parse_mode("faithful"), "val")
    policy: Any = type("Policy", (), {"tokenizer": TOKENIZER})()
    backend: Any = Obedient()
    return ProbeSetting(evaluation=setting, policy=policy, backend=backend)
