"""Gold facts, triples and sub-questions as hops: who is asked, what for, and what settles it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from forethought.data.benchmarks import read_benchmark
from forethought.data.hops import Hop, even, filled, hops_of, with_hops
from forethought.envs.base import row_of
from forethought.types import Task

FIXTURES = Path(__file__).parents[1] / "fixtures" / "search_qa"
SETS = ("2wiki", "hotpotqa", "musique")


def rows(name: str) -> Iterator[Task]:
    return read_benchmark(name, path=FIXTURES / f"{name}.jsonl.gz")


def hops_by_question(name: str, begin: str) -> tuple[Hop, ...]:
    (task,) = (task for task in rows(name) if task.question.startswith(begin))
    return hops_of(with_hops(task))


@pytest.mark.parametrize("name", SETS)
def test_the_evidence_of_every_hop_stands_in_a_paragraph_of_the_task(name: str) -> None:
    for task in rows(name):
        texts = [even(" ".join(p["sentences"])) for p in task.columns["paragraphs"]]
        hops = hops_of(with_hops(task))
        assert len(hops) >= 2, task.id
        for hop in hops:
            assert hop.evidence and any(hop.came(text) for text in texts)
            assert not any(hop.came(text[:20]) for text in texts)


@pytest.mark.parametrize("name", SETS)
def test_hops_reach_no_environment_and_survive_a_file(name: str) -> None:
    for task in map(with_hops, rows(name)):
        row = row_of(task)
        assert not {"decomposition", "supporting", "paragraphs", "answers"} & set(row)
        columns = json.loads(json.dumps(dict(task.columns)))
        read = Task(
            id=task.id, question=task.question, answers=task.answers, kind="qa", columns=columns
        )
        assert hops_of(read) == hops_of(task)


@pytest.mark.parametrize("name", SETS)
def test_a_hop_waits_for_earlier_ones_only(name: str) -> None:
    for task in map(with_hops, rows(name)):
        for number, hop in enumerate(hops_of(task)):
            assert all(0 <= other < number for other in hop.after)


def test_a_triple_follows_the_one_whose_object_is_its_subject() -> None:
    hops = hops_by_question("2wiki", "Which film has the director died first")
    assert [hop.after for hop in hops] == [(), (), (0,), (1,)]
    assert [hop.relation for hop in hops] == ["director"] * 2 + ["date of death"] * 2
    assert hops[2].names[0] == "B. Reeves Eason" and hops[2].answer == "June 9, 1956"


def test_a_triple_whose_page_is_called_otherwise_gets_the_gold_page_that_is_left() -> None:
    first, second = hops_by_question("2wiki", "Who is the child of the director of film Devotion")
    assert first.names[:2] == ("Devotion (1929 film)", "Devotion")
    assert second.after == (0,) and second.names[0] == "Guido Brignone"


def test_sub_questions_are_filled_in_with_earlier_answers() -> None:
    hops = hops_by_question("musique", "How many Publix stores")
    assert [hop.after for hop in hops] == [(), (0,), (1,), (2,)]
    assert hops[0].relation == "performer" and hops[0].names[0] == "Hello Love (song)"
    told = filled(hops[1].question, [hop.answer for hop in hops])
    assert told == "What city did Hank Snow live when he died?"
    assert filled("#1 and #3", ["a", "b"]) == "a and #3"


def test_gold_pages_alone_are_put_in_the_order_in_which_they_can_be_found() -> None:
    first, second = hops_by_question("hotpotqa", "Where is the head office of the company")
    assert first.names == ("Archibald McDonald",) and first.after == ()
    assert second.names == ("Hudson's Bay Company",) and second.after == (0,)
    assert second.answer == "Toronto, Ontario"
    both = hops_by_question("hotpotqa", "Which Restaurant was founded first")
    assert [hop.after for hop in both] == [(), ()]


def test_a_name_stands_there_without_its_accents_and_parentheses_too() -> None:
    (first, *_) = hops_by_question("musique", "Who was in charge of the country")
    assert "Aschenbrodel" in first.names


def test_a_way_with_a_page_that_is_not_there_is_no_way() -> None:
    task = next(rows("2wiki"))
    short = {**task.columns, "paragraphs": task.columns["paragraphs"][:1]}
    cut = Task(id="a", question=task.question, answers=("x",), kind="qa", columns=short)
    assert hops_of(with_hops(cut)) == ()
    assert hops_of(with_hops(Task(id="a", question="q", answers=("x",), kind="qa"))) == ()
