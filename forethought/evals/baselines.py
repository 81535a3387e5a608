"""Policies without a model: the scripted ones of the worlds, acting through the same engine.

They are information-fair: they may know the law of the world, never what was drawn. They write no
block, so they are evaluated in the plain format.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from forethought.errors import InputError
from forethought.foresight.block import render
from forethought.rollout.scripted import ScriptedBackend
from forethought.worlds.atlas.law import Law
from forethought.worlds.atlas.policies import POLICIES
from forethought.worlds.steps import ScriptedStep
from forethought.worlds.workbook.policies import POLICIES as WORKBOOK_POLICIES

BASELINES = tuple(POLICIES)


class _Player(Protocol):
    """A scripted policy of any world."""

    def start(self, question: str, rng: random.Random) -> None: ...

    def act(self, observation: str | None) -> ScriptedStep: ...


class _Script:
    """Writes the turns of one scripted policy, keeping a memory for each session."""

    def __init__(self, make: Callable[[], _Player], style: str) -> None:
        self._make, self._style = make, style
        self._reply = {"search": "information", "maths": "tool_response"}[style]
        self._sessions: dict[str, tuple[_Player, int]] = {}

    def write(self, session: str, noise: tuple[int, ...], text: str) -> str:
        """The next turn after `text`, the whole sequence so far."""
        if session not in self._sessions:
            seed = zlib.crc32(",".join(map(str, noise)).encode())
            policy = self._make()
            policy.start(_question(text), random.Random(seed))
            self._sessions[session] = (policy, 0)
        policy, turns = self._sessions[session]
        step = policy.act(self._last_observation(text) if turns else None)
        self._sessions[session] = (policy, turns + 1)
        return render(None, step.think, step.action, style=self._style, spaced=True)

    def _last_observation(self, text: str) -> str:
        inside = text.rsplit(f"<{self._reply}>", 1)[-1]
        return inside.split(f"</{self._reply}>")[0].strip()


def _question(text: str) -> str:
    """The question at the head of a sequence in the plain format."""
    head = text.split(" ; plain")[0]
    return head.removeprefix("<bos>").strip()


def scripted_backend(name: str, law: Law, tokenizer: Any) -> ScriptedBackend:
    """A back-end that plays the named policy.

    Raises:
        InputError: an unknown name.
    """
    if name not in POLICIES:
        raise InputError(
            "--model",
            got=repr(name),
            expected="one of " + ", ".join(BASELINES),
            next_step="see `forethought list baselines`",
        )
    return ScriptedBackend(_Script(lambda: POLICIES[name](law), "search").write, tokenizer)


def workbook_backend(name: str, tokenizer: Any) -> ScriptedBackend:
    """A back-end that plays the named policy of the world of sums, which has no hidden law."""
    return ScriptedBackend(_Script(WORKBOOK_POLICIES[name], "maths").write, tokenizer)
