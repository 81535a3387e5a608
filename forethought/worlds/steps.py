"""What scripted policies of all worlds say and do in one turn."""

from __future__ import annotations

from dataclasses import dataclass

from forethought.types import Action

GIVE_UP = "none"
"""The answer of a policy that has nothing left to try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedStep:
    """One turn of a scripted policy."""

    think: str  # what the route and the state need before a call, the answer before an answer
    action: Action
    route: str  # the route that the action serves; "" where it gives up


def answer_step(text: str, route: str) -> ScriptedStep:
    """The turn that ends an episode."""
    return ScriptedStep(think=text, action=Action(kind="answer", text=text), route=route)
