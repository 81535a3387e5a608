"""Search over a corpus of documents: what every retriever offers, and BM25.

`BM25Retriever` leaves the scoring to bm25s (Lucene's variant of BM25: k1 1.5, b 0.75, idf
`log(1 + (N - n + 0.5) / (n + 0.5))`; Kamphuis et al., ECIR 2020) and adds what a seeded experiment
needs: its own plain tokens, and ties that fall in document order. The index is built from token ids
and queried by `get_scores_from_ids`, the library's path without progress bars, so that thousands of
little corpora can be built in a run (45 pages: 0.5 ms to index, 20 us to query on one core). A
corpus of real size is indexed once and mapped from disk: `forethought.tools.bm25_index`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from forethought.errors import InputError

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One page of a corpus."""

    id: str
    title: str  # "" = none; searched together with the text
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One search result."""

    id: str
    title: str
    text: str
    score: float  # higher is better; comparable inside one query only

    @classmethod
    def of(cls, page: Document, score: float) -> Hit:
        """A page that was found."""
        return cls(id=page.id, title=page.title, text=page.text, score=score)


class Pages(Protocol):
    """Documents by their position: a tuple in memory, or a file read on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Document: ...


class Retriever(Protocol):
    """Whatever can be searched: an index in memory or on disk, a dense index, a server.

    Safe to use from several threads. A blank query finds nothing.
    """

    def search(self, query: str, k: int) -> list[Hit]:
        """At most `k` hits, best first; lexical search leaves out pages without a common word."""
        ...

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The hits of each query, in order; a retriever that gains by it asks for all at once."""
        return [self.search(query, k) for query in queries]

    async def search_async(self, query: str, k: int) -> list[Hit]:
        """`search` inside an event loop, which a retriever that waits for others lets go on."""
        return self.search(query, k)


def tokens(text: str) -> list[str]:
    """Lower-case runs of letters and digits: no stemming, no stop words, the same everywhere."""
    return _WORD.findall(text.lower())


def split_contents(contents: str) -> tuple[str, str]:
    """Title and text of the `contents` of Search-R1: a first line, maybe in quotes, and the rest.

    One line alone is a text.
    """
    title, line, text = contents.partition("\n")
    if not line:
        return "", contents
    quoted = len(title) > 1 and title[0] == title[-1] == '"'
    return (title[1:-1] if quoted else title), text


def page_tokens(page: Document) -> list[str]:
    """What of a page can be found by BM25: the tokens of its title and its text."""
    return tokens(f"{page.title} {page.text}")


class BM25Retriever(Retriever):
    """BM25 over documents, in memory unless the index is handed in."""

    def __init__(self, documents: Pages, index: Any = None) -> None:
        """Builds the index over title and text of each document.

        Args:
            documents: the pages; a position in them is a position in the index.
            index: a `bm25s.BM25` of these documents with its vocabulary; None = one is built.

        Raises:
            InputError: there is no document.
        """
        if not len(documents):
            raise InputError(
                "corpus",
                got="no documents",
                expected="at least one document to search in",
                next_step="check the corpus file",
            )
        self._documents = documents
        self._vocabulary: dict[str, int] = {} if index is None else index.vocab_dict
        self._index = self._build() if index is None else index

    def _build(self) -> Any:
        import bm25s  # 0.2 s: only those who search pay for it

        known = self._vocabulary
        ids = [
            [known.setdefault(token, len(known)) for token in page_tokens(self._documents[i])]
            for i in range(len(self._documents))
        ]
        if not known:  # the library cannot index pages without a single word
            return None
        index = bm25s.BM25()
        index.index((ids, known), create_empty_token=False, show_progress=False)
        return index

    def search(self, query: str, k: int) -> list[Hit]:
        """At most `k` documents with a word of the query, best first, ties in document order."""
        known = self._vocabulary
        ids = [known[token] for token in tokens(query) if token in known]
        if not ids or k < 1:
            return []
        scores = self._index.get_scores_from_ids(ids)
        return [Hit.of(self._documents[i], float(scores[i])) for i in _found(scores, k)]


def best(scores: Any, k: int) -> Any:
    """Positions of the `k` highest of `scores` [N], best first, ties in order of position."""
    import numpy as np

    order = np.arange(len(scores))
    if len(scores) > 4 * k:  # sort only what can be among the best; equal scores all stay
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
        order = np.flatnonzero(scores >= bound)
    return order[np.argsort(-scores[order], kind="stable")[:k]]


def _found(scores: Any, k: int) -> list[int]:
    """The best positions among the scores above 0."""
    import numpy as np

    candidates = np.flatnonzero(scores > 0)
    return [int(i) for i in candidates[best(scores[candidates], k)]]
