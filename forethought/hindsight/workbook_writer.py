"""Blocks for the world of sums, from what the calls of a trajectory really printed.

imaginary   halves loop d3 , halves loop d4 , halves calc d3 , reply ; 3 open
keyword     d3 , odd
analysis    210 fuel , 1 spare
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import with_level
from forethought.types import Foresight
from forethought.worlds.workbook.physics import FAILURES, parse_loop
from forethought.worlds.workbook.routes import ROUTES, need, routes_of
from forethought.worlds.workbook.text import QuestionFacts, parse_question

_TOOLS = ("calc", "loop")


@dataclass(frozen=True, slots=True)
class WorkbookWriter:
    """See `forethought.hindsight.writer.Writer`. A number of a result is never told."""

    def write(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.write`; keywords are the length and the parity of the next output."""
        facts = parse_question(trajectory.task.question)
        calls = _calls(trajectory.steps)
        ahead = calls[step:]
        last = trajectory.steps[-1].action
        ending = "reply" if last.kind == "answer" and last.text != "none" else "stuck"
        roadmap = " , ".join([*map(_told, ahead), ending])
        left = _open(facts, calls, step)
        level, text = with_level(q, spaced=True)
        return Foresight(
            roadmap=f"{roadmap} ; {left} open",
            keywords=_properties(ahead[0]) if ahead else (ending,),
            analysis=f"{_fuel(ahead)} fuel , {max(facts.calls - step - left, 0)} spare",
            q=level,
            q_text=text,
        )

    def recap(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.recap`; before the first call it names the account."""
        facts = parse_question(trajectory.task.question)
        past = _calls(trajectory.steps)[:step]
        level, text = with_level(q, spaced=True)
        return Foresight(
            roadmap=f"{' , '.join(map(_told, past)) or facts.asked} ; {facts.calls - step} open",
            keywords=_properties(past[-1]) if past else (facts.asked,),
            analysis=f"{_fuel(past[-1:])} fuel , {facts.calls - step} spare",
            q=level,
            q_text=text,
        )

    @property
    def decisions(self) -> tuple[str, ...]:
        """See `Writer.decisions`: the names of the routes."""
        return ROUTES

    def can_tell(self, steps: Sequence[Step]) -> bool:
        """See `Writer.can_tell`: every call serves a route, and was carried out."""
        return all(
            step.action.kind in _TOOLS and _route(step) in ROUTES and _properties(step)
            for step in _calls(steps)
        )


def _calls(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.action.kind != "answer"]


def _told(step: Step) -> str:
    return f"{_route(step)} {step.action.kind} {_properties(step)[0]}"


def _route(step: Step) -> str:
    return step.think.partition(" ")[0]


def _properties(step: Step) -> tuple[str, ...]:
    """`("d3", "odd")`, or the failure; () where the call was not carried out."""
    text = step.observation.strip()
    if text in FAILURES:
        return (text,)
    number, *properties = text.split() or [""]
    return tuple(properties) if number.lstrip("-").isdecimal() else ()


def _open(facts: QuestionFacts, calls: Sequence[Step], step: int) -> int:
    """Calls that the route of this turn still needs; 0 where nothing is left to do."""
    if step >= len(calls):
        return 0
    route, done = _route(calls[step]), 0
    for past in reversed(calls[:step]):
        if _route(past) != route or past.observation.strip() in FAILURES:
            break
        done += 1
    return need(facts, route) - done if route in routes_of(facts) else 0


def _fuel(calls: Sequence[Step]) -> int:
    """What the first of the calls burns."""
    call = parse_loop(calls[0].action.text) if calls and calls[0].action.kind == "loop" else None
    return 0 if call is None else call.fuel
