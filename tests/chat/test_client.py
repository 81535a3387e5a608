"""Laws of the client: order, cache, retries, bounds; and one real server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from forethought.chat.client import (
    ChatClient,
    ChatFailure,
    ChatLimits,
    ChatReply,
    ChatRequest,
    Prices,
    Server,
)
from forethought.chat.transport import Response, UnreachableError
from forethought.errors import GuardRail, InputError, MissingError

URL = "http://localhost:1/v1"


def request(text: str, **changes: Any) -> ChatRequest:
    return ChatRequest(messages=(("system", "Be brief."), ("user", text)), **changes)


def completion(text: object, tokens: tuple[int, int] = (10, 5)) -> bytes:
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


class Fake:
    """A server that echoes the last message, after the given failures."""

    def __init__(self, *failures: Response | Exception) -> None:
        self.failures = list(failures)
        self.bodies: list[dict[str, Any]] = []
        self.waits: list[float] = []
        self.lock = threading.Lock()

    def __call__(self, url: str, headers: dict[str, str], body: bytes, timeout: float) -> Response:
        with self.lock:
            self.bodies.append(json.loads(body))
            failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        said = json.loads(body)["messages"][-1]["content"]
        return failure or Response(status=200, body=completion(said.upper()))


def client(fake: Fake, cache: Path | None = None, **limits: Any) -> ChatClient:
    return ChatClient(
        Server("m", URL),
        cache=cache,
        limits=ChatLimits(**limits),
        prices=Prices(prompt=1.0, completion=2.0),
        transport=fake,
        sleep=fake.waits.append,
    )


def texts(replies: Sequence[ChatReply | ChatFailure]) -> list[str]:
    return [reply.text if isinstance(reply, ChatReply) else "" for reply in replies]


def test_replies_come_in_the_order_of_the_requests_and_equal_ones_are_asked_once() -> None:
    fake = Fake()
    asked = [request(f"word {n % 7}") for n in range(40)]
    assert texts(client(fake).ask(asked)) == [f"WORD {n % 7}" for n in range(40)]
    assert len(fake.bodies) == 7
    assert fake.bodies[0]["model"] == "m" and "seed" not in fake.bodies[0]


def test_a_second_run_asks_for_nothing_and_gets_the_same(tmp_path: Path) -> None:
    first, second = Fake(), Fake()
    asked = [request("a"), request("b"), request("b", temperature=1.0, seed=3)]
    before = client(first, tmp_path).ask(asked)
    estimate = client(second, tmp_path).estimate([*asked, request("c")])
    after = client(second, tmp_path).ask(asked)
    assert len(first.bodies) == 3 and second.bodies == []
    assert texts(before) == texts(after) and all(r.cached for r in after)  # type: ignore[union-attr]
    assert (estimate.requests, estimate.cached, estimate.completion_tokens) == (4, 3, 1024)
    assert "at most" in str(estimate)


def test_a_torn_reply_is_asked_for_again(tmp_path: Path) -> None:
    client(Fake(), tmp_path).ask([request("a")])
    (file,) = tmp_path.rglob("*.json")
    file.write_text(file.read_text()[:20])
    fake = Fake()
    assert texts(client(fake, tmp_path).ask([request("a")])) == ["A"] and len(fake.bodies) == 1


def test_what_passes_is_tried_again_and_the_pause_is_the_servers() -> None:
    fake = Fake(
        UnreachableError("unreachable: refused"),
        Response(status=429, body=b"", retry_after=7.0),
        Response(status=503, body=b"", retry_after=9999.0),
        Response(status=200, body=b"not json"),
    )
    assert texts(client(fake).ask([request("a")])) == ["A"]
    assert fake.waits == [1.0, 7.0, 60.0, 8.0]


def test_what_does_not_pass_is_a_failure_with_its_reason_and_not_a_text() -> None:
    fake = Fake(*[Response(status=500, body=b"")] * 3)
    (failure,) = client(fake, tries=3).ask([request("a")])
    assert isinstance(failure, ChatFailure) and "HTTP 500, 3 times" in failure.reason
    null = Fake(*[Response(status=200, body=completion(None))] * 2)
    (failure,) = client(null, tries=2).ask([request("a")])
    assert isinstance(failure, ChatFailure) and "no completion" in failure.reason


def test_a_refusal_is_the_users_to_mend_and_no_server_is_missing() -> None:
    with pytest.raises(InputError, match=r"HTTP 401.*bad key"):
        client(Fake(Response(status=401, body=b"bad key"))).ask([request("a")])
    with pytest.raises(MissingError, match="OPENAI_BASE_URL"):
        client(Fake(*[UnreachableError("unreachable: x")] * 9), tries=2, parallel=1).ask(
            [request("a")]
        )


def test_one_refused_request_is_a_failure_in_its_place_also_where_the_others_are_cached(
    tmp_path: Path,
) -> None:
    long, short = request("long"), request("short")

    def run(fake: Fake) -> list[Any]:
        asked = client(fake, tmp_path, parallel=1)
        return [asked.ask(batch)[-1] for batch in ([short], [long])]

    refused = Response(status=400, body=b"too long")
    first, second = run(Fake(*[None, refused])), run(Fake(refused))  # type: ignore[list-item]
    for reply, failure in (first, second):
        assert reply.text == "SHORT" and "HTTP 400: too long" in failure.reason
    with pytest.raises(InputError, match="too long"):
        client(Fake(refused, refused)).ask([long, short])


def test_no_address_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(MissingError, match="OPENAI_BASE_URL"):
        Server.from_env("m")


def test_a_bound_stops_the_run_and_keeps_what_came(tmp_path: Path) -> None:
    fake = Fake()
    bounded = client(fake, tmp_path, parallel=1, max_tokens=40)  # 15 tokens a reply
    with pytest.raises(GuardRail, match="used 45 tokens"):
        bounded.ask([request(str(n)) for n in range(10)])
    assert len(fake.bodies) == 3 == len(list(tmp_path.rglob("*.json")))
    assert bounded.cost == pytest.approx((30 * 1 + 15 * 2) / 1e6)
    dear = client(Fake(), parallel=1, max_cost=1e-5)
    with pytest.raises(GuardRail, match="cost"):
        dear.ask([request(str(n)) for n in range(10)])


def test_bounds_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match="parallel = 0"):
        ChatLimits(parallel=0)


class Handler(BaseHTTPRequestHandler):
    """Refuses once with a pause, then replies; remembers the key."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.seen.append((self.path, self.headers.get("Authorization"), body))
        data = completion("four") if len(server.seen) > 1 else b"busy"
        self.send_response(200 if len(server.seen) > 1 else 429)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def test_a_real_server_is_asked_by_the_protocol(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1/")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    (reply,) = ChatClient(Server.from_env("m")).ask([request("2 + 2?")])
    assert reply == ChatReply(text="four", prompt_tokens=10, completion_tokens=5, finish="stop")
    path, key, body = server.seen[-1]  # type: ignore[attr-defined]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert body["messages"][-1] == {"role": "user", "content": "2 + 2?"}


def test_an_address_that_is_none_is_named() -> None:
    for url in ("localhost:80", "file:///etc/passwd", "no address"):
        with pytest.raises((InputError, MissingError)):
            ChatClient(Server("m", url), limits=ChatLimits(tries=1)).ask([request("a")])
