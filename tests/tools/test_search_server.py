"""The search server: many clients get their own answers, wrong requests are told, it stops well."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from search_builders import PAGES, QUERIES, corpus_file, running

from forethought.errors import InputError
from forethought.tools.bm25_index import build_bm25, open_bm25
from forethought.tools.remote import RemoteRetriever
from forethought.tools.retrieval import BM25Retriever, Document, Hit, Retriever
from forethought.tools.search_server import SearchServer, ServerLimits

ROOT = Path(__file__).resolve().parents[2]


def serve(retriever: Retriever | None = None, **limits: Any) -> SearchServer:
    found = retriever or BM25Retriever(PAGES)
    return SearchServer(found, "127.0.0.1", 0, ServerLimits(**limits))


def ask(url: str, body: bytes | None, path: str = "/retrieve", **headers: str) -> tuple[int, Any]:
    """A raw request: its status and its JSON."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=5)
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.fixture
def url() -> Iterator[str]:
    with running(serve()) as address:
        yield address


def test_the_response_is_that_of_search_r1(url: str) -> None:
    body = {"queries": ["programs", "lamp"], "topk": 2, "return_scores": True}
    status, reply = ask(url, json.dumps(body).encode())
    assert status == 200 and list(reply) == ["result"]
    first, second = reply["result"]
    document = first[0]["document"]
    assert document["id"] == "ada" and isinstance(first[0]["score"], float)
    assert document["contents"] == "Ada Lovelace\nShe wrote programs\nfor an engine."
    assert [hit["document"]["id"] for hit in second] == ["lamp", "kiln"]
    assert second[0]["document"]["contents"] == "\nA lamp gives light."


def test_without_scores_the_hits_are_documents_and_k_has_a_default(url: str) -> None:
    _, reply = ask(url, b'{"queries": ["twin"]}')
    assert [page["id"] for page in reply["result"][0]] == ["twin1", "twin2", "twin3"]
    _, fewer = ask(url, b'{"queries": ["twin"], "topk": null, "return_scores": false}')
    assert fewer == reply
    assert ask(url, b'{"queries": []}') == (200, {"result": []})


def test_pages_come_back_as_they_were(url: str) -> None:
    odd = Document(id="o", title='"a"\nb', text="\nlamp \u8336 \U0001f375")
    with running(serve(BM25Retriever([odd]))) as address:
        (hit,) = RemoteRetriever(address).search("lamp", 1)
    assert (hit.id, hit.title, hit.text) == (odd.id, odd.title, odd.text)


def test_sixty_four_clients_at_once_get_their_own_answers(tmp_path: Path) -> None:
    pages = [
        Document(id=str(n), title=f"page {n}", text=f"word{n} " + "common " * (n % 7) + f"w{n % 9}")
        for n in range(300)
    ]
    corpus = corpus_file(tmp_path, pages)
    build_bm25(corpus, tmp_path / "bm25", part=100)
    alone = BM25Retriever(pages)
    queries = [f"word{n} common w{n % 9}" for n in range(300)]
    expected = [alone.search(query, 5) for query in queries]
    together = threading.Barrier(64)

    def client(number: int) -> bool:
        asked = RemoteRetriever(url) if number % 2 else shared
        together.wait()
        for step in range(8):
            n = (number * 37 + step * 11) % 300
            batch = [queries[n], queries[(n + 1) % 300]]
            if asked.search_all(batch, 5) != [expected[n], expected[(n + 1) % 300]]:
                return False
        return True

    with (
        running(serve(open_bm25(corpus, tmp_path / "bm25"))) as url,
        ThreadPoolExecutor(64) as pool,
    ):
        shared = RemoteRetriever(url)
        assert all(pool.map(client, range(64)))


WRONG = {
    "no JSON": (400, b"queries"),
    "no UTF-8": (400, b"\xff"),
    "nested": (400, b"[" * 100_000),
    "a list": (422, b"[]"),
    "no queries": (422, b"{}"),
    "one text": (422, b'{"queries": "lamp"}'),
    "numbers": (422, b'{"queries": [1]}'),
    "topk 0": (422, b'{"queries": ["a"], "topk": 0}'),
    "topk true": (422, b'{"queries": ["a"], "topk": true}'),
    "topk text": (422, b'{"queries": ["a"], "topk": "3"}'),
    "topk large": (422, b'{"queries": ["a"], "topk": 101}'),
    "scores": (422, b'{"queries": ["a"], "return_scores": "yes"}'),
    "many queries": (422, json.dumps({"queries": ["a"] * 257}).encode()),
    "large": (413, b" " * ((1 << 20) + 1)),
}


