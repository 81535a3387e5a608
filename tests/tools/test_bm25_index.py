"""The index on disk is the index in memory, bit by bit, and belongs to one corpus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_builders import PAGES, QUERIES, corpus_file

from forethought.data.corpora import CorpusFile, load_corpus, read_corpus
from forethought.errors import InputError
from forethought.tools.bm25_index import build_bm25, open_bm25
from forethought.tools.retrieval import BM25Retriever, Document

words = st.sampled_from(["gera", "banok", "lamp", "north", "...", "caf\u00e9", "a"])
texts = st.lists(words, min_size=1, max_size=9).map(" ".join)


def pages(*contents: str) -> list[Document]:
    return [Document(id=f"d{i}", title="x" * (i % 2), text=text) for i, text in enumerate(contents)]


def arrays(retriever: BM25Retriever) -> dict[str, Any]:
    return {name: retriever._index.scores[name] for name in ("data", "indices", "indptr")}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(contents=st.lists(texts, min_size=1, max_size=30), query=texts, part=st.integers(1, 40))
def test_postings_and_ranking_are_those_of_the_library_whatever_the_parts(
    tmp_path: Path, contents: list[str], query: str, part: int
) -> None:
    corpus = corpus_file(tmp_path, pages(*contents, "gera"))
    assert build_bm25(corpus, tmp_path / "i/bm25", part=part) == len(contents) + 1
    ours, library = open_bm25(corpus, tmp_path / "i/bm25"), BM25Retriever(load_corpus(corpus))
    for name, values in arrays(library).items():
        assert np.array_equal(arrays(ours)[name], values), name
    assert ours._vocabulary == library._vocabulary
    for k in (1, 3, 50):
        assert ours.search(query, k) == library.search(query, k)


def test_neither_postings_nor_documents_are_read_into_memory(tmp_path: Path) -> None:
    corpus = corpus_file(tmp_path)
    build_bm25(corpus, tmp_path / "i/bm25")
    retriever = open_bm25(corpus, tmp_path / "i/bm25")
    for values in arrays(retriever).values():
        assert isinstance(values, np.memmap)
    assert isinstance(retriever._documents, CorpusFile)
    assert isinstance(retriever._documents._places, np.memmap)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc (Linux)")
def test_memory_of_a_build_does_not_grow_with_the_corpus_as_the_library_s_does(
    tmp_path: Path,
) -> None:
    """Peak memory above the start: 8,000 pages of 100 words, and the same in one part only."""
    corpus = tmp_path / "c.jsonl"
    draw = np.random.default_rng(0)
    with corpus.open("w") as stream:
        for n in range(8000):
            text = " ".join(f"w{w}" for w in draw.integers(0, 4000, 100))
            stream.write(json.dumps({"id": str(n), "title": "", "text": text}) + "\n")
    code = (
        "import re, sys, bm25s, numpy\nfrom pathlib import Path\n"
        "from forethought.tools.bm25_index import build_bm25\n"
        "from forethought.tools.retrieval import BM25Retriever\n"
        "from forethought.data.corpora import load_corpus\n"
        # Not `ru_maxrss`: a child begins with that of the process that started it.
        "status = Path('/proc/self/status').read_text\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status())[1])\n"
        "before = peak()\n"
        "if sys.argv[2] == '0': BM25Retriever(load_corpus(sys.argv[1]))\n"
        "else: build_bm25(sys.argv[1], Path(sys.argv[1]).parent / 'i', part=int(sys.argv[2]))\n"
        "print(peak() - before)"
    )

    def peak_kb(part: int) -> int:
        words = [sys.executable, "-c", code, str(corpus), str(part)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    in_parts = peak_kb(500)
    assert in_parts < 0.6 * peak_kb(8000)
    assert in_parts < 0.4 * peak_kb(0)


def test_documents_are_found_by_their_place_past_blank_lines_and_a_torn_end(tmp_path: Path) -> None:
    corpus = tmp_path / "c.jsonl"
    rows = [json.dumps({"id": p.id, "title": p.title, "text": p.text}) for p in PAGES]
    escaped = json.dumps({"id": "last", "title": "\u8336", "text": "\u00e9"}, ensure_ascii=False)
    corpus.write_bytes(("\n\r\n".join([*rows, escaped])).encode())
    places = np.array([place for place, _ in read_corpus(corpus)])
    pages = CorpusFile(corpus, places)
    assert [pages[n] for n in range(len(pages))] == load_corpus(corpus)
    assert pages[len(PAGES)].title == "\u8336"


def _change(corpus: Path, how: str) -> None:
    text = corpus.read_text("utf-8")
    if how == "longer":
        corpus.write_text(text + text.splitlines()[0].replace("ada", "new") + "\n", "utf-8")
    elif how == "as long":
        corpus.write_text(text.replace("lamp gives", "lamp takes"), "utf-8")
    else:
        corpus.unlink()


@pytest.mark.parametrize(
    ("how", "words"),
    [("longer", "bytes; "), ("as long", "sha256"), ("gone", "no such file")],
)
def test_an_index_of_another_corpus_is_refused_with_the_next_step(
    tmp_path: Path, how: str, words: str
) -> None:
    corpus = corpus_file(tmp_path)
    build_bm25(corpus, tmp_path / "i/bm25")
    assert open_bm25(corpus, tmp_path / "i/bm25").search("lamp", 1)
    _change(Path(corpus), how)
    with pytest.raises(InputError, match=words) as refused:
        open_bm25(corpus, tmp_path / "i/bm25")
    assert "Next: " in str(refused.value)
    if how != "gone":
        assert f"forethought index --corpus {corpus}" in str(refused.value)


def test_a_build_that_was_stopped_is_no_index_and_leaves_no_old_one(tmp_path: Path) -> None:
    corpus = corpus_file(tmp_path)
    build_bm25(corpus, tmp_path / "i/bm25")
    with Path(corpus).open("a") as stream:
        stream.write('{"id": "ada", "title": "", "text": "again"}\n')
    with pytest.raises(InputError, match="'ada' again"):
        build_bm25(corpus, tmp_path / "i/bm25")
    with pytest.raises(InputError, match=r"no bm25/index\.json"):
        open_bm25(corpus, tmp_path / "i/bm25")
    assert not [path for path in (tmp_path / "i/bm25").iterdir() if path.is_dir()]


@pytest.mark.parametrize("text", ["...", "?!"])
def test_a_corpus_without_a_word_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="no letter and no digit"):
        build_bm25(
            corpus_file(tmp_path, [Document(id="a", title="", text=text)]), tmp_path / "i/bm25"
        )


def test_packed_files_and_streams_are_refused(tmp_path: Path) -> None:
    for name in ("-", "corpus.jsonl.gz"):
        with pytest.raises(InputError, match="plain file"):
            build_bm25(name, tmp_path / "i/bm25")
    assert not (tmp_path / "i").exists()


def test_a_stamp_of_another_kind_or_schema_is_refused(tmp_path: Path) -> None:
    corpus = corpus_file(tmp_path)
    build_bm25(corpus, tmp_path / "i/bm25")
    stamp = json.loads((tmp_path / "i/bm25/index.json").read_text())
    assert stamp["corpus"]["documents"] == len(PAGES)
    for change in ({"schema": "forethought.index/9"}, {"kind": "dense"}, {"corpus": 3}):
        (tmp_path / "i/bm25/index.json").write_text(json.dumps({**stamp, **change}))
        with pytest.raises(InputError, match=r"expected 'forethought\.index/1'"):
            open_bm25(corpus, tmp_path / "i/bm25")


def test_an_open_index_goes_on_while_a_new_one_is_built_in_its_place(tmp_path: Path) -> None:
    corpus = corpus_file(tmp_path)
    build_bm25(corpus, tmp_path / "i/bm25")
    before = open_bm25(corpus, tmp_path / "i/bm25")
    found = before.search("equal lamp", 5)
    build_bm25(corpus_file(tmp_path / "other", PAGES[:1]), tmp_path / "i/bm25")
    assert before.search("equal lamp", 5) == found


def test_the_index_finds_what_the_one_in_memory_finds(tmp_path: Path) -> None:
    corpus = corpus_file(tmp_path)
    build_bm25(corpus, tmp_path / "i/bm25", part=2)
    ours, memory = open_bm25(corpus, tmp_path / "i/bm25"), BM25Retriever(PAGES)
    assert ours.search_all(QUERIES, 4) == memory.search_all(QUERIES, 4)
