"""The rule-based writer: from what really came, to the block that should have been written.

A writer sees a trajectory and a turn and says what lies ahead in abstract terms: relations, signs
and regions, never the name of an entity. The number in the block is a measured label and is passed
in; a writer never invents it. `recap` writes an equally long block about the past without looking
at the future: the placebo that tells foresight from more text.

`AtlasWriter` writes for the synthetic search world, `MathsWriter` for problems solved with Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from forethought.foresight.levels import LEVELS, level_text, nearest_level
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.types import Foresight
from forethought.worlds.atlas.law import Law
from forethought.worlds.atlas.text import (
    PageFacts,
    QuestionFacts,
    parse_page,
    parse_query,
    parse_question,
)
from forethought.worlds.atlas.tokens import RELATIONS, ROUTE_LETTERS

MAX_KEYWORDS = 5
_WORST = {"kept": 0, "even": 1, "stale": 2, "burnt": 3}


class Writer(Protocol):
    """Writes blocks for the turns of one kind of trajectory."""

    def write(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """The block of turn `step`, written with the future of the trajectory in sight."""
        ...

    def recap(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """A block of the same shape about the turns before `step`, future unseen."""
        ...

    @property
    def decisions(self) -> tuple[str, ...]:
        """Words of a roadmap that choose a way; what else stands there tells what comes of it."""
        ...

    def can_tell(self, steps: Sequence[Step]) -> bool:
        """Whether steps that a model wrote can be told in the words of this writer."""
        ...


def with_level(q: float, *, spaced: bool) -> tuple[float, str]:
    """The nearest of the 21 levels to `q`, as a number and as the text of the confidence."""
    index = nearest_level(q)
    return LEVELS[index], level_text(index, spaced=spaced)


@dataclass(frozen=True, slots=True)
class _Link:
    """One executed search of a trajectory: its route, relation, and the page it found."""

    route: str
    relation: str
    region: str  # of the subject: known from the question or the page before
    page: PageFacts | None  # None: no such page came


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasWriter:
    """Blocks for atlas (search over a graph whose pages may be gone or wrong)."""

    law: Law

    def write(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.write`; the analysis names the worst cell of the law on the route."""
        facts = parse_question(trajectory.task.question)
        links = _links(facts, trajectory)
        ahead = links[step:]
        ending = "reply" if _replies(trajectory) else "stuck"
        roadmap = " , ".join([*(_describe(link) for link in ahead), ending])
        gap = f"{_open_links(facts, links, step)} links open"
        level, text = with_level(q, spaced=True)
        return Foresight(
            roadmap=f"{roadmap} ; {gap}",
            keywords=_keywords(ahead, trajectory.state(step)) or (ending,),
            analysis=self._analysis(facts, links, step),
            q=level,
            q_text=text,
        )

    def recap(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.recap`; before the first search it repeats the routes of the question."""
        facts = parse_question(trajectory.task.question)
        past = _links(facts, trajectory)[:step]
        told = [_describe(link) for link in past] or [
            f"{letter} {' '.join(relations)}" for letter, relations in facts.routes
        ]
        level, text = with_level(q, spaced=True)
        found = [link.page for link in past if link.page is not None]
        words = [word for page in found for word in (page.sign, page.object_region)]
        return Foresight(
            roadmap=f"{' , '.join(told)} ; {facts.budget - len(past)} open",
            keywords=tuple(dict.fromkeys(words))[:MAX_KEYWORDS] or (facts.region,),
            analysis=self._worst(past, facts.budget - len(past))
            if past
            else f"{facts.budget} spare",
            q=level,
            q_text=text,
        )

    @property
    def decisions(self) -> tuple[str, ...]:
        """See `Writer.decisions`: the letters of the routes."""
        return ROUTE_LETTERS

    def can_tell(self, steps: Sequence[Step]) -> bool:
        """See `Writer.can_tell`: every search asks for a relation of an entity, on some route."""
        searches = [step for step in steps if step.action.kind == "search"]
        return all(
            step.action.text.partition(" ")[0] in RELATIONS
            and parse_query(step.action.text) is not None
            and step.think.partition(" ")[0] in ROUTE_LETTERS
            for step in searches
        )

    def _analysis(self, facts: QuestionFacts, links: list[_Link], step: int) -> str:
        spare = facts.budget - step - _open_links(facts, links, step)
        here = _route_at(links, step)
        on_route = [link for link in links if link.route == here]
        return self._worst(on_route, max(spare, 0))

    def _worst(self, links: list[_Link], spare: int) -> str:
        if not links:
            return f"{spare} spare"
        states = [(self.law.states[link.relation, link.region], link.relation) for link in links]
        state, relation = max(states, key=lambda pair: _WORST[pair[0]])
        return f"{relation} {state} , {spare} spare"


def _links(facts: QuestionFacts, trajectory: Trajectory) -> list[_Link]:
    """The executed searches in order, each with the page that answers its query, if it came."""
    region_of = {facts.start: facts.region}
    links: list[_Link] = []
    for step in trajectory.steps:
        if step.action.kind != "search":
            continue
        relation, _, entity = step.action.text.partition(" ")
        page = _answering_page(step, relation, entity)
        if page is not None:
            region_of[page.object] = page.object_region
        links.append(
            _Link(
                route=step.think.partition(" ")[0],
                relation=relation,
                region=region_of.get(entity, facts.region),
                page=page,
            )
        )
    return links


def _answering_page(step: Step, relation: str, entity: str) -> PageFacts | None:
    for text in step.observation.split(" ; "):
        page = parse_page(text)
        if page is not None and page.relation == relation and page.subject == entity:
            return page
    return None


def _describe(link: _Link) -> str:
    if link.page is None:
        return f"{link.route} {link.relation} gone"
    return f"{link.route} {link.relation} {link.page.sign} {link.page.object_region}"


def _replies(trajectory: Trajectory) -> bool:
    last = trajectory.steps[-1].action
    return last.kind == "answer" and last.text != "none"


def _route_at(links: list[_Link], step: int) -> str:
    """Route of the search of turn `step`; after the last search, the route of that one."""
    return links[min(step, len(links) - 1)].route if links else ""


def _open_links(facts: QuestionFacts, links: list[_Link], step: int) -> int:
    """Links that the route of this turn still needs before an answer stands on a page."""
    route = _route_at(links, step)
    length = {letter: len(relations) for letter, relations in facts.routes}.get(route, 0)
    done = sum(link.route == route and link.page is not None for link in links[:step])
    return length - done


def _keywords(ahead: list[_Link], seen: str) -> tuple[str, ...]:
    """The sign of the next page that comes, and the region where the road ends unless it was seen.

    One word of each kind cannot stand twice. With the signs of two or three pages a small model
    broke the format in every hundredth block: it miscounts the pages that come, or does not notice
    that two signs are the same. What lies between stands in the roadmap.
    """
    pages = [link.page for link in ahead if link.page is not None]
    ends = [page.object_region for page in pages[-1:] if page.object_region not in seen.split()]
    return (*(page.sign for page in pages[:1]), *ends)


_NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")


@dataclass(frozen=True, slots=True, kw_only=True)
class MathsWriter:
    """Blocks for word problems solved with a Python tool; numbers of results are never told."""

    def write(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.write`; keywords are the length and the parity of the next output.

        Those of a later one would mostly be the same two words again.
        """
        calls = [s for s in trajectory.steps[step:] if s.action.kind != "answer"]
        plan = [f"{_operation(s.action.text)}, expect {_shape(s)}" for s in calls]
        keywords = [
            word for s in calls[:1] for word in (_digits(s.observation), _parity(s.observation))
        ]
        level, text = with_level(q, spaced=False)
        missing = (
            f"{len(calls)} result{'s' * (len(calls) != 1)} missing" if calls else "nothing missing"
        )
        return Foresight(
            roadmap="; ".join([*plan, f"then answer. {missing.capitalize()}"]),
            keywords=tuple(word for word in keywords if word) or ("answer",),
            analysis=_hardness(calls),
            q=level,
            q_text=text,
        )

    def recap(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.recap`."""
        past = [s for s in trajectory.steps[:step] if s.action.kind != "answer"]
        done = [_operation(s.action.text) for s in past] or ["read the problem"]
        level, text = with_level(q, spaced=False)
        return Foresight(
            roadmap="; ".join([*done, "so far"]),
            keywords=tuple(dict.fromkeys(_digits(s.observation) for s in past))[:MAX_KEYWORDS]
            or ("problem",),
            analysis=f"{len(past)} calls made",
            q=level,
            q_text=text,
        )

    @property
    def decisions(self) -> tuple[str, ...]:
        """See `Writer.decisions`: no word of its own names a way."""
        return ()

    def can_tell(self, steps: Sequence[Step]) -> bool:
        """See `Writer.can_tell`: any program can be told, and nothing else that is called."""
        return all(step.action.kind in ("python", "answer") for step in steps)


_OPERATIONS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
_NODES: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "/",
}


