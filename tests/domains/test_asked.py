"""A question of one's own has an answer where the world can vouch for one, and only there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forethought.config import load_config
from forethought.domains.asked import ASKED, asked_task
from forethought.domains.atlas import AtlasDomain
from forethought.domains.gsm8k import Gsm8kDomain
from forethought.domains.workbook import WorkbookDomain
from forethought.errors import InputError
from forethought.types import Task
from forethought.worlds.atlas.asked import known_answer
from forethought.worlds.atlas.text import QuestionFacts, parse_page, parse_question, render_question
from forethought.worlds.atlas.world import truth_of, world
from forethought.worlds.splits import SPLIT_STARTS

ATLAS = AtlasDomain.from_config(load_config("demo/atlas"))
WORKBOOK = WorkbookDomain.from_config(load_config("demo/workbook"))
WORLDS = [world(ATLAS.law, SPLIT_STARTS["val"] + number) for number in range(40)]
FIRST, SECOND = WORLDS[0].tasks[:2]


def _ask(facts: QuestionFacts, like: Task = FIRST) -> Task:
    return asked_task(ATLAS, like, render_question(facts))


def test_the_question_of_a_task_of_the_world_is_that_task() -> None:
    assert asked_task(ATLAS, FIRST, FIRST.question) is FIRST
    assert asked_task(ATLAS, FIRST, f"  {SECOND.question} ; foresight ") is SECOND
    like = WORKBOOK.tasks("val", 1)[0]
    assert asked_task(WORKBOOK, like, like.question) is like


def test_each_route_of_a_task_leads_to_its_answer_within_any_budget() -> None:
    for task in (FIRST, SECOND):
        facts = parse_question(task.question)
        for route in facts.routes:
            mine = _ask(replace(facts, routes=(route,), budget=7))
            assert (mine.id, mine.answers, mine.columns) == (ASKED, task.answers, {"budget": 7})
            assert mine.world_seed == FIRST.world_seed


def test_a_question_with_a_wrong_region_or_a_stranger_has_no_answer() -> None:
    facts = parse_question(FIRST.question)
    other = next(region for region in ("east", "west") if region != facts.region)
    assert _ask(replace(facts, region=other)).answers == ()
    names = {word for page in WORLDS[0].pages for word in page.text.split()}
    stranger = next(name for name in ATLAS.entities() if name not in names)
    assert _ask(replace(facts, start=stranger)).answers == ()


def test_routes_that_end_in_different_places_have_no_answer() -> None:
    facts = parse_question(FIRST.question)
    sure = [page for page in map(parse_page, (p.text for p in WORLDS[0].pages)) if page]
    page = next(
        p
        for p in sure
        if p.subject == facts.start and ATLAS.law.right(p.relation, p.subject_region) == 1.0
    )
    short = replace(facts, routes=(("a", (page.relation,)),))
    assert _ask(short).answers == (page.object,)
    both = replace(facts, routes=(("a", (page.relation,)), ("b", facts.routes[0][1])))
    assert _ask(both).answers == ()


def test_a_followed_answer_is_never_that_of_a_missing_or_wrong_page() -> None:
    known = 0
    for drawn in WORLDS:
        for link in truth_of(drawn).links:
            facts = QuestionFacts(
                start=link.subject, region=link.region, routes=(("a", (link.relation,)),), budget=1
            )
            answer = known_answer(drawn, facts)
            if answer is not None:
                known += 1
                assert link.exists and not link.stale and not link.wrong
    assert known > 100


@pytest.mark.parametrize(
    "question",
    [
        "",
        "who is it?",
        "gera of nowhere : a home ; 2",
        "somebody of east : a home ; 2",
        "gera of east : a ; 2",
        "gera of east : a home a seat ; 2",
        "gera of east : a home ; " + "9" * 5000,
    ],
)
def test_a_question_that_atlas_cannot_read_is_answered_with_one_that_it_can(question: str) -> None:
    with pytest.raises(InputError) as caught:
        asked_task(ATLAS, FIRST, question)
    assert repr(FIRST.question) in str(caught.value) and repr(question[:200]) in str(caught.value)


def test_a_sum_of_ones_own_is_worked_out_unless_it_is_too_large() -> None:
    like = WORKBOOK.tasks("val", 1)[0]
    mine = asked_task(WORKBOOK, like, "pot 3 ; jar 61 ; each day + 4 ; 5 days ; pot ? ; calls 2")
    assert (mine.answers, mine.columns["budget"]) == (("23",), 2)
    large = "pot 3 ; jar 61 ; each day * 9 ; 9999 days ; pot ? ; calls 2"
    assert asked_task(WORKBOOK, like, large).answers == ()


@pytest.mark.parametrize(
    "question",
    [
        "pot 3",
        "cow 3 ; jar 61 ; each day + 4 ; 5 days ; jar ? ; calls 2",
        "pot 3 ; pot 61 ; each day + 4 ; 5 days ; pot ? ; calls 2",
        "pot 3 ; jar 61 ; each day + 4 ; 0 days ; pot ? ; calls 2",
        "pot 3 ; jar 61 ; each day + 4 ; 5 days ; then / 0 ; pot ? ; calls 2",
        "pot 3 ; jar 61 ; each day + 4 ; 5 days ; pot ? ; calls " + "9" * 5000,
        "pot \u0663 ; jar 61 ; each day + 4 ; 5 days ; pot ? ; calls 2",
    ],
)
def test_a_sum_that_workbook_cannot_read_is_answered_with_one_that_it_can(question: str) -> None:
    like = WORKBOOK.tasks("val", 1)[0]
    with pytest.raises(InputError) as caught:
        asked_task(WORKBOOK, like, question)
    assert repr(like.question) in str(caught.value)


def test_of_a_problem_in_words_nobody_knows_the_answer() -> None:
    domain = Gsm8kDomain.from_config(load_config("maths/gsm8k-smollm2"))
    like = Task(id="t", question="1 + 1?", answers=("2",), kind="maths", split="val")
    mine = asked_task(domain, like, " How many? ")
    assert (mine.id, mine.question, mine.answers) == (ASKED, "How many?", ())
    with pytest.raises(InputError):
        asked_task(domain, like, " ")
