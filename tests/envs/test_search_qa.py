"""Search environment: what is shown, what is counted, when it ends."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from forethought.envs.base import call_tool, fork, snapshot
from forethought.envs.search_qa import SearchQA
from forethought.errors import InputError
from forethought.tools.retrieval import BM25Retriever, Document

ATLAS = BM25Retriever(
    [
        Document(id="0", title="", text="employer west lamp banok buzur north"),
        Document(id="1", title="", text="guild east moss gera dolen coast"),
        Document(id="2", title="", text="employer east moss gera banok west"),
    ]
)
WIKI = BM25Retriever(
    [
        Document(id="a", title="Ada Lovelace", text="Ada Lovelace\nwrote programs in 1843."),
        Document(id="b", title="Lamp", text="A lamp gives light."),
    ]
)


def atlas(**options: Any) -> SearchQA:
    return SearchQA(retriever_for=lambda row: ATLAS, **options)


def test_plain_observations_are_texts_joined_by_semicolons() -> None:
    env = atlas()
    assert env.reset(budget=3) is None
    seen = env.search("employer banok")
    assert seen == "employer west lamp banok buzur north ; employer east moss gera banok west"
    assert seen.info == {"searches": 1, "documents": ["0", "2"]}
    assert env.search("kiln") == "none" and not env.search("kiln").failed


def test_documents_are_numbered_lines_with_titles_cut_to_size() -> None:
    env = SearchQA(retriever_for=lambda row: WIKI, top_k=3, style="documents", max_chars=18)
    env.reset()
    assert env.search("ada wrote lamp") == (
        "Doc 1 (Title: Ada Lovelace) Ada Lovelace wrote\nDoc 2 (Title: Lamp) A lamp gives light"
    )
    assert env.search("zebra") == "No document matches the query."
    assert env.search(" ") == "Error: the query is empty."


def test_the_search_after_the_budget_ends_the_episode() -> None:
    env = atlas()
    env.reset(budget=2)
    assert not env.search("gera").done and not env.search("gera").done
    seen = env.search("gera")
    assert seen.done and not seen.failed and seen == "0 spare"
    assert env.search("gera").done
    env.reset(budget=1)
    assert not env.search("gera").done
    env.reset(budget=0)
    assert env.search("gera").done


def test_an_empty_query_is_a_failed_call_and_costs_a_search() -> None:
    env = atlas()
    env.reset(budget=1)
    assert env.search("  ").failed
    assert env.search("gera").done


def test_max_searches_holds_for_rows_without_a_budget() -> None:
    env = atlas(max_searches=1)
    env.reset()
    assert not env.search("gera").done and env.search("gera").done
    env.reset(budget=2)
    env.search("gera")
    assert not env.search("gera").done
    unbounded = atlas()
    unbounded.reset()
    assert not any(unbounded.search("gera").done for _ in range(50))


def test_the_retriever_belongs_to_the_row_also_after_a_fork() -> None:
    asked: list[Any] = []

    def retriever_for(row: Any) -> BM25Retriever:
        asked.append(row["world_seed"])
        return ATLAS if row["world_seed"] == 1 else WIKI

    env = SearchQA(retriever_for=retriever_for)
    env.reset(world_seed=1, answers=["x"], budget=3)
    assert "banok" in env.search("gera") and "banok" in env.search("gera")
    assert asked == [1]
    twin = fork(lambda: SearchQA(retriever_for=retriever_for), snapshot(env))
    assert twin.search("gera") == env.search("gera") and asked == [1, 1]
    assert twin.search("gera").done and env.search("gera").done
    env.reset(world_seed=2, budget=3)
    assert "light" in env.search("lamp")


def test_the_state_can_be_pickled_and_holds_no_answers() -> None:
    env = atlas()
    env.reset(id="t", answers=["dolen"], answer="dolen", budget=3)
    env.search("gera")
    state = pickle.loads(pickle.dumps(env.state))
    assert state == env.state and state.used == 1 and state.row == {"id": "t", "budget": 3}


@pytest.mark.parametrize("budget", [-1, 1.5, "3", True])
def test_a_budget_that_is_no_number_is_refused(budget: Any) -> None:
    with pytest.raises(InputError, match="task t7: got budget"):
        atlas().reset(id="t7", budget=budget)


@pytest.mark.parametrize("options", [{"style": "fancy"}, {"top_k": 0}, {"max_chars": 0}])
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="search_qa"):
        atlas(**options)


def test_calls_by_name_work_too() -> None:
    env = atlas()
    env.reset()
    assert call_tool(env, "search", {"query": "gera"}) == call_tool(env, "search", "gera")
