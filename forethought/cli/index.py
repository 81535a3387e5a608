"""`forethought index --corpus C --out DIR`: a corpus indexed once, mapped from disk ever after."""

from __future__ import annotations

import argparse
import json

from forethought.cli._search import add_encoder, source_of

HELP = "Index a corpus on disk, for retrieve, serve-search and eval (--index DIR)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--corpus", required=True, help='rows {"id","title","text"}')
    parser.add_argument(
        "--retriever",
        default="bm25",
        metavar="NAME",
        help="bm25 (default), dense, or hybrid for both",
    )
    add_encoder(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the index")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Builds the index and says what is in it."""
    from forethought.files import make_folder
    from forethought.tools.retrievers import build_index, check_name

    check_name(args.retriever)
    num = build_index(source_of(args), make_folder(args.out, "--out"))
    if args.json:
        print(json.dumps({"documents": num, "retriever": args.retriever, "index": args.out}))
    else:
        print(f"{num} documents indexed for {args.retriever} in {args.out}")
    return 0