def _operation(code: str) -> str:
    """What a program calculates; of one that does not parse, what signs stand in it.

    A hyphen in a comment, a text or before a number is no subtraction.
    """
    try:
        nodes = [*ast.walk(ast.parse(code))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        signs = {sign for sign in _OPERATIONS if sign in code}
    else:
        used = (node.op for node in nodes if isinstance(node, ast.BinOp | ast.AugAssign))
        signs = {_NODES[type(op)] for op in used if type(op) in _NODES}
    names = [name for sign, name in _OPERATIONS.items() if sign in signs]
    return " and ".join(names) if names else "compute"


def _value(output: str) -> float | None:
    match = _NUMBER.search(output)
    return float(match.group().replace(",", "")) if match else None


def _digits(output: str) -> str:
    value = _value(output)
    if value is None:
        return "error"
    digits = len(str(abs(int(value))))
    return f"{digits}-digit"


def _parity(output: str) -> str:
    value = _value(output)
    if value is None:
        return ""
    if value != int(value):
        return "fraction"
    return "even" if int(value) % 2 == 0 else "odd"


def _shape(step: Step) -> str:
    kind = _parity(step.observation)
    return f"a {_digits(step.observation)} {kind} number" if kind else "an error"


def _hardness(calls: list[Step]) -> str:
    if not calls:
        return "The result is printed; only copying it can fail"
    if len(calls) == 1:
        return "One direct calculation; choosing the numbers may fail"
    return f"{len(calls)} calculations in a row; an early slip spoils the later ones"
