"""Search behind an address: a client of the `/retrieve` protocol of Search-R1.

    POST /retrieve  {"queries": [text..], "topk": k, "return_scores": true}
    200             {"result": [[{"document": {"id", "contents"}, "score"}..]..]}   a list a query

`contents` is the title, a line break and the text (Search-R1, arXiv 2503.09516; the project's own
corpora put the title in quotation marks). `forethought serve-search` speaks it, and so do the
servers of Search-R1 and of what was built on it.

A search that failed after all retries raises `SearchFailedError`. Inside a rollout that is a fault
of the machine: the rollout ends with an error, is in no statistic and gets no reward.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from forethought.chat.transport import (
    AGAIN,
    OversizeError,
    RefusedError,
    Response,
    UnreachableError,
    post,
)
from forethought.errors import InputError, MissingError
from forethought.jsonl import parse_json
from forethought.tools.retrieval import Hit, Retriever, split_contents
from forethought.tools.threads import in_daemon

PATH = "/retrieve"
LONGEST_WAIT = 30.0
"""Seconds between two tries at most, whatever the server asks for."""
Post = Callable[[str, dict[str, str], bytes, float, int | None], Response]
"""(url, headers, body, timeout in seconds, most bytes of the response) -> the response."""


class SearchFailedError(Exception):
    """A search server gave no usable result, after all retries.

    No `ForethoughtError`: it ends one rollout, and the run only where too many rollouts are lost.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLimits:
    """How hard a search server is asked."""

    batch: int = 64  # queries a request
    parallel: int = 16  # requests at a time of one event loop
    tries: int = 4  # of one request, with longer and longer pauses
    timeout_s: float = 30.0  # of one try
    max_bytes: int = 16 << 20  # of one response

    def __post_init__(self) -> None:
        """Refuses what cannot work.

        Raises:
            InputError: a bound below its least value.
        """
        if min(self.batch, self.parallel, self.tries, self.max_bytes) < 1 or not self.timeout_s > 0:
            raise InputError(
                "limits of a search server",
                got=str(self),
                expected="batch, parallel, tries and max_bytes of at least 1, a timeout above 0",
                next_step="correct the number",
            )


class RemoteRetriever(Retriever):
    """Searches on a server; safe to use from several threads."""

    def __init__(
        self,
        url: str,
        limits: RemoteLimits | None = None,
        *,
        transport: Post = post,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """A client of one server; nothing is asked yet.

        Args:
            url: such as http://localhost:8000; `/retrieve` is added where there is no path.
            limits: how hard to ask.
            transport: how a request is sent.
            sleep: how a retry waits.
        """
        self._url = url if urlsplit(url).path not in ("", "/") else url.rstrip("/") + PATH
        self._limits = limits or RemoteLimits()
        self._transport, self._sleep = transport, sleep
        self._gates: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()  # by loop
        self._has_answered = False
        self._is_down = False  # the last request failed after all retries

    def search(self, query: str, k: int) -> list[Hit]:
        """As `search_all`, for one query."""
        return self.search_all([query], k)[0]

    async def search_async(self, query: str, k: int) -> list[Hit]:
        """`search` in a thread of its own, `parallel` at a time, begun in the order of calls."""
        loop, most = asyncio.get_running_loop(), self._limits.parallel
        async with self._gates.setdefault(loop, asyncio.Semaphore(most)):
            return await in_daemon(self.search, query, k)

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits of each query, in the order of the server.

        Raises:
            SearchFailedError: no usable result after all retries.
            MissingError: there is no server at this address, and never was.
            InputError: the server refuses the request, or the address is none.
        """
        hits: list[list[Hit]] = [[] for _ in queries]
        asked = [n for n, query in enumerate(queries) if query.strip()] if k > 0 else []
        step = self._limits.batch
        for start in range(0, len(asked), step):
            batch = asked[start : start + step]
            found = self._ask([queries[n] for n in batch], k)
            for n, row in zip(batch, found, strict=True):
                hits[n] = row
        return hits

    def _ask(self, queries: list[str], k: int) -> list[list[Hit]]:
        """One request, tried again where that may help."""
        body = json.dumps({"queries": queries, "topk": k, "return_scores": True}).encode()
        # Wave after wave asks: a server that is gone must not make each of them wait.
        tries = 1 if self._is_down else self._limits.tries
        reason = ""
        for number in range(tries):
            found, reason, wait = self._try(body, len(queries), k)
            if found is not None:
                self._is_down = False
                return found
            if number + 1 < tries:
                self._sleep(min(2.0**number if wait is None else wait, LONGEST_WAIT))
        self._is_down = True
        if not self._has_answered:
            raise MissingError(
                f"a search server at {self._url} ({reason})",
                next_step="start it (`forethought serve-search`), or correct the address",
            )
        raise SearchFailedError(f"{self._url}: {reason}, {tries} times")

    def _try(
        self, body: bytes, num: int, k: int
    ) -> tuple[list[list[Hit]] | None, str, float | None]:
        """One attempt: the hits, or why there are none and how long the server wants to rest."""
        limits = self._limits
        headers = {"Content-Type": "application/json"}
        try:
            response = self._transport(self._url, headers, body, limits.timeout_s, limits.max_bytes)
        except UnreachableError as error:
            return None, str(error), None
        except OversizeError as error:
            self._has_answered = True
            raise SearchFailedError(f"{self._url}: {error}") from error
        self._has_answered = True
        if response.status in AGAIN:
            return None, f"HTTP {response.status}", response.retry_after
        if response.status != 200:
            raise RefusedError(
                self._url,
                response,
                expected="a server of the /retrieve protocol of Search-R1",
                next_step="check the address and the limits of the server",
            )
        try:
            return _hits(parse_json(response.body), num, k), "", None
        except (ValueError, RecursionError) as error:
            return None, f"a response that is no result ({error})", None


def _hits(value: Any, num: int, k: int) -> list[list[Hit]]:
    """The hits in a response.

    Raises:
        ValueError: it is no result for `num` queries.
    """
    rows = value.get("result") if isinstance(value, dict) else None
    if not isinstance(rows, list) or len(rows) != num:
        raise ValueError(f'no "result" with a list for each of {num} queries')
    return [[_hit(item) for item in _list(row)[:k]] for row in rows]


def _list(row: Any) -> list[Any]:
    if not isinstance(row, list):
        raise ValueError("hits that are no list")
    return row


def _hit(item: Any) -> Hit:
    page = item.get("document") if isinstance(item, dict) else None
    if not isinstance(page, dict):
        raise ValueError('a hit without "document"')
    score = item.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError("a hit without a score")
    title, text = page.get("title"), page.get("text")
    if not isinstance(title, str) or not isinstance(text, str):
        if not isinstance(page.get("contents"), str):
            raise ValueError('a document without "contents"')
        title, text = split_contents(page["contents"])
    # Some corpora number their passages.
    return Hit(id=str(page.get("id", "")), title=title, text=text, score=float(score))
