"""The client of a search server: the protocol, retries, bounds, and servers that misbehave."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from search_builders import result, running, say, scripted

from forethought.chat.transport import OversizeError, UnreachableError, post
from forethought.errors import InputError, MissingError
from forethought.tools.remote import RemoteLimits, RemoteRetriever, SearchFailedError
from forethought.tools.retrieval import Hit

GOOD = say(200, result([("Ada\nwrote programs", 2.5), ("no title", 1)]))
HITS = [
    Hit(id="0", title="Ada", text="wrote programs", score=2.5),
    Hit(id="1", title="", text="no title", score=1.0),
]


def slow_body(handler: BaseHTTPRequestHandler) -> None:
    """Never silent for long, and never done."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(60):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def cut_chunks(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'40\r\n{"result": [')


FAULTS = {
    "HTTP 500": say(500, b"no"),
    "HTTP 503, an error page": say(503, b"<html>" * 9),
    "slow body": slow_body,
    "silence": silent,
    "hangs up": hangs_up,
    "cut stream": say(200, b'{"result": [', Content_Length="4000"),
    "cut behind a whole result": say(200, result([("a", 1)]), Content_Length="4000"),
    "cut chunks": cut_chunks,
    "no JSON": say(200, b"<html>busy</html>"),
    "no UTF-8": say(200, b"\xff\xfe"),
    "nothing": say(200, b""),
    "another JSON": say(200, b'{"detail": "busy"}'),
    "a list": say(200, b"[]"),
    "too few lists": say(200, b'{"result": []}'),
    "too many lists": say(200, result([], [])),
    "hits that are none": say(200, b'{"result": [[3]]}'),
    "hits without a list": say(200, b'{"result": [{"document": {}}]}'),
    "no score": say(200, b'{"result": [[{"document": {"id": "a", "contents": "x"}}]]}'),
    "no number": say(200, b'{"result": [[{"document": {"contents": "x"}, "score": NaN}]]}'),
    "no contents": say(200, b'{"result": [[{"document": {"id": "a"}, "score": 1}]]}'),
}
every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
SLOW = (slow_body, silent)


def client(url: str, fault: Any = None, **limits: Any) -> RemoteRetriever:
    """Waits long, so that a busy machine changes nothing, except where waiting is what is tried."""
    bounds = RemoteLimits(**{"tries": 3, "timeout_s": 0.5 if fault in SLOW else 20.0, **limits})
    return RemoteRetriever(url, bounds, sleep=lambda seconds: None)


def test_the_request_and_the_result_are_those_of_search_r1() -> None:
    with running(server := scripted(GOOD)) as url:
        assert client(url).search("who?", 5) == HITS
        assert client(f"{url}/search/v2").search("who?", 1) == HITS[:1]
    path, body = server.seen[0]
    assert path == "/retrieve" and server.seen[1][0] == "/search/v2"
    assert body == {"queries": ["who?"], "topk": 5, "return_scores": True}


@pytest.mark.parametrize(
    ("contents", "title", "text"),
    [
        ('"Ada"\nwrote\nprograms', "Ada", "wrote\nprograms"),
        ('"\nx', '"', "x"),
        ("\nx", "", "x"),
        ("one line", "", "one line"),
        ("caf\u00e9 \u8336\n\U0001f375", "caf\u00e9 \u8336", "\U0001f375"),
    ],
)
def test_the_first_line_of_the_contents_is_the_title(contents: str, title: str, text: str) -> None:
    with running(scripted(say(200, result([(contents, 1.0)])))) as url:
        (hit,) = client(url).search("q", 1)
    assert (hit.title, hit.text) == (title, text)


def test_many_queries_go_in_batches_and_blank_ones_do_not_go() -> None:
    replies = (say(200, result([("a", 1)], [("b", 1)])), say(200, result([("c", 1)])))
    with running(server := scripted(*replies)) as url:
        found = client(url, batch=2).search_all(["x", " ", "y", "z"], 1)
    assert [[hit.text for hit in hits] for hits in found] == [["a"], [], ["b"], ["c"]]
    assert [body["queries"] for _, body in server.seen] == [["x", "y"], ["z"]]


@every_fault
def test_a_fault_that_passes_is_survived(fault: Any) -> None:
    with running(server := scripted(fault, fault, GOOD)) as url:
        assert client(url, fault).search("who?", 2) == HITS
    assert len(server.seen) == 3


@every_fault
def test_a_fault_that_stays_is_a_failed_search_after_all_retries(fault: Any) -> None:
    with running(server := scripted(GOOD, fault)) as url:
        asked = client(url, fault)
        assert asked.search("who?", 2)
        began = time.monotonic()
        with pytest.raises(SearchFailedError, match="3 times"):
            asked.search("who?", 2)
        assert time.monotonic() - began < 8
    assert len(server.seen) == 4


def test_a_body_that_is_too_large_is_given_up_at_once_and_never_held() -> None:
    endless = say(200, b" " * 300_000)
    with running(server := scripted(endless)) as url:
        with pytest.raises(SearchFailedError, match="more than 100000 bytes"):
            client(url, max_bytes=100_000).search("who?", 2)
        assert len(server.seen) == 1
        with pytest.raises(OversizeError):
            post(url, {}, b"{}", 1.0, 100)


def test_the_pause_is_the_servers_and_bounded() -> None:
    busy, waits = say(429, b"", Retry_After="7"), []
    forever = say(503, b"", Retry_After="9999")
    with running(scripted(busy, forever, say(500, b""), GOOD)) as url:
        RemoteRetriever(url, RemoteLimits(tries=4), sleep=waits.append).search("who?", 1)
    assert waits == [7.0, 30.0, 4.0]


def test_a_server_that_is_gone_is_tried_once_a_search_until_it_is_back() -> None:
    fault = say(500, b"")
    with running(server := scripted(GOOD, fault, fault, fault, fault, GOOD, fault, GOOD)) as url:
        asked = client(url)
        assert asked.search("a", 1)
        for expected in (4, 5):
            with pytest.raises(SearchFailedError):
                asked.search("b", 1)
            assert len(server.seen) == expected
        assert asked.search("c", 1)
        assert asked.search("d", 1) and len(server.seen) == 8


def test_no_server_at_all_is_missing_and_ends_the_run() -> None:
    with running(server := scripted(GOOD)) as url:
        pass
    assert server.seen == []
    for _ in range(2):
        with pytest.raises(MissingError, match=r"serve-search"):
            client(url).search("who?", 1)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_a_refusal_is_the_users_to_mend(status: int) -> None:
    expected = pytest.raises(InputError, match=f"HTTP {status}: because.*Search-R1")
    with running(server := scripted(say(status, b"because"))) as url, expected:
        client(url).search("who?", 1)
    assert len(server.seen) == 1


def test_an_address_that_is_none_is_named() -> None:
    for url in ("http://", "file:///etc/passwd", "ftp://x", "http://localhost:nine"):
        with pytest.raises((InputError, MissingError), match="Next: "):
            client(url).search("who?", 1)


def test_limits_that_cannot_work_are_refused() -> None:
    for change in ({"tries": 0}, {"batch": 0}, {"timeout_s": 0.0}, {"max_bytes": 0}):
        with pytest.raises(InputError, match="at least 1"):
            RemoteLimits(**change)  # type: ignore[arg-type]


def test_a_slow_response_is_bounded_by_the_whole_time_and_not_by_each_pause() -> None:
    with running(scripted(slow_body)) as url:
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="in time"):
            post(url, {}, b"{}", 0.3)
        assert time.monotonic() - began < 2.0
