"""Policies without a model: the scripted ones of atlas, acting through the same engine.

They are information-fair: they may know the law of the world, never what was drawn. They write no
block, so they are evaluated in the plain format.
"""

from __future__ import annotations

import random
import zlib
from typing import Any

from forethought.errors import InputError
from forethought.foresight.block import render
from forethought.rollout.scripted import ScriptedBackend
from forethought.worlds.atlas.law import Law
from forethought.worlds.atlas.policies import POLICIES, ScriptedPolicy

BASELINES = tuple(POLICIES)


class _Script:
    """Writes the turns of one scripted policy, keeping a memory for each session."""

    def __init__(self, name: str, law: Law) -> None:
        self._name, self._law = name, law
        self._sessions: dict[str, tuple[ScriptedPolicy, int]] = {}

    def write(self, session: str, noise: tuple[int, ...], text: str) -> str:
        """The next turn after `text`, the whole sequence so far."""
        if session not in self._sessions:
            seed = zlib.crc32(",".join(map(str, noise)).encode())
            policy = POLICIES[self._name](self._law)
            policy.start(_question(text), random.Random(seed))
            self._sessions[session] = (policy, 0)
        policy, turns = self._sessions[session]
        step = policy.act(_last_observation(text) if turns else None)
        self._sessions[session] = (policy, turns + 1)
        return render(None, step.think, step.action, style="search", spaced=True)


def _question(text: str) -> str:
    """The question at the head of a sequence in the plain format."""
    head = text.split(" ; plain")[0]
    return head.removeprefix("<bos>").strip()


def _last_observation(text: str) -> str:
    inside = text.rsplit("<information>", 1)[-1]
    return inside.split("</information>")[0].strip()


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
    return ScriptedBackend(_Script(name, law).write, tokenizer)
