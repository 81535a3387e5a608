"""How much time and memory does BM25 take at 30,000, 100,000 and a million passages?

    python benchmarks/retrieval.py [--quick] --json FILE [--corpus C.jsonl]

Ours is the index of `forethought index`: built in parts, mapped, documents read on demand. Peers
are measured where they can be imported: bm25s by itself (numpy, and numba) from the same tokens,
and tantivy with its own tokens. Each build and each serving process is a child of its own, so that
its peak memory is its own. Times are CPU seconds of that child: a busy machine changes them little.
A ratio is peer / ours; above 1 ours takes less. `same_first` is the share of queries with the same
first hit as ours, `same_top` of those with the same first three, ties for the last place aside
(tantivy splits words and weighs them otherwise). `--questions` takes queries from a tasks.jsonl.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
from measured import exponent, peak_mb, private_mb, ratio, spread, write

from forethought.data.corpora import read_corpus
from forethought.tools.bm25_index import build_bm25, open_bm25
from forethought.tools.retrieval import page_tokens, tokens

SIZES = (30_000, 100_000, 1_000_000)
WORDS = 500_000  # of the generated language
MEMORY_MB = 4096  # what a million passages must be built and served in
K = 3
MEASURES = {
    "build": "CPU s",
    "open": "CPU s",
    "query": "CPU ms a query",
    "build_memory": "MB, peak",
    "serve_memory": "MB, peak, mapped pages that were touched included",
    "serve_private": "MB, not mapped from files",
    "disk": "MB",
}


def generate(path: Path, num: int, seed: int = 0) -> None:
    """Passages of 60 to 139 words, frequencies by the law of Zipf and Mandelbrot."""
    draw = np.random.default_rng(seed)
    weights = 1 / (np.arange(WORDS) + 2.7)
    edges = np.cumsum(weights / weights.sum())
    words = np.array([f"w{n:x}" for n in range(WORDS)], dtype=object)
    with path.open("w", encoding="utf-8") as stream:
        for n in range(num):
            ids = np.searchsorted(edges, draw.random(int(draw.integers(60, 140)))).clip(
                0, WORDS - 1
            )
            text = " ".join(words[ids])
            row = {"id": str(n), "title": f"{words[ids[0]]} {words[ids[-1]]}", "text": text}
            stream.write(json.dumps(row) + "\n")


def first_lines(corpus: Path, num: int, path: Path) -> None:
    """The first `num` passages of a corpus that was given."""
    with corpus.open("rb") as source, path.open("wb") as target:
        written = sum(target.write(line) > 0 for line in itertools.islice(source, num))
    if written < num:
        raise SystemExit(f"{corpus}: fewer than {num} lines")


def write_corpus(given: str | None, num: int, path: Path) -> None:
    """The first passages of a corpus that was given, else made ones."""
    first_lines(Path(given), num, path) if given else generate(path, num)


def queries_of(questions: str | None, corpus: Path, num: int) -> list[str]:
    """The first questions of a tasks.jsonl that was given, else words of the corpus."""
    if not questions:
        return made_queries(corpus, num)
    lines = Path(questions).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines[:num]]


def made_queries(corpus: Path, num: int) -> list[str]:
    """Six neighbouring words of passages spread over the corpus."""
    with corpus.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        found = []
        for n in range(num):
            stream.seek(n * size // (num + 1))
            stream.readline()
            text = tokens(json.loads(stream.readline() or b'{"text": "w1 w2"}')["text"])
            start = (n * 7) % max(1, len(text) - 6)
            found.append(" ".join(text[start : start + 6]))
    return found


class Ours:
    """The index of this package."""

    def build(self, corpus: str, folder: Path) -> None:
        """Indexes the corpus."""
        build_bm25(corpus, folder)

    def open(self, corpus: str, folder: Path) -> Any:
        """A function from a query to the ids and scores of its hits."""
        retriever = open_bm25(corpus, folder)
        return lambda query: [[hit.id, hit.score] for hit in retriever.search(query, K)]


class Bm25s:
    """The library as it is, from token ids; ids of documents are their positions."""

    backend = "numpy"

    def build(self, corpus: str, folder: Path) -> None:
        """Indexes the corpus."""
        import bm25s

        known: dict[str, int] = {}
        ids = [
            [known.setdefault(token, len(known)) for token in page_tokens(page)]
            for _, page in read_corpus(corpus)
        ]
        index = bm25s.BM25(backend=self.backend)
        index.index((ids, known), create_empty_token=False, show_progress=False)
        index.save(folder, show_progress=False)

    def open(self, corpus: str, folder: Path) -> Any:
        """A function from a query to the ids and scores of its hits."""
        import bm25s

        index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
        names = [page.id for _, page in read_corpus(corpus)]

        def search(query: str) -> list[str]:
            words = [index.vocab_dict[word] for word in tokens(query) if word in index.vocab_dict]
            options = {"k": K, "show_progress": False, "backend_selection": self.backend}
            found = index.retrieve([words], **options)
            pairs = zip(found.documents[0], found.scores[0], strict=True)
            return [[names[int(i)], float(score)] for i, score in pairs if score > 0]

        return search


class Bm25sNumba(Bm25s):
    """The library compiled by numba."""

    backend = "numba"


class Tantivy:
    """A search engine in Rust: positions off, one indexing thread."""

    def build(self, corpus: str, folder: Path) -> None:
        """Indexes the corpus."""
        import tantivy

        builder = tantivy.SchemaBuilder()
        builder.add_text_field("body", stored=False, index_option="freq")
        builder.add_text_field("name", stored=True, tokenizer_name="raw")
        folder.mkdir()
        index = tantivy.Index(builder.build(), path=str(folder))
        writer = index.writer(heap_size=128 << 20, num_threads=1)
        for _, page in read_corpus(corpus):
            writer.add_document(tantivy.Document(body=f"{page.title} {page.text}", name=page.id))
        writer.commit()
        writer.wait_merging_threads()

    def open(self, corpus: str, folder: Path) -> Any:
        """A function from a query to the ids and scores of its hits."""
        import tantivy

        index = tantivy.Index.open(str(folder))
        index.reload()
        searcher = index.searcher()

        def search(query: str) -> list[str]:
            parsed = index.parse_query(" ".join(tokens(query)), ["body"])  # no phrases
            hits = searcher.search(parsed, K).hits
            return [[searcher.doc(address)["name"][0], score] for score, address in hits]

        return search


ENGINES: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "forethought": (Ours, ()),
    "bm25s": (Bm25s, ("bm25s",)),
    "bm25s-numba": (Bm25sNumba, ("bm25s", "numba")),
    "tantivy": (Tantivy, ("tantivy",)),
}


def child(engine: str, step: str, corpus: str, folder: Path, asked: list[str]) -> dict[str, Any]:
    """One step of one engine, measured in this process."""
    made = ENGINES[engine][0]()
    began = time.process_time()
    if step == "build":
        made.build(corpus, folder)
        disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        spent = time.process_time() - began
        return {"build": spent, "build_memory": peak_mb(), "disk": disk / 1e6}
    search = made.open(corpus, folder)
    opened = time.process_time() - began
    search(asked[0])  # not counted: numba compiles here
    began = time.process_time()
    hits = [search(query) for query in asked]
    spent = (time.process_time() - began) / len(asked) * 1000
    memory = {"serve_memory": peak_mb(), "serve_private": private_mb()}
    return {"open": opened, "query": spent, **memory, "hits": hits}


def measure(engine: str, corpus: Path, asked: Path) -> dict[str, Any]:
    """Everything about one engine at one size; `asked` holds the queries."""
    run: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=corpus.parent) as scratch:
        for step in ("build", "serve"):
            words = [sys.executable, __file__, "--child", engine, step, str(corpus)]
            words += [str(Path(scratch) / "bm25"), str(asked)]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
            run |= json.loads(done.stdout.splitlines()[-1])
    return run


def rows(
    size: int, ours: list[dict[str, Any]], peers: dict[str, list[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """A row a measure and peer; without any peer, a row a measure."""
    for measure_name, unit in MEASURES.items():
        mine = [run[measure_name] for run in ours if run[measure_name] is not None]
        if not mine:
            continue
        base: dict[str, Any] = {
            "x": {"passages": size, "measure": measure_name},
            "ours": spread(mine, unit),
        }
        if "memory" in measure_name:
            share = round(max(mine) / MEMORY_MB, 4)
            base["limit"] = {"what": "memory, MB", "value": MEMORY_MB, "share": share}
        if not peers:
            yield base
        for name, runs in peers.items():
            theirs = [run[measure_name] for run in runs]  # as many as ours: the same system
            pairs = list(zip(ours[0]["hits"], runs[0]["hits"], strict=True))
            peer = {
                **spread(theirs, unit),
                "name": name,
                "version": metadata.version(ENGINES[name][1][-1]),
            }
            yield {
                **base,
                "peer": peer,
                "ratio": ratio(theirs, mine),
                "same_first": round(statistics.mean(same_first(a, b) for a, b in pairs), 4),
                "same_top": round(statistics.mean(same_top(a, b) for a, b in pairs), 4),
            }


def same_first(mine: list[list[Any]], theirs: list[list[Any]]) -> bool:
    """Whether the first hits of two lists of [id, score] are one page."""
    return [hit[0] for hit in mine[:1]] == [hit[0] for hit in theirs[:1]]


def same_top(mine: list[list[Any]], theirs: list[list[Any]]) -> bool:
    """Whether two ranked lists of [id, score] have the same ids, ties for the last place aside."""
    if len(mine) != len(theirs) or not mine:
        return mine == theirs
    if {hit[0] for hit in mine} == {hit[0] for hit in theirs}:
        return True
    (_, a), (_, b) = mine[-1], theirs[-1]
    tied = abs(a - b) <= 1e-5 * abs(a)
    return tied and _above(mine) == _above(theirs)


def _above(hits: list[list[Any]]) -> set[str]:
    """Ids of the hits with a higher score than the last one."""
    return {name for name, score in hits if score > hits[-1][1] * (1 + 1e-5)}


def growth(found: list[dict[str, Any]], side: str) -> float | None:
    """Slope of log build time over log passages, over the first peer's rows."""
    builds = [row for row in found if row["x"]["measure"] == "build" and side in row]
    names = [row.get("peer", {}).get("name") for row in builds]
    points = [
        (row["x"]["passages"], row[side]["median"])
        for row, name in zip(builds, names, strict=True)
        if name == names[0]
    ]
    return exponent(points)


