"""Two retrievers as one: reciprocal rank fusion.

score(d) = sum over retrievers of 1 / (60 + rank of d), ranks from 1, over the documents that either
of them found (Cormack, Clarke and Buettcher, SIGIR 2009, with their constant). Scores of different
retrievers need not be comparable: only ranks count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forethought.tools.retrieval import Hit, Retriever

CONSTANT = 60
DEPTH = 100
"""Ranks that are fused at least: what one retriever finds late, the other may find early."""


class FusedRetriever(Retriever):
    """Any two retrievers over the same corpus."""

    def __init__(self, first: Retriever, second: Retriever, *, depth: int = DEPTH) -> None:
        """Fuses two retrievers.

        Args:
            first: wins ties.
            second: the other one.
            depth: ranks that are fused, or `k` where that is more.
        """
        self._both = (first, second)
        self._depth = depth

    def search(self, query: str, k: int) -> list[Hit]:
        """As `search_all`, for one query."""
        return self.search_all([query], k)[0]

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits of each query by fused rank; ties in the order of the first one."""
        if k < 1:
            return [[] for _ in queries]
        depth = max(k, self._depth)
        first, second = (retriever.search_all(queries, depth) for retriever in self._both)
        return [fuse(a, b)[:k] for a, b in zip(first, second, strict=True)]


def fuse(*lists: Sequence[Hit]) -> list[Hit]:
    """All hits of ranked lists by the sum of their reciprocal ranks, best first."""
    scores: dict[str, float] = {}
    pages: dict[str, Hit] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (CONSTANT + rank)
            pages.setdefault(hit.id, hit)
    fused = [replace(page, score=scores[name]) for name, page in pages.items()]
    return sorted(fused, key=lambda hit: -hit.score)  # stable: ties in order of first sight
