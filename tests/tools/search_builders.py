"""A little corpus, an encoder without weights, and servers that behave and that do not."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from forethought.data.corpora import save_corpus
from forethought.tools.retrieval import Document, tokens
from forethought.tools.search_server import SearchServer

ENCODER = "tests.tools.search_builders:WordEncoder"
PAGES = (
    Document(id="ada", title="Ada Lovelace", text="She wrote programs\nfor an engine."),
    Document(id="lamp", title="", text="A lamp gives light."),
    Document(id="kiln", title="Kiln", text="A kiln is hot; a lamp is warm."),
    Document(id="tea", title="Th\u00e9", text="\u8336 \u0447\u0430\u0439 th\u00e9 tea, \U0001f375"),
    Document(id="twin1", title="Twin", text="equal words here"),
    Document(id="twin2", title="Twin", text="equal words here"),
    Document(id="twin3", title="Twin", text="equal words here"),
)
QUERIES = ("lamp", "Ada's engine", "equal words", "th\u00e9 \u8336", "a lamp is hot", "zebra", "")


class WordEncoder:
    """Sums a fixed random vector a word: texts that share words are near."""

    def encode(self, texts: Sequence[str], *, query: bool) -> Any:
        rows = [sum((self._word(word) for word in tokens(text)), self._word("")) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    def _word(self, word: str) -> Any:
        return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(64)


def corpus_file(folder: Path, pages: Sequence[Document] = PAGES) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    save_corpus(folder / "corpus.jsonl", pages)
    return str(folder / "corpus.jsonl")


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """Serves in a thread; gives the address."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.close(5.0) if isinstance(server, SearchServer) else server.shutdown()
        server.server_close()
        thread.join(5)


Reply = Callable[[BaseHTTPRequestHandler], None]


def say(status: int, body: bytes, **headers: str) -> Reply:
    """An ordinary response; `Content_Length="9"` tells another length than the true one."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        told = {"Content_Length": str(len(body)), **headers}
        for name, value in told.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def result(*rows: Sequence[tuple[str, float]]) -> bytes:
    """A right response; each hit is (contents, score)."""
    lists = [
        [{"document": {"id": n, "contents": text}, "score": s} for n, (text, s) in enumerate(row)]
        for row in rows
    ]
    return json.dumps({"result": lists}).encode()


class _Scripted(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            number = len(server.seen)
            server.seen.append((self.path, json.loads(body)))
        server.replies[min(number, len(server.replies) - 1)](self)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


class _Quiet(ThreadingHTTPServer):
    """Clients give up on it, and that is nothing to print."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silence."""


def scripted(*replies: Reply) -> Any:
    """A server that gives these replies in turn, the last one ever after; `seen` has requests."""
    server: Any = _Quiet(("127.0.0.1", 0), _Scripted)
    server.replies, server.seen, server.lock = replies, [], threading.Lock()
    return server
