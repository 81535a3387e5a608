"""Search: the scores are BM25's, the order is ours, the overhead is small."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.errors import InputError
from forethought.tools.retrieval import BM25Retriever, Document, tokens

WORDS = ("gera", "banok", "lamp", "north", "employer", "guild")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)


def pages(*contents: str) -> list[Document]:
    return [Document(id=f"d{i}", title="", text=text) for i, text in enumerate(contents)]


def lucene_bm25(corpus: list[str], query: str) -> list[float]:
    """The formula written out: k1 1.5, b 0.75, idf log(1 + (N - n + .5) / (n + .5))."""
    split = [text.split() for text in corpus]
    mean = sum(map(len, split)) / len(split)
    scores = []
    for words in split:
        counts, total = Counter(words), 0.0
        for word in query.split():
            n = sum(word in other for other in split)
            idf = math.log(1 + (len(split) - n + 0.5) / (n + 0.5))
            norm = 1.5 * (1 - 0.75 + 0.75 * len(words) / mean)
            total += idf * counts[word] / (norm + counts[word])
        scores.append(total)
    return scores


@given(st.lists(texts, min_size=1, max_size=12), texts, st.integers(1, 12))
def test_scores_are_those_of_the_formula_and_ties_fall_in_document_order(
    corpus: list[str], query: str, k: int
) -> None:
    hits = BM25Retriever(pages(*corpus)).search(query, k)
    expected = lucene_bm25(corpus, query)
    best = sorted((-round(s, 4), i) for i, s in enumerate(expected) if s > 0)[:k]
    assert [round(hit.score, 4) for hit in hits] == pytest.approx([-s for s, _ in best], abs=2e-4)
    for hit in hits:
        assert hit.score == pytest.approx(expected[int(hit.id[1:])], abs=1e-4)
    same = [(hit.score, int(hit.id[1:])) for hit in hits]
    assert same == sorted(same, key=lambda pair: (-pair[0], pair[1]))


@given(st.lists(texts, min_size=2, max_size=40), texts, st.integers(1, 5))
def test_fewer_hits_are_a_beginning_of_more_hits(corpus: list[str], query: str, k: int) -> None:
    retriever = BM25Retriever(pages(*corpus))
    assert retriever.search(query, k) == retriever.search(query, len(corpus))[:k]


def test_equal_pages_come_in_document_order_however_many_there_are() -> None:
    retriever = BM25Retriever(pages(*["lamp north"] * 50, "gera"))
    assert [hit.id for hit in retriever.search("lamp", 3)] == ["d0", "d1", "d2"]


def test_a_query_that_shares_no_word_finds_nothing() -> None:
    retriever = BM25Retriever(pages("gera lamp", "banok"))
    for query in ("", "   ", "kiln", "...", "\0"):
        assert retriever.search(query, 3) == []
    assert retriever.search("gera", 0) == []
    assert BM25Retriever(pages("...")).search("gera", 1) == []


def test_titles_are_searched_and_case_and_punctuation_do_not_matter() -> None:
    corpus = [
        Document(id="a", title="Ada Lovelace", text="She wrote programs."),
        Document(id="b", title="", text="Nothing here"),
    ]
    retriever = BM25Retriever(corpus)
    assert [hit.id for hit in retriever.search("LOVELACE?", 2)] == ["a"]
    assert [hit.title for hit in retriever.search("programs", 2)] == ["Ada Lovelace"]
    assert tokens("Ada's mother, 1815!") == ["ada", "s", "mother", "1815"]


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(InputError, match="no documents"):
        BM25Retriever([])


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    BM25Retriever(pages("gera lamp", "banok")).search("gera", 1)
    assert capfd.readouterr() == ("", "")
