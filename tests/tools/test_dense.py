"""Dense search and fusion, with an encoder that needs no weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_builders import ENCODER, PAGES, QUERIES, WordEncoder, corpus_file

from forethought.errors import InputError, MissingError
from forethought.tools.dense import (
    DenseRetriever,
    SentenceEncoder,
    build_dense,
    by_numpy,
    make_encoder,
    open_dense,
    passage,
    prefixes,
)
from forethought.tools.fusion import FusedRetriever, fuse
from forethought.tools.retrieval import BM25Retriever, Hit, Retriever

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 60), st.integers(1, 80))
def test_search_is_exact_and_ties_fall_in_document_order(seed: int, num: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    vectors = draw.integers(-2, 3, (num, 3)).astype(np.float32)
    query = draw.integers(-2, 3, 3).astype(np.float32)
    positions, scores = by_numpy(query, vectors, k)
    exact = [float(sum(a * b for a, b in zip(query, row, strict=True))) for row in vectors]
    expected = sorted(range(num), key=lambda i: (-exact[i], i))[:k]
    assert positions.tolist() == expected
    assert scores.tolist() == [exact[i] for i in expected]


def test_a_score_is_the_cosine_of_query_and_passage() -> None:
    encoder = WordEncoder()
    (hit,) = DenseRetriever.of(PAGES, encoder).search("hot kiln", 1)
    query = encoder.encode(["hot kiln"], query=True)[0]
    page = encoder.encode(["Kiln\nA kiln is hot; a lamp is warm."], query=False)[0]
    assert hit.id == "kiln" and hit.score == pytest.approx(float(query @ page), abs=1e-6)
    assert DenseRetriever.of(PAGES, encoder).search(passage(PAGES[0]), 1)[0].score == (
        pytest.approx(1.0, abs=1e-5)
    )


def test_the_index_on_disk_finds_what_the_one_in_memory_finds_and_is_mapped(
    tmp_path: Path,
) -> None:
    corpus = corpus_file(tmp_path, PAGES * 1)
    assert build_dense(corpus, tmp_path / "dense", ENCODER) == len(PAGES)
    ours = open_dense(corpus, tmp_path / "dense")
    assert isinstance(ours._vectors, np.memmap)
    memory = DenseRetriever.of(PAGES, WordEncoder())
    assert ours.search_all(QUERIES, 4) == memory.search_all(QUERIES, 4)


class Other:
    """Another encoder, with fewer numbers a vector."""

    def encode(self, texts: Sequence[str], *, query: bool) -> Any:
        return np.ones((len(texts), 1), dtype=np.float32)


def test_an_index_belongs_to_its_corpus_and_its_encoder(tmp_path: Path) -> None:
    corpus = corpus_file(tmp_path)
    build_dense(corpus, tmp_path / "dense", ENCODER)
    assert open_dense(corpus, tmp_path / "dense", ENCODER).search("lamp", 1)
    with pytest.raises(InputError, match=f"an index made with {ENCODER}"):
        open_dense(corpus, tmp_path / "dense", "intfloat/e5-base-v2")
    with pytest.raises(InputError, match="sha256"):
        open_dense(corpus_file(tmp_path / "b", PAGES[::-1]), tmp_path / "dense")
    with pytest.raises(InputError, match="vectors of 1 numbers; expected 64"):
        DenseRetriever(PAGES, WordEncoder().encode(["a"] * 7, query=False), Other()).search("a", 1)


@pytest.mark.parametrize(
    "name", ["intfloat/e5-base-v2", "intfloat/multilingual-e5-large", "/models/E5-small", "my_e5_x"]
)
def test_e5_is_known_by_its_name(name: str) -> None:
    assert prefixes(name) == ("query: ", "passage: ")


@pytest.mark.parametrize(
    "name", ["intfloat/e5-mistral-7b-instruct", "BAAI/bge-base-en", "me5t-base", "all-MiniLM-L6-v2"]
)
def test_other_models_are_asked_for_their_own_prompts(name: str) -> None:
    assert prefixes(name) is None


class FakeSentenceTransformer:
    """Notes how it was called."""

    calls: ClassVar[list[tuple[str, list[str], dict[str, Any]]]] = []

    def __init__(self, name: str) -> None:
        if name == "nowhere":
            raise OSError("nowhere is no folder\nand no model")
        self.calls.clear()

    def _say(self, how: str, texts: list[str], options: dict[str, Any]) -> Any:
        self.calls.append((how, texts, options))
        return np.ones((len(texts), 2), dtype=np.float64)

    def encode(self, texts: list[str], **options: Any) -> Any:
        return self._say("encode", texts, options)

    def encode_query(self, texts: list[str], **options: Any) -> Any:
        return self._say("query", texts, options)

    def encode_document(self, texts: list[str], **options: Any) -> Any:
        return self._say("document", texts, options)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type[FakeSentenceTransformer]:
    """A package sentence-transformers with that one class."""
    module: Any = ModuleType("sentence_transformers")
    module.__spec__ = ModuleSpec("sentence_transformers", None)
    module.SentenceTransformer = FakeSentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    return FakeSentenceTransformer


def test_a_model_sees_queries_and_passages_as_it_was_trained_to(
    package: type[FakeSentenceTransformer],
) -> None:
    e5 = SentenceEncoder("intfloat/e5-base-v2")
    rows = e5.encode(("a", "b"), query=True)
    e5.encode(["c"], query=False)
    asked = [(how, texts, options["prompt"]) for how, texts, options in package.calls]
    assert asked == [("encode", ["a", "b"], "query: "), ("encode", ["c"], "passage: ")]
    assert all(options["normalize_embeddings"] for _, _, options in package.calls)
    assert rows.dtype == np.float32 and rows.shape == (2, 2)
    other = SentenceEncoder("BAAI/bge-base-en")
    other.encode(["a"], query=True)
    other.encode(["b"], query=False)
    assert [(how, texts) for how, texts, _ in package.calls] == [
        ("query", ["a"]),
        ("document", ["b"]),
    ]


def test_what_is_missing_is_told_with_the_command(
    package: type[FakeSentenceTransformer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(MissingError, match=r"encoder nowhere \(nowhere is no folder\)"):
        make_encoder("nowhere")
    monkeypatch.setattr("forethought.tools.dense.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'forethought\[dense\]'"):
        make_encoder("any")
    with pytest.raises(MissingError, match="pip install"):
        build_dense(corpus_file(tmp_path), tmp_path / "dense", "any")
    assert not (tmp_path / "dense").exists()


@pytest.mark.parametrize("name", ["no.such.module:X", "math:Nothing", ":x", "json:dumps"])
def test_a_class_that_is_none_is_refused(name: str) -> None:
    with pytest.raises((InputError, TypeError)):
        make_encoder(name)


def hits(*names: str) -> list[Hit]:
    return [Hit(id=n, title="", text=n, score=9.0 - i) for i, n in enumerate(names)]


def test_fused_ranks_are_those_of_the_formula() -> None:
    """Worked by hand: 1/61 + 1/62 > 1/61 > 1/63 + 1/100 is no rank here, and so on."""
    found = fuse(hits("a", "b", "c"), hits("b", "d", "a"))
    scores = {hit.id: hit.score for hit in found}
    assert scores == pytest.approx(
        {"a": 1 / 61 + 1 / 63, "b": 1 / 62 + 1 / 61, "c": 1 / 63, "d": 1 / 62}
    )
    assert [hit.id for hit in found] == ["b", "a", "d", "c"]


class Listed(Retriever):
    """Finds the same pages whatever the query."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, 0

    def search(self, query: str, k: int) -> list[Hit]:
        self.asked = k
        return hits(*self.names)[:k]


def test_what_one_retriever_finds_late_the_other_may_lift() -> None:
    """Without depth, fusing the first two of each list would never see `z`."""
    first = Listed("a", "b", "c", "z")
    fused = FusedRetriever(first, Listed("d", "e", "f", "z"))
    assert [hit.id for hit in fused.search("q", 1)] == ["z"] and first.asked == 100
    shallow = FusedRetriever(first, Listed("d", "e", "f", "z"), depth=2)
    assert [hit.id for hit in shallow.search("q", 1)] == ["a"]
    assert len(shallow.search("q", 8)) == 7


def test_ties_are_in_the_order_of_the_first_retriever() -> None:
    assert [hit.id for hit in fuse(hits("x"), hits("y"))] == ["x", "y"]
    both = FusedRetriever(BM25Retriever(PAGES), DenseRetriever.of(PAGES, WordEncoder()))
    assert both.search("kiln", 1)[0].id == "kiln"
