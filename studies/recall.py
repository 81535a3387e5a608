"""How many of the gold pages does one search find, and how many could an agent find at best?

    python studies/recall.py 2wiki:FILE hotpotqa:FILE musique:FILE [--encoder MODEL] --json FILE

The paragraphs of all rows make one pooled corpus, each page once. `question`: the question of the
task is the only query. `hops`: an oracle asks for one gold hop after another with the true answers
of the earlier ones filled in (a sub-question, subject and relation of a triple, or, where a set has
neither, the title of the gold page), and its finds are put together: the ceiling of an agent that
sees k pages a search. Recall@k is the share of a task's gold pages among what was found, `all` the
share of tasks with every one of them; intervals resample tasks. Development rows only: no row is
trained on and nothing is chosen here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forethought.data.benchmark_rows import documents_of
from forethought.data.benchmarks import read_benchmark
from forethought.data.hops import Hop, filled, hops_of, with_hops
from forethought.stats.bootstrap import Draws, interval, task_counts
from forethought.tools.dense import DenseRetriever, make_encoder
from forethought.tools.fusion import FusedRetriever
from forethought.tools.retrieval import BM25Retriever, Document, Retriever
from forethought.types import Task

DEPTHS = (1, 3, 10)
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A task with its gold pages and the queries of both ways."""

    set: str
    task: str
    gold: frozenset[str]  # ids of pages
    queries: dict[str, tuple[str, ...]]  # by way


def oracle_query(hop: Hop, answers: Sequence[str]) -> str:
    """What one asks who knows the hop and the answers of those before it."""
    if hop.question:
        return filled(hop.question, answers)
    return f"{hop.names[0]} {hop.relation}".strip()


def asked(name: str, task: Task) -> Asked:
    """The queries of a task."""
    hops = hops_of(with_hops(task))
    answers = [hop.answer for hop in hops]
    return Asked(
        set=name,
        task=task.id,
        gold=frozenset(
            fact["paragraph"] for fact in task.columns.get("supporting", ()) if fact["paragraph"]
        ),
        queries={
            "question": (task.question,),
            "hops": tuple(oracle_query(hop, answers) for hop in hops),
        },
    )


def read(entries: Iterable[str]) -> tuple[list[Asked], list[Document]]:
    """Development tasks with gold pages, and the pages of all rows, each once."""
    tasks: list[Asked] = []
    pages: dict[str, Document] = {}
    for entry in entries:
        name, _, file = entry.partition(":")
        for task in read_benchmark(name, path=file or None):
            for page in documents_of(task):
                pages.setdefault(page.id, page)
            row = asked(name, task)
            if task.split == "val" and row.gold:
                tasks.append(row)
    return tasks, list(pages.values())


def found_pages(retriever: Retriever, tasks: Sequence[Asked], way: str) -> list[list[list[str]]]:
    """For each task and query the ids of the first pages, best first."""
    queries = [query for task in tasks for query in task.queries[way]]
    hits = iter(retriever.search_all(queries, max(DEPTHS)))
    return [[[hit.id for hit in next(hits)] for _ in task.queries[way]] for task in tasks]


def share_found(gold: frozenset[str], found: Sequence[Sequence[str]], k: int) -> float:
    """The share of the gold pages among the first `k` of any query."""
    return len(gold & {page for ranked in found for page in ranked[:k]}) / len(gold)


def rows(
    name: str, way: str, tasks: Sequence[Asked], pages: Sequence[Sequence[Sequence[str]]]
) -> list[dict[str, Any]]:
    """A row for each set and depth."""
    made = []
    for benchmark in dict.fromkeys(task.set for task in tasks):
        chosen = [n for n, task in enumerate(tasks) if task.set == benchmark and pages[n]]
        counts_RT = task_counts(len(chosen), RESAMPLES, seed=0)
        for k in DEPTHS:
            shares_T = np.array([share_found(tasks[n].gold, pages[n], k) for n in chosen])
            figures = {"recall": shares_T, "all": (shares_T == 1.0).astype(float)}
            row: dict[str, Any] = {"set": benchmark, "retriever": name, "way": way, "k": k}
            for metric, values_T in figures.items():
                draws = counts_RT @ values_T / max(1, len(chosen))
                mean = float(values_T.mean()) if chosen else float("nan")
                row[metric] = asdict(interval(Draws(point=mean, values_R=draws, n=len(chosen))))
            made.append(row)
    return made


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown: recall@k, with every gold page behind the stroke."""
    keys = dict.fromkeys(
        (row["set"], row["way"], row["retriever"], row["recall"]["n"]) for row in found
    )
    lines = ["| set | asked | retriever | n | " + " | ".join(f"@{k}" for k in DEPTHS) + " |"]
    lines.append("|---" * (4 + len(DEPTHS)) + "|")
    for key in keys:
        cells = [
            f"{row['recall']['value']:.3f} / {row['all']['value']:.3f}"
            for row in found
            if (row["set"], row["way"], row["retriever"], row["recall"]["n"]) == key
        ]
        lines.append("| " + " | ".join([*map(str, key), *cells]) + " |")
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Measures, prints the table and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME:FILE")
    parser.add_argument("--encoder", help="of sentence-transformers; without it BM25 alone")
    parser.add_argument("--json", required=True, metavar="FILE")
    args = parser.parse_args(words)
    tasks, pages = read(args.sets)
    lexical = BM25Retriever(pages)
    retrievers: dict[str, Retriever] = {"bm25": lexical}
    if args.encoder:
        dense = DenseRetriever.of(pages, make_encoder(args.encoder))
        retrievers |= {"dense": dense, "hybrid": FusedRetriever(lexical, dense)}
    found = [
        row
        for way in ("question", "hops")
        for name, retriever in retrievers.items()
        for row in rows(name, way, tasks, found_pages(retriever, tasks, way))
    ]
    found.sort(key=lambda row: row["set"])  # stable
    print(f"{len(pages)} pages\n{table(found)}")
    document = {"pages": len(pages), "encoder": args.encoder, "rows": found}
    Path(args.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
