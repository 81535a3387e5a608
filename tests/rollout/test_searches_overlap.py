"""Searches of a batch over a server go out side by side and change nothing that an episode sees."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rollout_toys import ANSWER_B, CONFIG, FORM, TOKENIZER, Recorder, start

from forethought.chat.transport import UnreachableError
from forethought.envs.search_qa import RemoteSearchQA, SearchQA
from forethought.errors import MissingError
from forethought.rollout.engine import run_rollouts_sync
from forethought.tools.remote import RemoteLimits, RemoteRetriever
from forethought.tools.retrieval import BM25Retriever, Document, Hit, Retriever
from forethought.tools.search_server import SearchServer, ServerLimits
from forethought.types import Rollout
from tests.tools.search_builders import running

PAIRS = [" ".join(pair) for pair in itertools.product("abxy", repeat=2)]
PAGES = BM25Retriever(
    [Document(id=pair, title=pair, text=f"page {n} {pair}") for n, pair in enumerate(PAIRS)]
)
WAIT_S = 20.0  # of a server that waits for what never comes


class Backwards(Retriever):
    """Replies to nothing before `num` searches are there, then to the last one first."""

    def __init__(self, num: int) -> None:
        self._num, self._came, self._done = num, 0, 0
        self._changed = threading.Condition()

    def search(self, query: str, k: int) -> list[Hit]:
        with self._changed:
            wave, place = divmod(self._came, self._num)
            self._came += 1
            self._changed.notify_all()
            end = (wave + 1) * self._num
            assert self._changed.wait_for(
                lambda: self._came >= end and self._done == end - 1 - place, WAIT_S
            )
            self._done += 1
            self._changed.notify_all()
        return PAGES.search(query, k)


class Counted(Retriever):
    """Counts the searches in progress; none ends before `least` of them are."""

    def __init__(self, least: int) -> None:
        self._together = threading.Barrier(least)
        self._lock = threading.Lock()
        self._now = self.most = 0

    def search(self, query: str, k: int) -> list[Hit]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._together.wait(WAIT_S)
        with self._lock:
            self._now -= 1
        return PAGES.search(query, k)


@contextmanager
def served(retriever: Retriever) -> Iterator[str]:
    server = SearchServer(retriever, "127.0.0.1", 0, ServerLimits(searches=64))
    with running(server) as url:
        yield url


def play(make: Callable[..., Any], retriever: Retriever) -> list[Rollout]:
    """One episode a pair of words: it is searched for, then backwards, then comes an answer."""
    scripts = [
        [f"<think> x </think> <search> {query} </search>" for query in (pair, pair[::-1])]
        for pair in PAIRS
    ]
    starts = [
        start(number, env=make(retriever_for=lambda row: retriever)) for number in range(len(PAIRS))
    ]
    backend = Recorder(*[[*script, ANSWER_B] for script in scripts])
    return run_rollouts_sync(starts, backend, FORM, TOKENIZER, CONFIG)


def test_searches_overlap_and_each_episode_sees_what_it_sees_without_a_server() -> None:
    with served(Backwards(len(PAIRS))) as url:
        asked = RemoteRetriever(url, RemoteLimits(tries=1, parallel=len(PAIRS)))
        remote = play(RemoteSearchQA, asked)
    local = play(SearchQA, PAGES)
    assert [rollout.turns for rollout in remote] == [rollout.turns for rollout in local]
    assert all(rollout.error is None and len(rollout.turns) == 3 for rollout in remote)
    assert len({rollout.turns[0].observation for rollout in remote}) > 8


@pytest.mark.parametrize("parallel", [1, 4])
def test_no_more_searches_than_the_bound_are_asked_at_a_time(parallel: int) -> None:
    with served(counted := Counted(parallel)) as url:
        rollouts = play(RemoteSearchQA, RemoteRetriever(url, RemoteLimits(parallel=parallel)))
    assert counted.most == parallel and not any(rollout.error for rollout in rollouts)


def test_a_search_that_fails_ends_its_own_episode() -> None:
    class Torn(Retriever):
        def search(self, query: str, k: int) -> list[Hit]:
            if query == "x y":
                raise RuntimeError("the index is torn")
            return PAGES.search(query, k)

    with served(Torn()) as url:
        limits = RemoteLimits(tries=2)
        rollouts = play(RemoteSearchQA, RemoteRetriever(url, limits, sleep=lambda seconds: None))
    lost = [PAIRS[number] for number, rollout in enumerate(rollouts) if rollout.error]
    assert lost == ["x y", "y x"] and {rollouts[11].error.kind} == {"tool"}  # type: ignore[union-attr]


def test_a_server_that_was_never_there_ends_the_run_and_is_not_waited_for_by_everyone() -> None:
    asked: list[str] = []

    def nobody(url: str, *request: Any) -> Any:
        asked.append(url)
        raise UnreachableError("unreachable: nobody listens")

    limits = RemoteLimits(tries=4, parallel=4)
    retriever = RemoteRetriever(
        "http://localhost:1", limits, transport=nobody, sleep=lambda seconds: None
    )
    with pytest.raises(MissingError, match="serve-search"):
        play(RemoteSearchQA, retriever)
    assert 4 + 15 <= len(asked) <= 4 * 4 + 12


def test_one_client_serves_one_loop_after_another() -> None:
    with served(PAGES) as url:
        asked = RemoteRetriever(url, RemoteLimits(parallel=2))
        first, second = (play(RemoteSearchQA, asked) for _ in range(2))
    assert [rollout.turns for rollout in first] == [rollout.turns for rollout in second]
