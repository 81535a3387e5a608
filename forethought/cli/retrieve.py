"""`forethought retrieve --corpus C`: what the search tool would find for each query."""

from __future__ import annotations

import argparse

from forethought.cli._args import positive
from forethought.errors import InputError, MissingError
from forethought.jsonl import dumps, need, read_jsonl

HELP = "Search a corpus: {id, query} lines in, {id, hits: [{id, score}]} lines out."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("file", nargs="?", default="-", help="queries, or - (default)")
    parser.add_argument("--corpus", required=True, help='rows {"id","title","text"}')
    parser.add_argument("--k", type=positive, default=3, help="hits a query (default 3)")
    parser.add_argument("--retriever", default="bm25", help="bm25 (default)")
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON lines")


def run(args: argparse.Namespace) -> int:
    """Prints one line a query."""
    _check(args)
    from forethought.data.corpora import load_corpus
    from forethought.tools.retrieval import BM25Retriever

    retriever = BM25Retriever(load_corpus(args.corpus))
    where = "<stdin>" if args.file == "-" else args.file
    for line, row in read_jsonl(args.file):
        identity = need(row, "id", (str, int), where, line)
        hits = retriever.search(need(row, "query", str, where, line), args.k)
        shown = [{"id": hit.id, "score": round(hit.score, 6)} for hit in hits]
        print(dumps({"id": identity, "hits": shown}))
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.retriever == "dense" or args.retriever.startswith(("http://", "https://")):
        raise MissingError(
            f"retriever {args.retriever!r} (not in this version)", next_step="use --retriever bm25"
        )
    if args.retriever != "bm25":
        raise InputError(
            "--retriever",
            got=repr(args.retriever),
            expected="bm25",
            next_step="correct the name",
        )
