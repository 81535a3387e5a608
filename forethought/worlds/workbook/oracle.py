"""Exact success probabilities of the workbook world, by running every route.

Nothing is hidden and nothing is drawn after the question, so a state is the routes not begun, the
route under way with the numbers that it has printed, and the calls left. The wanderer chooses
uniformly among the routes that fit, and again after a failure:

    V(route, numbers, R, b) = 1 if the rest of the route prints numbers only and fits b, else
                              C(R, b - calls up to the failure)
    C(R, b)                 = mean (wanderer) or max (planner) of V over the routes of R that fit b
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from forethought.worlds.workbook.physics import FAILURES
from forethought.worlds.workbook.routes import Call, need, next_call, runs_of
from forethought.worlds.workbook.text import QuestionFacts

Mode = Literal["wanderer", "planner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkbookState:
    """Where an episode stands."""

    unused: tuple[str, ...]  # routes not begun, in their order
    current: str | None  # the route under way; None before the first and after a failure
    numbers: tuple[str, ...]  # what it has printed so far
    calls: int  # calls left


class WorkbookOracle:
    """Success probability of every state of one task, under the wanderer or the planner."""

    def __init__(self, facts: QuestionFacts, mode: Mode = "wanderer") -> None:
        self.facts = facts
        self.mode: Mode = mode
        self._runs = runs_of(facts)
        self._needs = {name: need(facts, name) for name in self._runs}

    def start(self) -> WorkbookState:
        """The state before the first call."""
        return WorkbookState(
            unused=tuple(self._runs), current=None, numbers=(), calls=self.facts.calls
        )

    def fits(self, route: str, calls: int) -> bool:
        """Whether a route can be followed from its first call to its last."""
        return self._needs[route] <= calls

    def value(self, state: WorkbookState) -> float:
        """Success probability of a state."""
        if state.calls < 0:
            return 0.0
        if state.current is None:
            return self._choice(state.unused, state.calls)
        return self.route_value(state.current, len(state.numbers), state.unused, state.calls)

    def route_value(self, route: str, done: int, unused: tuple[str, ...], calls: int) -> float:
        """The value of following a route on, `done` calls of it made; `unused` are the others."""
        run = self._runs[route]
        if run.result is not None:
            return float(self._needs[route] - done <= calls)
        spent = len(run.calls) - done
        return self._choice(unused, calls - spent) if spent <= calls else 0.0

    def first_values(self) -> dict[str, float]:
        """Route -> value of choosing it first, for the routes that fit."""
        state = self.start()
        return {
            name: self.route_value(name, 0, _without(state.unused, name), state.calls)
            for name in state.unused
            if self.fits(name, state.calls)
        }

    def _choice(self, routes: tuple[str, ...], calls: int) -> float:
        values = [
            self.route_value(name, 0, _without(routes, name), calls)
            for name in routes
            if self.fits(name, calls)
        ]
        if not values:
            return 0.0
        return max(values) if self.mode == "planner" else sum(values) / len(values)


class WorkbookTracker:
    """Follows an episode from its public texts: question, calls, and what they printed.

    A call that no open route would make spends a call and nothing else, and no wanderer would make
    it: there is no value after it. A call that begins two routes alike belongs to the first.
    """

    def __init__(self, oracle: WorkbookOracle) -> None:
        self.oracle = oracle
        self.state = oracle.start()
        self.on_route = True
        self.last_route = ""  # that the last call served; "" where it served none

    @property
    def p(self) -> float | None:
        """Success probability before the next call; None right after a call off all routes."""
        return self.oracle.value(self.state) if self.on_route else None

    def step(self, call: Call, printed: str) -> float | None:
        """Takes one call and what it printed; returns `p` after it."""
        state, facts = self.state, self.oracle.facts
        wanted = (call.tool, "".join(call.text.split()))
        open_routes = [state.current] if state.current else []
        for name in (*open_routes, *state.unused):
            numbers = state.numbers if name == state.current else ()
            made = next_call(facts, name, numbers)
            if made is None or (made.tool, "".join(made.text.split())) != wanted:
                continue
            failed = printed in FAILURES
            self.state = WorkbookState(
                unused=_without(state.unused, name),
                current=None if failed else name,
                numbers=() if failed else (*numbers, printed),
                calls=state.calls - 1,
            )
            self.on_route, self.last_route = True, name
            return self.p
        self.state = replace(state, calls=state.calls - 1)
        self.on_route, self.last_route = False, ""
        return None


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in names if other != name)
