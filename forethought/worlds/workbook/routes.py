"""Ways to calculate a task: a direct loop, loops in two or three parts, a closed form.

A route is a sequence of calls of which each may use the number that the one before printed. It dies
at the first call that prints no number. A last step is a call of its own, unless the closed form
has an operation to spare for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from forethought.worlds.workbook.physics import (
    FAILURES,
    MAX_OPERATIONS,
    Rule,
    calc_prints,
    loop_prints,
    render_rule,
)
from forethought.worlds.workbook.text import QuestionFacts

ROUTES = ("direct", "halves", "thirds", "closed")
"""Names, in the order in which a reactive player tries them."""

_PARTS = {"direct": 1, "halves": 2, "thirds": 3}


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call: `calc` or `loop`, and its input."""

    tool: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What following a route to its end comes to."""

    calls: tuple[Call, ...]
    prints: tuple[str, ...]  # one a call

    @property
    def result(self) -> str | None:
        """The number that the route ends in; None where a call failed."""
        return None if self.prints[-1] in FAILURES else self.prints[-1]


def routes_of(facts: QuestionFacts) -> tuple[str, ...]:
    """Names of the routes that a task has."""
    names = [name for name, parts in _PARTS.items() if parts <= facts.days]
    return (*names, "closed") if _closed_terms(facts) else tuple(names)


def need(facts: QuestionFacts, route: str) -> int:
    """Calls that a route takes if none fails."""
    if route == "closed":
        return len(_closed_texts(facts)) + (facts.has_last and not _merges(facts))
    return _PARTS[route] + facts.has_last


def next_call(facts: QuestionFacts, route: str, numbers: tuple[str, ...]) -> Call | None:
    """The call after those that printed `numbers`; None when the last number is the answer."""
    done = len(numbers)
    if done == need(facts, route):
        return None
    if route != "closed":
        days = shares(facts.days, _PARTS[route])
        if done < len(days):
            start = numbers[-1] if numbers else str(facts.start)
            return Call("loop", f"{start} , {render_rule(facts.rule)} , {days[done]}")
        return Call("calc", _last_step(facts, numbers[-1]))
    texts = _closed_texts(facts)
    if done < len(texts):
        text = texts[done].format(*numbers)
        whole = done == len(texts) - 1
        return Call("calc", _last_step(facts, text) if whole and _merges(facts) else text)
    return Call("calc", _last_step(facts, numbers[-1]))


def follow(facts: QuestionFacts, route: str) -> Run:
    """Follows a route until a call fails or the answer is there; the budget is not looked at."""
    calls: list[Call] = []
    prints: list[str] = []
    while (call := next_call(facts, route, tuple(prints))) is not None:
        calls.append(call)
        prints.append(prints_of(call))
        if prints[-1] in FAILURES:
            break
    return Run(calls=tuple(calls), prints=tuple(prints))


def runs_of(facts: QuestionFacts) -> dict[str, Run]:
    """What each route of a task comes to, the budget left out."""
    return {name: follow(facts, name) for name in routes_of(facts)}


def prints_of(call: Call) -> str:
    """What a call prints."""
    return calc_prints(call.text) if call.tool == "calc" else loop_prints(call.text)


def shares(days: int, parts: int) -> list[int]:
    """The days of each part, the longer ones first."""
    whole, over = divmod(days, parts)
    return [whole + (i < over) for i in range(parts)]


def _last_step(facts: QuestionFacts, text: str) -> str:
    if facts.digits:
        return f"digits ( {text} )"
    inner = text if " " not in text else f"( {text} )"
    return f"{inner} / {facts.divisor}"


def _closed_terms(facts: QuestionFacts) -> Rule:
    """The rule where it only adds or only multiplies, else ()."""
    operators = {operator for operator, _ in facts.rule}
    return facts.rule if operators == {"*"} or operators <= {"+", "-"} else ()


def _closed_texts(facts: QuestionFacts) -> list[str]:
    """The expressions of the closed form; `{0}` stands for the number of the first call."""
    rule = _closed_terms(facts)
    numbers = [str(number) for _, number in rule]
    if rule[0][0] == "*":
        if len(rule) == 1:
            return [f"{facts.start} * {numbers[0]} ** {facts.days}"]
        if len(rule) == 2:
            return [f"{facts.start} * ( {' * '.join(numbers)} ) ** {facts.days}"]
        return [" * ".join(numbers), f"{facts.start} * {{0}} ** {facts.days}"]
    change = render_rule(rule).removeprefix("+ ")
    if len(rule) == 1:
        return [f"{facts.start} {rule[0][0]} {numbers[0]} * {facts.days}"]
    if len(rule) == 2:
        return [f"{facts.start} + ( {change} ) * {facts.days}"]
    return [change, f"{facts.start} + {{0}} * {facts.days}"]


def _merges(facts: QuestionFacts) -> bool:
    """Whether the last step still fits the last expression of the closed form."""
    if not facts.has_last:
        return False
    operations = 2 if len(facts.rule) != 2 else 3
    return operations < MAX_OPERATIONS
