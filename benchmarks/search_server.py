"""How long do 64 clients wait for one search server, and is every answer right?

    python benchmarks/search_server.py [--quick] --json FILE [--corpus C.jsonl --questions T.jsonl]

`forethought serve-search` runs as a process over a mapped index. N clients, one thread each, ask
again as soon as they have their answer, by the client that environments use; each answer is
compared with a search in this process. Waits are wall milliseconds of one request with one query,
so they say something on an idle machine only; the clients share its cores. The CPU seconds of the
server beside them do not depend on that; `search_cpu_ms` is the same search in one thread without a
server.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from measured import spread, write
from retrieval import queries_of, write_corpus

from forethought.tools.bm25_index import build_bm25, open_bm25
from forethought.tools.remote import RemoteRetriever
from forethought.tools.retrieval import Hit

CLIENTS = (1, 8, 64)
PASSAGES = 100_000
K = 3


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def ask_all(
    url: str, clients: int, requests: int, queries: list[str], expected: list[list[Hit]]
) -> tuple[list[float], int, float]:
    """Waits in seconds, how many answers were wrong, and how long it took in all."""
    together = threading.Barrier(clients + 1)

    def client(number: int) -> tuple[list[float], int]:
        retriever, waits, wrong = RemoteRetriever(url), [], 0
        together.wait()
        for step in range(requests):
            n = (number * 7919 + step) % len(queries)
            began = time.perf_counter()
            hits = retriever.search(queries[n], K)
            waits.append(time.perf_counter() - began)
            wrong += hits != expected[n]
        return waits, wrong

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client, number) for number in range(clients)]
        together.wait()
        began = time.perf_counter()
        found = [each.result() for each in running]
        took = time.perf_counter() - began
    return [wait for waits, _ in found for wait in waits], sum(w for _, w in found), took


def rows(
    server: subprocess.Popen[str], url: str, total: int, queries: list[str], folder: Path
) -> list[dict[str, Any]]:
    """A row for each number of clients."""
    corpus = str(folder / "corpus.jsonl")
    local = open_bm25(corpus, folder / "index" / "bm25")
    expected = [local.search(query, K) for query in queries]
    began = time.process_time()
    for query in queries:
        local.search(query, K)
    alone = (time.process_time() - began) / len(queries)
    made = []
    for clients in CLIENTS:
        before = cpu_seconds(server.pid)
        waits, wrong, took = ask_all(url, clients, max(1, total // clients), queries, expected)
        spent = (cpu_seconds(server.pid) - before) / len(waits)
        low, p95, p99 = np.percentile(waits, [50, 95, 99]) * 1000
        made.append(
            {
                "x": {"clients": clients, "requests": len(waits), "k": K},
                "ours": spread([wait * 1000 for wait in waits], "ms a request, wall"),
                "p50_ms": round(float(low), 2),
                "p95_ms": round(float(p95), 2),
                "p99_ms": round(float(p99), 2),
                "wrong": wrong,
                "requests_per_s": round(len(waits) / took, 1),
                "server_cpu_ms": round(spent * 1000, 3),
                "search_cpu_ms": round(alone * 1000, 3),
            }
        )
    return made


def main(words: list[str]) -> int:
    """Builds an index, serves it, asks and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few passages and requests")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--corpus", metavar="C", help="its first passages instead of made ones")
    parser.add_argument("--questions", metavar="T", help="a tasks.jsonl whose questions are asked")
    parser.add_argument("--passages", type=int, help=f"default {PASSAGES}; 2000 with --quick")
    args = parser.parse_args(words)
    size, total = args.passages or (2000 if args.quick else PASSAGES), 512 if args.quick else 6400
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = folder / "corpus.jsonl"
        write_corpus(args.corpus, size, corpus)
        build_bm25(str(corpus), folder / "index" / "bm25")
        queries = queries_of(args.questions, corpus, 1000)
        verb = ["serve-search", "--corpus", str(corpus), "--index", str(folder / "index")]
        command = [sys.executable, "-m", "forethought", *verb, "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            found = rows(server, server.stdout.readline().strip(), total, queries, folder)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    write(args.json, __doc__.splitlines()[0], found, passages=size)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
