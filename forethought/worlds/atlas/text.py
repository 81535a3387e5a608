"""The surface of the atlas world: question and page text, printed and read back.

A question: "gera of east : a mentor mentor b employer seat c guild mill owner ; 3".
A page: "employer west lamp banok buzur north". A query: "employer banok".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from forethought.errors import InputError
from forethought.worlds.atlas.tokens import REGIONS, RELATIONS, ROUTE_LETTERS, vocabulary

_MODE_FLAGS = ("plain", "foresight")
_PAGE_WORDS = 6

Route = tuple[str, ...]
"""The relations of a chain, first link first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFacts:
    """All that a question says."""

    start: str  # name of the person the routes start from
    region: str  # where that person lives
    routes: tuple[tuple[str, Route], ...]  # (letter, relations), in listed order
    budget: int  # searches before the episode ends

    def route(self, letter: str) -> Route:
        """The relations of the route called `letter`.

        Raises:
            KeyError: the question lists no such route.
        """
        return dict(self.routes)[letter]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """All that a page says: `relation` holds between `subject` and `object`."""

    relation: str
    subject_region: str
    sign: str
    subject: str
    object: str
    object_region: str


def render_question(facts: QuestionFacts) -> str:
    """The question's text; `parse_question` inverts it."""
    routes = " ".join(f"{letter} {' '.join(route)}" for letter, route in facts.routes)
    return f"{facts.start} of {facts.region} : {routes} ; {facts.budget}"


def parse_question(text: str) -> QuestionFacts:
    """Reads a question, with or without the mode flag that a prompt appends.

    Raises:
        InputError: the text is not a question of this world.
    """
    words = text.split()
    if words and words[-1] in _MODE_FLAGS:
        words = words[:-2] if words[-2:-1] == [";"] else words
    well_formed = (
        len(words) >= 8
        and words[1] == "of"
        and words[3] == ":"
        and words[-2] == ";"
        and words[-1].isascii()
        and words[-1].isdecimal()
    )
    routes = _parse_routes(words[4:-2]) if well_formed else None
    if not routes:
        raise InputError(
            "atlas question",
            got=repr(text[:80]),
            expected='"NAME of REGION : a RELATION .. b RELATION .. ; BUDGET"',
            next_step="pass a question made by forethought.worlds.atlas",
        )
    return QuestionFacts(start=words[0], region=words[2], routes=routes, budget=int(words[-1]))


def read_question(text: str) -> QuestionFacts | None:
    """What a question says that stands in the words of this world; None for any other text."""
    if not set(text.split()) <= _words():
        return None
    try:
        facts = parse_question(text)
    except InputError:
        return None
    return facts if facts.region in REGIONS else None


@cache
def _words() -> frozenset[str]:
    return frozenset(vocabulary())


def _parse_routes(words: list[str]) -> tuple[tuple[str, Route], ...] | None:
    """The routes in `words`, or None where letters and relations do not alternate as they must."""
    routes: list[tuple[str, list[str]]] = []
    for word in words:
        if word in ROUTE_LETTERS:
            routes.append((word, []))
        elif word in RELATIONS and routes:
            routes[-1][1].append(word)
        else:
            return None
    letters = [letter for letter, _ in routes]
    if len(set(letters)) < len(letters) or not all(relations for _, relations in routes):
        return None
    return tuple((letter, tuple(relations)) for letter, relations in routes)


def render_page(page: PageFacts) -> str:
    """The page's text; `parse_page` inverts it."""
    return (
        f"{page.relation} {page.subject_region} {page.sign} "
        f"{page.subject} {page.object} {page.object_region}"
    )


def parse_page(text: str) -> PageFacts | None:
    """Reads one page; None where the text is none."""
    words = text.split()
    if len(words) != _PAGE_WORDS or words[0] not in RELATIONS:
        return None
    return PageFacts(
        relation=words[0],
        subject_region=words[1],
        sign=words[2],
        subject=words[3],
        object=words[4],
        object_region=words[5],
    )


def parse_pages(observation: str) -> list[PageFacts]:
    """The pages of a reply, in order. Anything else in it (a notice, a tag) is passed over."""
    text = observation.replace("<information>", "").replace("</information>", "")
    pages = (parse_page(piece) for piece in text.split(";"))
    return [page for page in pages if page is not None]


def render_query(relation: str, subject: str) -> str:
    """The query that asks for one page."""
    return f"{relation} {subject}"


def parse_query(text: str) -> tuple[str, str] | None:
    """The (relation, subject) that a query asks for, in either order; None for any other text."""
    words = text.split()
    if len(words) != 2:
        return None
    first, second = words
    if first in RELATIONS:
        return first, second
    return (second, first) if second in RELATIONS else None
