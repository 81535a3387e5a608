from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.errors import InputError
from forethought.worlds.atlas.text import (
    PageFacts,
    QuestionFacts,
    parse_page,
    parse_pages,
    parse_query,
    parse_question,
    render_page,
    render_query,
    render_question,
)
from forethought.worlds.atlas.tokens import (
    NAMES,
    REGIONS,
    RELATIONS,
    ROUTE_LETTERS,
    SIGNS,
    vocabulary,
)

QUESTION = "gera of east : a mentor mentor b employer seat c guild mill owner ; 3"
PAGE = "employer west lamp banok buzur north"

names, regions = st.sampled_from(NAMES), st.sampled_from(REGIONS)
relations = st.sampled_from(tuple(RELATIONS))
chains = st.lists(relations, min_size=1, max_size=3).map(tuple)
questions = st.builds(
    QuestionFacts,
    start=names,
    region=regions,
    routes=st.lists(chains, min_size=1, max_size=3).map(
        lambda routes: tuple(zip(ROUTE_LETTERS, routes, strict=False))
    ),
    budget=st.integers(1, 9),
)
pages = st.builds(
    PageFacts,
    relation=relations,
    subject_region=regions,
    sign=st.sampled_from(SIGNS),
    subject=names,
    object=names,
    object_region=regions,
)


def test_the_question_of_the_specification_is_read_and_printed_back() -> None:
    facts = parse_question(QUESTION)
    assert (facts.start, facts.region, facts.budget) == ("gera", "east", 3)
    assert facts.routes == (
        ("a", ("mentor", "mentor")),
        ("b", ("employer", "seat")),
        ("c", ("guild", "mill", "owner")),
    )
    assert render_question(facts) == QUESTION


def test_the_page_of_the_specification_is_read_and_printed_back() -> None:
    page = parse_page(PAGE)
    assert page == PageFacts(
        relation="employer",
        subject_region="west",
        sign="lamp",
        subject="banok",
        object="buzur",
        object_region="north",
    )
    assert render_page(page) == PAGE


@given(questions)
def test_question_round_trip(facts: QuestionFacts) -> None:
    text = render_question(facts)
    assert parse_question(text) == facts
    for flag in ("foresight", "plain"):
        assert parse_question(f"{text} ; {flag}") == facts


@given(st.lists(pages, max_size=4))
def test_reply_round_trip(shown: list[PageFacts]) -> None:
    text = " ; ".join(map(render_page, shown))
    assert parse_pages(text) == shown
    assert parse_pages(f"<information> {text} </information>") == shown


@given(relations, names)
def test_query_round_trip(relation: str, subject: str) -> None:
    assert parse_query(render_query(relation, subject)) == (relation, subject)
    assert parse_query(f"{subject} {relation}") == (relation, subject)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "who is gera",
        "gera of east : ; 3",
        "gera of east : mentor home a mayor ; 3",
        "gera of east : a mentor b ; 3",
        "gera of east : a mentor a home ; 3",
        "gera of east : a mentor b home ; many",
        "gera of east : a mentor b hotel ; 3",
    ],
)
def test_a_text_that_is_no_question_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="atlas question"):
        parse_question(text)


def test_notices_in_a_reply_are_passed_over() -> None:
    assert parse_pages("budget spent") == []
    assert parse_pages(f"{PAGE} ; no more searches left in the budget") == [parse_page(PAGE)]
    assert parse_query("who employs banok ?") is None
    assert parse_query("banok buzur") is None


def test_every_word_is_listed_once_and_nothing_else_is_needed() -> None:
    words = vocabulary()
    assert len(words) == len(set(words))
    assert len(NAMES) == 64
    assert (len(REGIONS), len(RELATIONS), len(SIGNS)) == (6, 8, 24)
    needed = f"{QUESTION} ; foresight {PAGE} ; <answer> none </answer> 65 % 0 spare a , b"
    assert set(needed.split()) <= set(words)
    assert {str(level) for level in range(0, 101, 5)} <= set(words)
    assert {f"</{tag}>" for tag in ("imaginary", "keyword", "analysis", "confidence")} <= set(words)
    assert all(word.split() == [word] for word in words)
