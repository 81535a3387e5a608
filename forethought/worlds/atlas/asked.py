"""Questions that nobody drew: what a world can say about the right answer to one."""

from __future__ import annotations

from forethought.worlds.atlas.text import PageFacts, QuestionFacts, Route, parse_page, read_question
from forethought.worlds.atlas.world import World


def known_answer(world: World, facts: QuestionFacts) -> str | None:
    """The right answer to a question in a world; None where the world cannot vouch for one.

    Every route must have a known end, and all the same. A route of a task of the world ends in the
    task's answer, whatever its pages say. Any other is followed from page to page, as long as the
    law makes every page on the way right: a page that is gone, or that may be stale, ends it.
    """
    ends = {_end(world, facts, route) for _, route in facts.routes}
    return ends.pop() if len(ends) == 1 else None


def _end(world: World, facts: QuestionFacts, route: Route) -> str | None:
    for task in world.tasks:
        known = read_question(task.question)
        if known is None or (known.start, known.region) != (facts.start, facts.region):
            continue
        if route in (listed for _, listed in known.routes):
            return task.answers[0]
    return _follow(world, facts, route)


def _follow(world: World, facts: QuestionFacts, route: Route) -> str | None:
    name, region = facts.start, facts.region
    for relation in route:
        pages = _pages(world, relation, name, region)
        if len(pages) != 1 or world.law.right(relation, region) < 1.0:
            return None
        name, region = pages[0].object, pages[0].object_region
    return name


def _pages(world: World, relation: str, subject: str, region: str) -> list[PageFacts]:
    read = (parse_page(page.text) for page in world.pages)
    asked = (relation, subject, region)
    return [
        page
        for page in read
        if page is not None and (page.relation, page.subject, page.subject_region) == asked
    ]
