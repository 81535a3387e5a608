"""A search server: one index for many workers, by the `/retrieve` protocol of Search-R1.

`POST /retrieve` is told in `forethought.tools.remote`; without `return_scores` the hits are the
documents alone, as Search-R1 has it. `GET /health` says that the server is up. What a request may
ask for is bounded, and what it gets wrong is a status of 400 to 422 with `{"detail": why}`.

The server is the standard library's: no web framework is among the dependencies, the protocol is
one route, and a search takes longer than a thread to start. It is made for workers of one's own,
not for the open internet: there is neither a login nor TLS.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from forethought.errors import InputError
from forethought.jsonl import parse_json
from forethought.tools.remote import PATH
from forethought.tools.retrieval import Hit, Retriever

GRACE_S = 10.0
"""Seconds that requests in progress get when the server is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one request may ask for."""

    max_bytes: int = 1 << 20  # of a request's body
    max_queries: int = 256
    max_topk: int = 100
    topk: int = 3  # where the request says none
    silent_s: float = 20.0  # how long a client may send nothing
    searches: int = os.cpu_count() or 1  # at a time; each needs a few numbers a document


class _Refusal(Exception):
    """A request that is not carried out: a status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class SearchServer(ThreadingHTTPServer):
    """Serves one retriever; a thread a connection."""

    request_queue_size = 256  # many workers call at once, and 5 are the default
    daemon_threads = True  # `close` waits for requests, and not for silent connections

    def __init__(
        self, retriever: Retriever, host: str, port: int, limits: ServerLimits | None = None
    ) -> None:
        """Listens; nothing is served before `serve_forever`.

        Args:
            retriever: what to search; shared by all threads.
            host: address to listen at.
            port: 0 = any free one.
            limits: of a request.

        Raises:
            InputError: the address cannot be listened at.
        """
        self.retriever, self.limits = retriever, limits or ServerLimits()
        self.gate = threading.BoundedSemaphore(self.limits.searches)
        self._busy, self._changed = 0, threading.Condition()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"--host {host} --port {port}",
                got=str(error),
                expected="an address of this machine and a free port",
                next_step="choose another port, or 0 for any",
            ) from error

    @property
    def url(self) -> str:
        """Where searches go."""
        host = str(self.server_address[0])  # the resolved name may be none that can be used
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.server_port}{PATH}"

    @contextmanager
    def request(self) -> Iterator[None]:
        """Marks a request as in progress."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self._busy += change
            self._changed.notify_all()

    def close(self, grace_s: float = GRACE_S) -> bool:
        """Takes no more requests and waits for those in progress; False = some were not done."""
        self.shutdown()
        with self._changed:
            done = self._changed.wait_for(lambda: self._busy == 0, grace_s)
        self.server_close()
        return done

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request a connection (HTTP/1.0), so a stopped server need not wait for idle ones."""

    server: SearchServer

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.limits.silent_s)

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, {"status": "ok"})
        else:
            self._send(404, {"detail": f"no {self.path} here; search by POST {PATH}"})

    def do_POST(self) -> None:
        with self.server.request():
            try:
                status, reply = 200, self._retrieve()
            except _Refusal as refusal:
                status, reply = refusal.status, {"detail": str(refusal)}
            except OSError:
                raise  # the connection: there is nobody to tell
            except Exception as error:  # of the retriever: the client may ask again
                status, reply = 500, {"detail": f"{type(error).__name__}: {error}"}
                print(f"search failed: {type(error).__name__}: {error}", file=sys.stderr)
            self._send(status, reply)

    def _retrieve(self) -> dict[str, Any]:
        if self.path != PATH:
            self._body()
            raise _Refusal(404, f"no {self.path} here; search by POST {PATH}")
        queries, topk, with_scores = _request(self._body(), self.server.limits)
        with self.server.gate:
            found = self.server.retriever.search_all(queries, topk)
        show = _scored if with_scores else _document
        return {"result": [[show(hit) for hit in hits] for hits in found]}

    def _body(self) -> bytes:
        said, bound = self.headers.get("Content-Length"), self.server.limits.max_bytes
        if said is None:
            raise _Refusal(411, "a request without Content-Length")
        if not said.isdecimal() or len(said) > 18:
            raise _Refusal(400, f"Content-Length {said[:40]!r}, which is no number of bytes")
        length = int(said)
        if length > bound:
            # Some of it is taken, so that the client reads the reply before it is cut off.
            for _ in range(min(length, 16 * bound) // 65536):
                if not self.rfile.read(65536):
                    break
            raise _Refusal(413, f"a body of {length} bytes; at most {bound}: ask for less at once")
        body = self.rfile.read(length)
        if len(body) < length:
            raise _Refusal(400, f"a body of {len(body)} bytes of {length}")
        return body

    def _send(self, status: int, reply: dict[str, Any]) -> None:
        data = json.dumps(reply, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """No line a request."""


def _request(body: bytes, limits: ServerLimits) -> tuple[list[str], int, bool]:
    """Queries, hits a query, and whether scores are wanted."""
    try:
        row = parse_json(body)
    except (ValueError, RecursionError) as error:
        raise _Refusal(400, f"a body that is no JSON ({error})") from error
    if not isinstance(row, dict):
        raise _Refusal(422, "a body that is no JSON object")
    queries, topk = row.get("queries"), row.get("topk")
    topk = limits.topk if topk is None else topk
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise _Refusal(422, '"queries" must be a list of texts')
    if len(queries) > limits.max_queries:
        raise _Refusal(422, f"{len(queries)} queries; at most {limits.max_queries} at once")
    if type(topk) is not int or not 1 <= topk <= limits.max_topk:
        raise _Refusal(422, f'"topk" must be a whole number from 1 to {limits.max_topk}')
    with_scores = row.get("return_scores", False)
    if not isinstance(with_scores, bool):
        raise _Refusal(422, '"return_scores" must be true or false')
    return queries, topk, with_scores


def _document(hit: Hit) -> dict[str, Any]:
    """A page as Search-R1 has it, and in our own fields so that nothing is lost."""
    contents = f"{' '.join(hit.title.split())}\n{hit.text}"
    return {"id": hit.id, "contents": contents, "title": hit.title, "text": hit.text}


def _scored(hit: Hit) -> dict[str, Any]:
    return {"document": _document(hit), "score": hit.score}


def serve_until_stopped(server: SearchServer, ready: Callable[[], None]) -> bool:
    """Serves until SIGINT or SIGTERM; False if requests in progress had to be left.

    Args:
        server: what to serve; closed at the end.
        ready: called when it is up. The main thread's signal handlers are put back at the end.
    """
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    worker = threading.Thread(target=server.serve_forever, daemon=True)
    try:
        worker.start()
        ready()
        stop.wait()
        return server.close()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
