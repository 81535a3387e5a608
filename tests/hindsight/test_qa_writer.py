"""Blocks of attempts at real questions: they tell what came, by kinds, and give nothing away."""

from __future__ import annotations

import pytest

from forethought.data.hops import hops_of
from forethought.domains.qa import QaDomain
from forethought.foresight.block import parse, render
from forethought.foresight.grounding import contains, match, normalise
from forethought.hindsight.qa_words import SIGNS, THINGS, kind_of, noun_of
from forethought.hindsight.steps import leaks_of
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.types import Action, Foresight
from tests.domains.qa_builders import qa_domain

REFUSED = {"musique/2hop__135653_669373"}
"""Its pages speak of "The Mach", and the sub-question of "the Mach's principle"."""


@pytest.fixture(scope="module")
def domain() -> QaDomain:
    return qa_domain()


@pytest.fixture(scope="module")
def attempts(domain: QaDomain) -> list[Trajectory]:
    """The first attempt at every task."""
    sizes = {"train": 30, "val": 15, "test": 15}
    return [t for split, num in sizes.items() for t in domain.trajectories(num, None, split=split)]


def places(attempts: list[Trajectory]) -> list[tuple[Trajectory, int]]:
    return [(made, step) for made in attempts for step in range(len(made.steps))]


def test_blocks_pass_the_filters_and_one_that_names_the_coming_page_does_not(
    domain: QaDomain, attempts: list[Trajectory]
) -> None:
    refused = {
        made.task.id
        for made, step in places(attempts)
        if not leaks_of(made, step, domain.writer.write(made, step, 0.5), ()).accepted
    }
    assert refused <= REFUSED and len(attempts) == 60
    made = next(m for m in attempts if "Prairie King" in m.task.question and m.success)
    told = Foresight(roadmap="look up Eason", keywords=("film",), analysis="open", q=0.5)
    assert leaks_of(made, 0, told, ()).reasons == ("entity",)


def test_a_block_can_be_written_and_read_back(domain: QaDomain, attempts: list[Trajectory]) -> None:
    for made, step in places(attempts):
        for block in (domain.writer.write(made, step, 0.35), domain.writer.recap(made, step, 0.35)):
            turn = made.steps[step]
            text = render(block, turn.think, turn.action, style="search", spaced=False)
            read = parse(text, "search")
            assert read.problems == () and read.foresight == block and block.q_text == "35%"


def test_the_roadmap_counts_the_searches_that_come_and_says_how_it_ends(
    domain: QaDomain, attempts: list[Trajectory]
) -> None:
    for made, step in places(attempts):
        roadmap = domain.writer.write(made, step, 0.5).roadmap
        ahead = sum(s.action.kind == "search" for s in made.steps[step:])
        assert roadmap.count("look up") == ahead
        assert ("then answer." in roadmap) == made.success
        assert ("then stop without support." in roadmap) != made.success
        last = roadmap.rpartition(". ")[2]
        replies = [s.observation for s in made.steps[:step]]
        open_hops = [h for h in hops_of(made.task) if not any(h.came(r) for r in replies)]
        assert last == ("nothing open" if not open_hops else last)
        assert last.startswith(str(len(open_hops)) if open_hops else "nothing")


def test_keywords_are_plain_signs_that_come_and_were_not_there_before(
    domain: QaDomain, attempts: list[Trajectory]
) -> None:
    informed = 0
    for made, step in places(attempts):
        keywords = domain.writer.write(made, step, 0.5).keywords
        assert 1 <= len(keywords) <= 5 and len(set(keywords)) == len(keywords)
        if keywords == ("answer",):
            continue
        informed += 1
        for word in keywords:
            assert word in SIGNS and not contains(word, made.state(step))
            assert any(match(word, reply) for reply in made.future(step))
            assert not any(word in normalise(answer) for answer in made.task.answers)
    assert informed > 0.7 * sum(made.num_calls for made in attempts)


def test_a_recap_tells_of_the_past_alone(domain: QaDomain, attempts: list[Trajectory]) -> None:
    made = next(m for m in attempts if m.num_calls >= 3)
    swapped = Trajectory(
        task=made.task,
        source_policy="hops",
        steps=(
            *made.steps[:1],
            Step(think="so", action=Action(kind="answer", text="x"), observation=""),
        ),
        success=not made.success,
        stop_reason=made.stop_reason,
    )
    assert domain.writer.recap(made, 1, 0.5) == domain.writer.recap(swapped, 1, 0.5)
    assert domain.writer.write(made, 1, 0.5) != domain.writer.write(swapped, 1, 0.5)
    assert domain.writer.recap(made, 0, 0.5).roadmap.startswith("read the question")


def test_the_writer_is_a_function_of_its_arguments(
    domain: QaDomain, attempts: list[Trajectory]
) -> None:
    other = qa_domain().writer
    for made, step in places(attempts)[:60]:
        assert other.write(made, step, 0.5) == domain.writer.write(made, step, 0.5)


def test_text_does_not_tell_the_label(domain: QaDomain, attempts: list[Trajectory]) -> None:
    """The placebo `constant` changes the number alone, so nothing else may hang on it."""
    for made, step in places(attempts)[:60]:
        low, high = (domain.writer.write(made, step, q) for q in (0.05, 0.95))
        assert (low.roadmap, low.keywords, low.analysis) == (
            high.roadmap,
            high.keywords,
            high.analysis,
        )
        assert (low.q, high.q) == (0.05, 0.95)


def test_what_a_model_did_can_be_told_by_what_came_of_it(
    domain: QaDomain, attempts: list[Trajectory]
) -> None:
    made = next(m for m in attempts if m.success and m.num_calls == 2)
    odd = Step(think="", action=Action(kind="search", text="the weather"), observation="Doc 1 x")
    assert domain.writer.can_tell([odd, *made.steps])
    assert not domain.writer.can_tell(
        [Step(think="", action=Action(kind="python", text="1"), observation="1")]
    )
    whole = Trajectory(
        task=made.task,
        source_policy="model",
        steps=(odd, *made.steps),
        success=True,
        stop_reason=made.stop_reason,
    )
    assert "expect other pages" in domain.writer.write(whole, 0, 0.5).roadmap.split(";")[0]
    assert domain.writer.decisions == ()


def test_the_words_of_the_writer_name_nothing() -> None:
    assert THINGS <= SIGNS and all(word == word.lower() for word in SIGNS)
    assert kind_of("Director") == "a person" and kind_of("date of birth") == "a date"
    assert kind_of("unheard of") == "" and noun_of("unheard of") == "unheard of"
    assert noun_of("shares border with") == "neighbour"
