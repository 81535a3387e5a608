"""`forethought tasks NAME --out DIR`: a public set as tasks.jsonl and, for search, corpus.jsonl."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from forethought.cli._args import positive

if TYPE_CHECKING:
    from forethought.tools.retrieval import Document
    from forethought.types import Task

HELP = (
    "Write a public set of questions or problems as tasks.jsonl and, where it brings paragraphs, "
    "corpus.jsonl of all of them, each once, under the ids that the gold facts of the tasks name."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("name", help="one of `forethought list benchmarks`")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="its rows as published or as a tasks.jsonl: .jsonl, .json or .tsv, plain or .gz "
        "(default: the folder FORETHOUGHT_DATA, then the Hugging Face hub)",
    )
    parser.add_argument(
        "--split",
        choices=["train", "val", "test"],
        help="only this split; default: all. A file that states no split is of this one, else test",
    )
    parser.add_argument("--num", type=positive, help="the first NUM tasks (default: all)")
    parser.add_argument("--out", required=True, help="folder for tasks.jsonl and corpus.jsonl")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")


def run(args: argparse.Namespace) -> int:
    """Writes the files and prints what is in them."""
    from forethought.data.benchmarks import BENCHMARKS, read_benchmark
    from forethought.data.corpora import save_corpus
    from forethought.data.tasks import save_tasks
    from forethought.files import make_folder

    folder = make_folder(args.out, "--out")
    left_out: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    pool: dict[str, Document] = {}
    found = read_benchmark(args.name, split=args.split, path=args.source, left_out=left_out)
    save_tasks(folder / "tasks.jsonl", _pooled(islice(found, args.num), splits, pool))
    if pool:
        save_corpus(folder / "corpus.jsonl", pool.values())
    counts = {
        "name": args.name,
        "tasks": splits.total(),
        "splits": dict(splits),
        "documents": len(pool),
        "left_out": dict(left_out),
        "out": str(folder),
    }
    if args.json:
        print(json.dumps(counts))
        return 0
    named = ", ".join(f"{number} {split}" for split, number in splits.items())
    print(f"{folder / 'tasks.jsonl'}: {splits.total()} tasks ({named})")
    if pool:
        print(f"{folder / 'corpus.jsonl'}: {len(pool)} documents")
    for reason, number in left_out.items():
        print(f"left out: {number} rows {reason}", file=sys.stderr)
    if not pool:
        if BENCHMARKS[args.name].kind == "qa":
            print("the set brings no paragraphs: search it in a corpus of yours", file=sys.stderr)
        _warn_of_old(folder / "corpus.jsonl")
    return 0


def _pooled(
    tasks: Iterator[Task], splits: Counter[str], pool: dict[str, Document]
) -> Iterator[Task]:
    """The tasks as they come, counted, their paragraphs gathered once each."""
    from forethought.data.benchmark_rows import documents_of

    for task in tasks:
        splits[task.split] += 1
        for page in documents_of(task):
            assert pool.setdefault(page.id, page) == page, "two paragraphs with one id"
        yield task


def _warn_of_old(corpus: Path) -> None:
    if corpus.exists():
        print(f"{corpus} is of an earlier command", file=sys.stderr)