@pytest.mark.parametrize(("status", "body"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_told_what_is_wrong_and_the_server_goes_on(
    url: str, status: int, body: bytes
) -> None:
    got, reply = ask(url, body)
    assert got == status and reply["detail"]
    assert ask(url, b'{"queries": ["lamp"]}')[0] == 200


def test_other_paths_and_health(url: str) -> None:
    assert ask(url, None, "/health") == (200, {"status": "ok"})
    assert ask(url, None, "/")[0] == 404
    assert ask(url, b"{}", "/search")[0] == 404
    assert ask(url, b"{}", Content_Length="x")[0] in (400, 422)


def raw(url: str, data: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        return line.makefile("rb").read()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST /retrieve HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /retrieve HTTP/1.1\r\nContent-Length: -3\r\n\r\n", b"400"),
        (b"POST /retrieve HTTP/1.1\r\nContent-Length: 99\r\n\r\n{}", b"400"),
        (b"POST /retrieve HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n{}", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_a_broken_request_is_refused(url: str, data: bytes, status: bytes) -> None:
    assert status in raw(url, data)
    assert ask(url, b'{"queries": ["lamp"]}')[0] == 200


def test_a_client_that_says_nothing_or_leaves_holds_nobody_up(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with running(serve(silent_s=0.2)) as url:
        host, port = url.removeprefix("http://").split(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(20)]
        leaving = socket.create_connection((host, int(port)))
        leaving.sendall(b"POST /retrieve HTTP/1.1\r\nContent-Length: 5000\r\n\r\n{")
        leaving.close()
        assert RemoteRetriever(url).search("lamp", 1)[0].id == "lamp"
        for line in idle:
            line.settimeout(3)
            assert line.recv(10) == b""
            line.close()
    assert "Traceback" not in capfd.readouterr().err


class Broken(Retriever):
    """Fails on one query."""

    def search(self, query: str, k: int) -> list[Hit]:
        if query == "boom":
            raise RuntimeError("the index is gone")
        return []


def test_a_retriever_that_fails_is_an_error_500(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(serve(Broken())) as address:
        status, reply = ask(address, b'{"queries": ["boom"]}')
        assert status == 500 and "the index is gone" in reply["detail"]
        assert ask(address, b'{"queries": ["a"]}') == (200, {"result": [[]]})
    assert "the index is gone" in capsys.readouterr().err


class Counting(Retriever):
    """Notes how many searches run at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()

    def search(self, query: str, k: int) -> list[Hit]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1
        return []


def test_no_more_searches_run_at_a_time_than_are_allowed() -> None:
    counting = Counting()
    with running(serve(counting, searches=3)) as url, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: ask(url, b'{"queries": ["a"]}'), range(32)))
    assert counting.most == 3


def test_an_address_that_cannot_be_listened_at_is_refused() -> None:
    with running(serve()) as url:
        port = int(url.rsplit(":", 1)[1])
        for host, number in (("127.0.0.1", port), ("127.0.0.1", 70000), ("no.such.host.", 0)):
            with pytest.raises(InputError, match="--port"):
                SearchServer(BM25Retriever(PAGES), host, number)


class Slow(Retriever):
    """Takes its time."""

    def search(self, query: str, k: int) -> list[Hit]:
        time.sleep(0.3)
        return []


def test_a_stopped_server_finishes_what_it_has_begun_and_takes_no_more() -> None:
    server = serve(Slow())
    with running(server) as url, ThreadPoolExecutor(1) as pool:
        begun = pool.submit(ask, url, b'{"queries": ["a"]}')
        while not server._busy:
            time.sleep(0.005)
        assert server.close(5.0)
        assert begun.result() == (200, {"result": [[]]})
        with pytest.raises(OSError):
            ask(url, b'{"queries": ["a"]}')


def test_what_takes_too_long_is_left_when_the_server_is_stopped() -> None:
    server = serve(Slow())
    with running(server) as url, ThreadPoolExecutor(1) as pool:
        begun = pool.submit(ask, url, b'{"queries": ["a"]}')
        while not server._busy:
            time.sleep(0.005)
        assert not server.close(0.01)
        begun.exception()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_verb_prints_its_address_serves_and_stops_on_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    corpus = corpus_file(tmp_path)
    build_bm25(corpus, tmp_path / "i/bm25")
    words = ["serve-search", "--corpus", corpus, "--index", str(tmp_path / "i"), "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "forethought", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        address = child.stdout.readline().strip()
        assert address.endswith("/retrieve")
        found = RemoteRetriever(address).search_all(QUERIES, 3)
        assert found == BM25Retriever(PAGES).search_all(QUERIES, 3)
        child.send_signal(number)
        assert child.wait(10) == 0
        assert child.stderr.read() == "stopped\n"
