"""`forethought retrieve --corpus C`: what the search tool would find for each query."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from forethought.cli._args import positive
from forethought.cli._search import add_search, source_of
from forethought.errors import MissingError
from forethought.jsonl import dumps, need, read_jsonl

HELP = "Search a corpus: {id, query} lines in, {id, hits: [{id, score}]} lines out."
_BATCH = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("file", nargs="?", default="-", help="queries, or - (default)")
    parser.add_argument("--corpus", help='rows {"id","title","text"}; needed unless a URL is named')
    parser.add_argument("--k", type=positive, default=3, help="hits a query (default 3)")
    add_search(parser)
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


def run(args: argparse.Namespace) -> int:
    """Prints one line a query."""
    from forethought.tools.remote import SearchFailedError
    from forethought.tools.retrievers import open_retriever

    retriever = open_retriever(source_of(args))
    # BM25 gains nothing by many queries at once, and a reader at the other end gets each at once.
    step = 1 if args.retriever == "bm25" else _BATCH
    for batch in _batches(_queries(args.file), step):
        try:
            found = retriever.search_all([query for _, query in batch], args.k)
        except SearchFailedError as error:
            raise MissingError(
                f"a result of the search server ({error})", next_step="look at the server's log"
            ) from error
        for (identity, _), hits in zip(batch, found, strict=True):
            shown = [{"id": hit.id, "score": round(hit.score, 6)} for hit in hits]
            print(dumps({"id": identity, "hits": shown}))
    return 0


def _queries(file: str) -> Iterator[tuple[Any, str]]:
    where = "<stdin>" if file == "-" else file
    for line, row in read_jsonl(file):
        yield need(row, "id", (str, int), where, line), need(row, "query", str, where, line)


def _batches(rows: Iterator[tuple[Any, str]], size: int) -> Iterator[list[tuple[Any, str]]]:
    batch: list[tuple[Any, str]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
