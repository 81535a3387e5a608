"""Servers for tests: a transport that a function writes for, and the same behind a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from forethought.chat.client import ChatClient, ChatLimits, Prices, Server
from forethought.chat.transport import Response

Body = dict[str, Any]
Write = Callable[[Body], "str | Response | Exception"]
"""The body of a request -> the text of its reply, or what comes in its place."""


def completion(text: str | None, finish: str = "stop", **usage: Any) -> Response:
    """A reply as servers send it: ten tokens in, one a word out, if nothing else is said."""
    counted = {"prompt_tokens": 10, "completion_tokens": len((text or "").split()), **usage}
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return Response(status=200, body=json.dumps({"choices": [choice], "usage": counted}).encode())


class FakeServer:
    """A transport; remembers what it was asked. `delay` says how long a body takes, in seconds."""

    def __init__(self, write: Write, delay: Callable[[Body], float] = lambda body: 0.0) -> None:
        self._write, self._delay, self._lock = write, delay, threading.Lock()
        self.bodies: list[Body] = []
        self.waits: list[float] = []

    def __call__(self, url: str, headers: dict[str, str], body: bytes, timeout: float) -> Response:
        row = json.loads(body)
        with self._lock:
            self.bodies.append(row)
        time.sleep(self._delay(row))
        said = self._write(row)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Response) else completion(said)

    def client(self, cache: Path | None = None, **limits: Any) -> ChatClient:
        """A client of it that never really waits."""
        return ChatClient(
            Server("m", "http://localhost:1/v1"),
            cache=cache,
            limits=ChatLimits(**limits),
            prices=Prices(prompt=1.0, completion=2.0),
            transport=self,
            sleep=self.waits.append,
        )


@contextmanager
def serving(write: Write) -> Iterator[tuple[str, FakeServer]]:
    """The fake behind a real socket of this machine: its address, and what it was asked."""
    fake = FakeServer(write)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            response = fake(self.path, {}, body, 1.0)
            self.send_response(response.status)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", fake
    finally:
        server.shutdown()
        server.server_close()