def main(words: list[str]) -> int:
    if words[:1] == ["--child"]:
        engine, step, corpus, folder, asked = words[1:]
        queries = json.loads(Path(asked).read_text())
        print(json.dumps(child(engine, step, corpus, Path(folder), queries)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{SIZES[0]} passages only, once")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--corpus", metavar="C", help="its first passages instead of made ones")
    parser.add_argument("--sizes", help="numbers of passages, such as 30000,100000")
    parser.add_argument("--repeats", type=int, help="default 3; 1 with --quick")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--questions", metavar="T", help="a tasks.jsonl whose questions are asked")
    parser.add_argument("--peers", help="some of bm25s,bm25s-numba,tantivy (default: all here)")
    args = parser.parse_args(words)
    sizes = (
        tuple(map(int, args.sizes.split(","))) if args.sizes else SIZES[:1] if args.quick else SIZES
    )
    repeats = args.repeats or (1 if args.quick else 3)
    wanted = list(ENGINES)[1:] if args.peers is None else [x for x in args.peers.split(",") if x]
    names = [x for x in wanted if all(util.find_spec(need) for need in ENGINES[x][1])]
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            corpus = Path(scratch) / f"{size}.jsonl"
            write_corpus(args.corpus, size, corpus)
            queries = Path(scratch) / "queries.json"
            queries.write_text(json.dumps(queries_of(args.questions, corpus, args.queries)))
            runs: dict[str, list[dict[str, Any]]] = {}
            for repeat in range(repeats):  # the sides take turns: a busy hour is shared by all
                for engine in ("forethought", *names):
                    print(f"{size} passages, {repeat + 1}: {engine}", file=sys.stderr)
                    runs.setdefault(engine, []).append(measure(engine, corpus, queries))
            found += rows(size, runs.pop("forethought"), runs)
            corpus.unlink()
    slopes = {"ours": growth(found, "ours"), "peer": growth(found, "peer")}
    more = {"exponent": slopes} if slopes["ours"] is not None else {}
    write(args.json, __doc__.splitlines()[0], found, **more)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
