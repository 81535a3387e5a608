"""The flags that say what to search, shared by `retrieve`, `serve-search`, `index` and `eval`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forethought.tools.retrievers import SearchSource


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """--encoder."""
    parser.add_argument(
        "--encoder",
        default="",
        metavar="MODEL",
        help="dense, hybrid: a model of sentence-transformers, or package.module:Class (default: "
        "that of the index, else intfloat/e5-base-v2)",
    )


def add_search(parser: argparse.ArgumentParser, *, address: bool = True) -> None:
    """--retriever, --index and --encoder."""
    parser.add_argument(
        "--retriever",
        default="bm25",
        metavar="NAME",
        help="bm25 (default), dense, hybrid (both, fused by rank)"
        + (", or the URL of a /retrieve server" if address else ""),
    )
    parser.add_argument(
        "--index", metavar="DIR", help="folder of `forethought index` (default: in memory)"
    )
    add_encoder(parser)


def source_of(args: argparse.Namespace) -> SearchSource:
    """What the flags name."""
    from forethought.tools.retrievers import SearchSource

    return SearchSource(
        corpus=args.corpus,
        retriever=args.retriever,
        index=getattr(args, "index", None),
        encoder=args.encoder,
    )
