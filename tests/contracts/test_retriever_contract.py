"""What every retriever promises: one in memory, on disk, by vectors, fused or behind an address."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from forethought.tools.bm25_index import build_bm25, open_bm25
from forethought.tools.dense import DenseRetriever, build_dense, open_dense
from forethought.tools.fusion import FusedRetriever
from forethought.tools.remote import RemoteRetriever
from forethought.tools.retrieval import BM25Retriever, Hit, Retriever
from forethought.tools.retrievers import RETRIEVERS
from forethought.tools.search_server import SearchServer
from tests.tools.search_builders import (
    ENCODER,
    PAGES,
    QUERIES,
    WordEncoder,
    corpus_file,
    running,
)

KINDS = ("bm25", "bm25 on disk", "dense", "dense on disk", "hybrid", "server")
LEXICAL = ("bm25", "bm25 on disk", "server")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def retriever(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    folder: Path = tmp_path_factory.mktemp("search")
    corpus, out = corpus_file(folder), folder / "index"
    if kind == "server":
        with running(SearchServer(BM25Retriever(PAGES), "127.0.0.1", 0)) as url:
            yield RemoteRetriever(url)
    elif kind == "bm25 on disk":
        build_bm25(corpus, out)
        yield open_bm25(corpus, out)
    elif kind == "dense on disk":
        build_dense(corpus, out, ENCODER)
        yield open_dense(corpus, out)
    else:
        bm25, dense = BM25Retriever(PAGES), DenseRetriever.of(PAGES, WordEncoder())
        yield {"bm25": bm25, "dense": dense, "hybrid": FusedRetriever(bm25, dense)}[kind]


def test_every_registered_retriever_has_a_case() -> None:
    assert set(RETRIEVERS) <= set(KINDS)


def test_there_are_at_most_k_hits_best_first_and_no_page_twice(retriever: Retriever) -> None:
    for query in QUERIES:
        for k in (1, 2, 3, len(PAGES), 50):
            hits = retriever.search(query, k)
            assert len(hits) <= min(k, len(PAGES))
            scores = [hit.score for hit in hits]
            assert scores == sorted(scores, reverse=True)
            assert len({hit.id for hit in hits}) == len(hits)


def test_no_hits_are_asked_for_and_none_come(retriever: Retriever) -> None:
    assert retriever.search("lamp", 0) == [] and retriever.search_all(["lamp", "tea"], 0) == [
        [],
        [],
    ]
    assert retriever.search_all([], 3) == []


def test_the_best_hit_is_the_page_that_says_it(retriever: Retriever) -> None:
    assert retriever.search("who wrote programs for an engine", 2)[0].id == "ada"
    assert retriever.search("hot kiln", 1)[0].id == "kiln"


def test_equal_pages_fall_in_document_order(retriever: Retriever) -> None:
    found = [hit.id for hit in retriever.search("twin equal words here", 3)]
    assert found == ["twin1", "twin2", "twin3"]


def test_fewer_hits_are_a_beginning_of_more(retriever: Retriever) -> None:
    for query in QUERIES:
        whole = retriever.search(query, 50)
        assert retriever.search(query, 2) == whole[:2]


def test_the_same_query_finds_the_same_alone_again_and_among_others(retriever: Retriever) -> None:
    alone = [retriever.search(query, 3) for query in QUERIES]
    assert alone == [retriever.search(query, 3) for query in QUERIES]
    together = retriever.search_all(QUERIES, 3)
    assert [[hit.id for hit in hits] for hits in together] == [[h.id for h in a] for a in alone]
    for hits, others in zip(together, alone, strict=True):
        assert [h.score for h in hits] == pytest.approx([h.score for h in others], rel=1e-5)


def test_a_search_that_is_awaited_finds_the_same_alone_and_among_others(
    retriever: Retriever,
) -> None:
    async def all_at_once() -> list[list[Hit]]:
        return await asyncio.gather(*(retriever.search_async(query, 3) for query in QUERIES))

    for _ in range(2):
        assert asyncio.run(all_at_once()) == [retriever.search(query, 3) for query in QUERIES]


@pytest.mark.parametrize("query", ["", " ", "\n\t"])
def test_a_blank_query_finds_nothing(retriever: Retriever, query: str) -> None:
    assert retriever.search(query, 3) == []
    assert [len(hits) for hits in retriever.search_all(["lamp", query], 1)] == [1, 0]


@pytest.mark.parametrize(
    "query", ["...", "\0", "zebra qxjz", "\u00e9" * 5000, "\U0001f375", "x" * 9]
)
def test_words_that_no_page_has_are_no_error(retriever: Retriever, kind: str, query: str) -> None:
    hits = retriever.search(query, 3)
    assert len(hits) <= 3 and all(math.isfinite(hit.score) for hit in hits)
    if kind in LEXICAL:
        assert hits == []


def test_other_alphabets_are_found_and_come_back_as_they_were(retriever: Retriever) -> None:
    for query in ("th\u00e9", "TH\u00c9", "\u8336", "\u0447\u0430\u0439"):
        hit = retriever.search(f"{query} tea", 1)[0]
        assert (hit.id, hit.title, hit.text) == ("tea", PAGES[3].title, PAGES[3].text)


def test_scores_are_finite_numbers(retriever: Retriever) -> None:
    for hits in retriever.search_all(QUERIES, 50):
        assert all(type(hit.score) is float and math.isfinite(hit.score) for hit in hits)
