"""`forethought serve-search --corpus C`: one index for many workers, by Search-R1's protocol."""

from __future__ import annotations

import argparse
import sys

from forethought.cli._args import natural, positive
from forethought.cli._search import add_search, source_of
from forethought.errors import InputError

HELP = "Serve a corpus by the /retrieve protocol of Search-R1; SIGINT or SIGTERM stops it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--corpus", required=True, help='rows {"id","title","text"}')
    add_search(parser, address=False)
    parser.add_argument("--host", default="127.0.0.1", help="address (default 127.0.0.1: this one)")
    parser.add_argument("--port", type=natural, default=8000, help="default 8000; 0: a free one")
    parser.add_argument("--k", type=positive, default=3, help="hits where none is said (default 3)")


def run(args: argparse.Namespace) -> int:
    """Prints the address once searches are answered, and serves until it is stopped."""
    from forethought.tools.retrievers import check_name, open_retriever
    from forethought.tools.search_server import SearchServer, ServerLimits, serve_until_stopped

    check_name(args.retriever)
    limits = ServerLimits(topk=args.k)
    if args.k > limits.max_topk:
        raise InputError(
            "--k",
            got=str(args.k),
            expected=f"at most {limits.max_topk}",
            next_step="lower the number",
        )
    server = SearchServer(open_retriever(source_of(args)), args.host, args.port, limits)
    done = serve_until_stopped(server, lambda: print(server.url, flush=True))
    print("stopped" if done else "stopped; some requests were left", file=sys.stderr)
    return 0 if done else 1
