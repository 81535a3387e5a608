"""Tasks of a file searched on a server or an index; a failed search is no failed policy."""

from __future__ import annotations

import json
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from forethought.cli import main
from forethought.config import load_config
from forethought.data.tasks import save_tasks
from forethought.domains.atlas import AtlasDomain
from forethought.domains.files import FileSearchDomain
from forethought.jsonl import write_jsonl
from forethought.runlog import read_episodes
from forethought.tools.bm25_index import build_bm25
from forethought.tools.remote import RemoteRetriever
from forethought.tools.retrieval import BM25Retriever, Document
from forethought.tools.retrievers import SearchSource
from forethought.tools.search_server import SearchServer
from forethought.worlds.atlas.world import world
from tests.tools.search_builders import corpus_file, result, running, say, scripted

SEED = 199_999


@pytest.fixture
def pages(tmp_path: Path) -> list[Document]:
    """The pages of a world, whose tasks are in tasks.jsonl and which are in corpus.jsonl."""
    domain = AtlasDomain.from_config(load_config("demo/atlas-fast"))
    save_tasks(tmp_path / "tasks.jsonl", domain.tasks_of_worlds(range(SEED, SEED + 1), None))
    found = [Document(id=p.id, title=p.title, text=p.text) for p in world(domain.law, SEED).pages]
    corpus_file(tmp_path, found)
    return found


@pytest.fixture
def evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Evaluates a scripted policy on the tasks; returns summary and episodes, or the code."""

    def call(*words: str) -> Any:
        out = tmp_path / "out"
        words = ("--tasks", str(tmp_path / "tasks.jsonl"), "--out", str(out), "--json", *words)
        code = main(["eval", "demo/atlas-fast", "--model", "planner", *words])
        said = capsys.readouterr()
        return code or (json.loads(said.out), read_episodes(out / "episodes.jsonl"))

    return call


def seen(episodes: Any) -> Any:
    return [(e.task_id, e.success, [t.observation for t in e.turns]) for e in episodes]


def test_a_server_and_an_index_give_the_episodes_that_the_corpus_gives(
    evaluated: Any, pages: list[Document], tmp_path: Path
) -> None:
    corpus = str(tmp_path / "corpus.jsonl")
    _, memory = evaluated("--corpus", corpus)
    assert any(e.success for e in memory)
    build_bm25(corpus, tmp_path / "i/bm25")
    assert seen(evaluated("--corpus", corpus, "--index", str(tmp_path / "i"))[1]) == seen(memory)
    with running(SearchServer(BM25Retriever(pages), "127.0.0.1", 0)) as url:
        assert seen(evaluated("--retriever", url)[1]) == seen(memory)


@pytest.mark.parametrize("words", [["--retriever", "dense"], ["--index", "x"], ["--encoder", "x"]])
def test_words_about_a_corpus_need_one(
    evaluated: Any, pages: list[Document], words: list[str]
) -> None:
    assert evaluated(*words) == 2


def test_a_server_that_breaks_down_loses_rollouts_and_none_of_them_is_a_failure(
    evaluated: Any, pages: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third search fails for good: its rollout has an error and no reward."""
    quick = partial(RemoteRetriever, sleep=lambda seconds: None)
    monkeypatch.setattr("forethought.tools.retrievers.RemoteRetriever", quick)
    retriever, lost = BM25Retriever(pages), []

    def reply(handler: BaseHTTPRequestHandler) -> None:
        server: Any = handler.server
        (query,) = server.seen[-1][1]["queries"]
        if query in lost or len(set(lost)) < 2:
            lost.append(query)
            return say(500, b"no")(handler)
        hits = retriever.search(query, 2)
        return say(200, result([(f"{h.title}\n{h.text}", h.score) for h in hits]))(handler)

    with running(scripted(reply)) as url:
        summary, episodes = evaluated("--retriever", url)
    broken = [e for e in episodes if e.error is not None]
    whole = [e for e in episodes if e.error is None]
    assert whole and len(broken) == summary["num_failed"] >= 2
    for episode in broken:
        assert episode.success is None
        assert episode.stop_reason == "error" and episode.error.kind == "tool"
        assert "SearchFailedError" in episode.error.message and "500" in episode.error.message
    assert summary["metrics"]["success"]["n"] == len(whole)


def test_a_server_that_is_not_there_ends_the_evaluation(
    evaluated: Any, pages: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(RemoteRetriever, sleep=lambda seconds: None)
    monkeypatch.setattr("forethought.tools.retrievers.RemoteRetriever", quick)
    with running(scripted(say(200, b""))) as url:
        pass
    assert evaluated("--retriever", url) == 4


@pytest.mark.parametrize(("name", "usual"), [("demo/atlas", 2), ("maths/gsm8k-smollm2", 3)])
def test_real_text_shows_three_pages_and_the_key_says_otherwise(
    tmp_path: Path, name: str, usual: int
) -> None:
    corpus = corpus_file(tmp_path)
    write_jsonl(
        tmp_path / "t.jsonl", [{"id": "t", "question": "q", "answers": ["a"], "kind": "qa"}]
    )

    def shown(*override: str) -> int:
        config = load_config(name, dict([override]) if override else {})
        source = SearchSource(corpus=corpus)
        domain = FileSearchDomain.from_files(config, str(tmp_path / "t.jsonl"), source)
        env = domain.make_env()
        env.reset(id="t")
        return len(env.search("twin equal a lamp tea").info["documents"])

    assert shown() == usual
    assert shown("rollout.top_k_documents", "4") == 4
