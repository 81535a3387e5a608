"""corpus.jsonl: what is read, what is refused; and the verb that searches one."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forethought.cli import main
from forethought.data.corpora import CorpusFile, load_corpus, read_corpus, save_corpus
from forethought.errors import InputError
from forethought.tools.remote import RemoteRetriever
from forethought.tools.retrieval import Document

GOOD: dict[str, Any] = {"id": "a", "title": "Ada", "text": "She wrote programs."}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_saved_documents_are_loaded_as_they_were(tmp_path: Path) -> None:
    pages = [Document(id=str(i), title="", text=f"page {i} \u00e9") for i in range(3)]
    assert save_corpus(tmp_path / "c.jsonl", pages) == 3
    assert load_corpus(tmp_path / "c.jsonl") == pages


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "b", "title": "x"}, '"text"'),
        ({**GOOD, "id": 3}, "id = 3"),
        ({**GOOD, "title": None}, "title = null"),
        ({**GOOD, "id": ""}, "blank"),
        ({**GOOD, "id": "b", "text": " "}, "blank"),
        (GOOD, "'a' again"),
        ([1], "JSON list"),
        ({"id": "b", "contents": 3}, "contents = 3"),
        ({"id": "b", "contents": '"Title"\n '}, "blank"),
    ],
)
def test_a_malformed_row_is_named_with_file_and_line(tmp_path: Path, row: Any, words: str) -> None:
    path = write(tmp_path / "c.jsonl", GOOD, row)
    with pytest.raises(InputError, match=words) as caught:
        load_corpus(path)
    assert str(caught.value).startswith(f"{path}:2: got ")


def test_rows_with_contents_have_title_and_text(tmp_path: Path) -> None:
    rows = [{"id": "a", "contents": '"Ada"\nwrote\nprograms'}, {"id": "b", "contents": "a lamp"}]
    path = write(tmp_path / "c.jsonl", *rows)
    ada = Document(id="a", title="Ada", text="wrote\nprograms")
    assert load_corpus(path) == [ada, Document(id="b", title="", text="a lamp")]
    pages = CorpusFile(path, np.array([place for place, _ in read_corpus(path)]))
    assert [pages[0], pages[1]] == load_corpus(path)


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        load_corpus(write(tmp_path / "c.jsonl"))


def test_retrieve_prints_the_hits_of_each_query(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write(tmp_path / "c.jsonl", GOOD, {"id": "b", "title": "", "text": "A lamp."})
    queries = [{"id": "q1", "query": "ada lamp"}, {"id": 2, "query": "zebra"}]
    path = write(tmp_path / "q.jsonl", *queries)
    assert main(["retrieve", str(path), "--corpus", str(corpus), "--k", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == ["q1", 2]
    assert {hit["id"] for hit in rows[0]["hits"]} == {"a", "b"} and rows[1]["hits"] == []
    assert rows[0]["hits"][0]["score"] >= rows[0]["hits"][1]["score"] > 0
    monkeypatch.setattr("sys.stdin", io.StringIO('{"id":"s","query":"lamp"}\n'))
    assert main(["retrieve", "--corpus", str(corpus)]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["id"] == "b"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--k", "0"], 2),
        (["--retriever", "magic"], 2),
        (["--retriever", "dense"], 4),
        (["--retriever", "http://localhost:1"], 4),
        (["--retriever", "http://localhost:1", "--index", "x"], 2),
    ],
)
def test_retrieve_says_what_it_cannot_do(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
) -> None:
    impatient = partial(RemoteRetriever, sleep=lambda seconds: None)
    monkeypatch.setattr("forethought.tools.retrievers.RemoteRetriever", impatient)
    corpus = write(tmp_path / "c.jsonl", GOOD)
    query = write(tmp_path / "q.jsonl", {"id": "q", "query": "x"})
    assert main(["retrieve", str(query), "--corpus", str(corpus), *words]) == code
    assert "Next: " in capsys.readouterr().err


def test_retrieve_names_the_line_of_a_malformed_query(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write(tmp_path / "c.jsonl", GOOD)
    query = write(tmp_path / "q.jsonl", {"id": "q", "query": "x"}, {"id": "q", "query": 3})
    assert main(["retrieve", str(query), "--corpus", str(corpus)]) == 2
    assert f"{query}:2: got query = 3" in capsys.readouterr().err
