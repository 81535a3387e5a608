"""`index`, `retrieve`, `serve-search` and `eval` name what they search in the same way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from search_builders import ENCODER, PAGES, QUERIES, corpus_file, running, say, scripted

from forethought.cli import main
from forethought.jsonl import write_jsonl
from forethought.tools.retrieval import BM25Retriever
from forethought.tools.search_server import SearchServer


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Corpus and queries."""
    rows = [{"id": n, "query": query} for n, query in enumerate(QUERIES)]
    write_jsonl(tmp_path / "q.jsonl", rows)
    return corpus_file(tmp_path), str(tmp_path / "q.jsonl")


@pytest.fixture
def retrieved(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `retrieve` over the queries; returns its rows, or its code and message."""

    def call(*words: str, corpus: bool = True) -> Any:
        where = ["--corpus", files[0]] if corpus else []
        code = main(["retrieve", files[1], *where, *words])
        said = capsys.readouterr()
        if code:
            return code, said.err
        return [json.loads(line) for line in said.out.splitlines()]

    return call


def index(files: tuple[str, str], out: Path, *words: str) -> int:
    return main(["index", "--corpus", files[0], "--out", str(out), *words])


@pytest.mark.parametrize("name", ["bm25", "dense", "hybrid"])
def test_an_index_gives_the_lines_that_the_corpus_in_memory_gives(
    files: tuple[str, str],
    tmp_path: Path,
    retrieved: Any,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = [] if name == "bm25" else ["--encoder", ENCODER]
    assert index(files, tmp_path / "i", "--retriever", name, *encoder, "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made == {"documents": len(PAGES), "retriever": name, "index": str(tmp_path / "i")}
    memory = retrieved("--retriever", name, *encoder)
    assert [row["id"] for row in memory] == list(range(len(QUERIES)))
    assert memory[0]["hits"][0]["id"] == "lamp" and memory[-1]["hits"] == []
    assert retrieved("--retriever", name, "--index", str(tmp_path / "i")) == memory


def test_a_server_gives_the_lines_that_the_corpus_in_memory_gives(retrieved: Any) -> None:
    with running(SearchServer(BM25Retriever(PAGES), "127.0.0.1", 0)) as url:
        assert retrieved("--retriever", url, "--k", "2", corpus=False) == retrieved("--k", "2")


def test_a_server_that_fails_is_a_missing_part_and_no_traceback(retrieved: Any) -> None:
    large = say(200, b" " * ((16 << 20) + 1))
    with running(scripted(large)) as url:
        code, said = retrieved("--retriever", url, corpus=False)
    assert code == 4 and "more than 16777216 bytes" in said and "Next: " in said


WRONG: dict[str, tuple[Sequence[str], str]] = {
    "no corpus": (["--corpus="], "--corpus"),
    "no index": (["--index", "TMP/none"], "forethought index --corpus"),
    "unknown": (["--retriever", "magic"], "bm25, dense, hybrid, or an address"),
    "index of a server": (["--retriever", "http://localhost:1", "--index", "x"], "drop --index"),
    "encoder of a server": (["--retriever", "http://localhost:1", "--encoder", "x"], "drop"),
    "no class": (["--retriever", "dense", "--encoder", "no.module:X"], "package.module:Class"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_searched_is_told(
    retrieved: Any, tmp_path: Path, words: Sequence[str], said: str
) -> None:
    code, message = retrieved(*(word.replace("TMP", str(tmp_path)) for word in words))
    assert code == 2 and said in message and "Next: " in message


def test_without_a_corpus_there_must_be_a_server(retrieved: Any) -> None:
    code, message = retrieved(corpus=False)
    assert code == 2 and "--retriever URL" in message


@pytest.mark.parametrize(
    "words",
    [
        ["index", "--corpus", "FILE", "--retriever", "http://localhost:1", "--out", "OUT"],
        ["index", "--corpus", "FILE", "--out", ""],
        ["index", "--corpus", "FILE.none", "--out", "OUT"],
        ["serve-search", "--corpus", "FILE", "--retriever", "http://localhost:1"],
        ["serve-search", "--corpus", "FILE", "--port", "-1"],
        ["serve-search", "--corpus", "FILE", "--port", "99999"],
        ["serve-search", "--corpus", "FILE", "--k", "101"],
        ["serve-search", "--corpus", "FILE.none", "--port", "0"],
    ],
    ids=" ".join,
)
def test_senseless_words_are_refused_at_once(
    files: tuple[str, str], tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"FILE": files[0], "OUT": str(tmp_path / "out"), "FILE.none": files[0] + ".none"}
    assert main([places.get(word, word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Next:" in said.err
    assert not list(tmp_path.rglob("index.json"))


def test_an_index_without_its_package_is_missing(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("forethought.tools.dense.util.find_spec", lambda name: None)
    assert index(files, tmp_path / "i", "--retriever", "hybrid") == 4
    assert "pip install 'forethought[dense]'" in capsys.readouterr().err
