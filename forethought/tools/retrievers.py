"""A retriever by its name: `bm25`, `dense`, `hybrid` (both, fused) or the address of a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forethought.data.corpora import load_corpus
from forethought.errors import InputError
from forethought.tools.bm25_index import build_bm25, open_bm25
from forethought.tools.dense import (
    DEFAULT_ENCODER,
    DenseRetriever,
    build_dense,
    make_encoder,
    open_dense,
)
from forethought.tools.fusion import FusedRetriever
from forethought.tools.remote import RemoteRetriever
from forethought.tools.retrieval import BM25Retriever, Retriever


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSource:
    """What to search, and how."""

    corpus: str | None = None  # a file; None only for a server
    retriever: str = "bm25"
    index: str | None = None  # folder of `forethought index`; None = in memory
    encoder: str = ""  # "" = that of the index, else `DEFAULT_ENCODER`

    @property
    def is_remote(self) -> bool:
        """Whether a server is searched."""
        return self.retriever.startswith(("http://", "https://"))


def _bm25(source: SearchSource, corpus: str) -> Retriever:
    if source.index is not None:
        return open_bm25(corpus, Path(source.index) / "bm25")
    return BM25Retriever(load_corpus(corpus))


def _dense(source: SearchSource, corpus: str) -> Retriever:
    if source.index is not None:
        return open_dense(corpus, Path(source.index) / "dense", source.encoder)
    encoder = make_encoder(source.encoder or DEFAULT_ENCODER)
    return DenseRetriever.of(load_corpus(corpus), encoder)


def _hybrid(source: SearchSource, corpus: str) -> Retriever:
    return FusedRetriever(_bm25(source, corpus), _dense(source, corpus))


RETRIEVERS: dict[str, Callable[[SearchSource, str], Retriever]] = {
    "bm25": _bm25,
    "dense": _dense,
    "hybrid": _hybrid,
}


def open_retriever(source: SearchSource) -> Retriever:
    """The retriever of a source, ready to be searched.

    Raises:
        InputError: an unknown name, options that do not fit together, a corpus or index that cannot
            be used.
        MissingError: an encoder or its package is not here.
    """
    if source.is_remote:
        for flag, value in (("--index", source.index), ("--encoder", source.encoder)):
            if value:
                raise InputError(
                    flag,
                    got=f"{value} for a server",
                    expected="an address alone: the server has its index",
                    next_step=f"drop {flag}",
                )
        return RemoteRetriever(source.retriever)
    check_name(source.retriever, or_address=True)
    if not source.corpus:
        raise InputError(
            "--corpus",
            got="none",
            expected=f"the file that --retriever {source.retriever} searches",
            next_step="add --corpus C, or name a server by --retriever URL",
        )
    return RETRIEVERS[source.retriever](source, source.corpus)


def check_name(name: str, *, or_address: bool = False) -> None:
    """Refuses what names no retriever.

    Raises:
        InputError: an unknown name.
    """
    if name not in RETRIEVERS:
        address = ", or an address such as http://localhost:8000" if or_address else ""
        raise InputError(
            "--retriever",
            got=repr(name),
            expected=f"one of {', '.join(RETRIEVERS)}{address}",
            next_step="correct the name",
        )


def build_index(source: SearchSource, out: Path) -> int:
    """Writes the index, or both for `hybrid`, below `out`; returns the number of documents.

    Raises:
        InputError: an unknown name, or a malformed or packed corpus.
        MissingError: an encoder or its package is not here.
    """
    check_name(source.retriever)
    corpus, num = source.corpus or "", 0
    if source.retriever in ("dense", "hybrid"):  # first, since an encoder may be missing
        num = build_dense(corpus, out / "dense", source.encoder or DEFAULT_ENCODER)
    if source.retriever in ("bm25", "hybrid"):
        num = build_bm25(corpus, out / "bm25")
    return num
