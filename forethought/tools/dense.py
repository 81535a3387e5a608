"""Dense search: passages and queries as vectors of one encoder, compared by inner product.

The encoder is any model of sentence-transformers, or a class of one's own. Search is exact: by
FAISS where it is installed, else by numpy, over the same vectors, in memory or mapped from disk.
Vectors have length 1, so a score is a cosine. Every query finds something: there are always nearest
passages.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from forethought.data.corpora import CorpusFile, read_corpus
from forethought.data.models import resolve_model
from forethought.errors import InputError, MissingError
from forethought.tools.index_files import building, finish, open_pages, read_stamp
from forethought.tools.retrieval import Document, Hit, Pages, Retriever, best

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KIND = "dense"
DEFAULT_ENCODER = "intfloat/e5-base-v2"
"""That of Search-R1 and of most published search agents."""
_BATCH = 256  # passages that are encoded at a time
_VECTORS = "vectors.npy"
_E5 = re.compile(r"(^|[/_-])e5[_-]")


class Encoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        """[n, d], each row of length 1; queries and passages may be told apart."""
        ...


def prefixes(name: str) -> tuple[str, str] | None:
    """What a model was trained to see before a query and before a passage; None = ask the model.

    E5 (arXiv 2212.03533) knows the two by `query: ` and `passage: `, and most of its published
    files do not say so; its later relatives that follow instructions bring their own.
    """
    name = name.lower()
    return ("query: ", "passage: ") if _E5.search(name) and "instruct" not in name else None


class SentenceEncoder:
    """A model of sentence-transformers."""

    def __init__(self, name: str) -> None:
        """Loads the model.

        Raises:
            MissingError: the package or the model is not here.
        """
        if util.find_spec("sentence_transformers") is None:
            raise MissingError(
                "the package sentence-transformers, for dense search",
                next_step="pip install 'forethought[dense]', or use --retriever bm25",
            )
        from sentence_transformers import SentenceTransformer

        folder = resolve_model(name)  # of `forethought fetch`
        try:
            self._model = SentenceTransformer(folder)
        except (OSError, ValueError) as error:
            raise MissingError(
                f"the encoder {name} ({str(error).splitlines()[0]})",
                next_step="name a folder or a hub model by --encoder, or allow the network",
            ) from error
        self._prefixes = prefixes(name)

    def encode(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        """[n, d] vectors of length 1, by the prompts that belong to the model."""
        options = {"normalize_embeddings": True, "show_progress_bar": False}
        if self._prefixes is not None:
            prompt = self._prefixes[0 if query else 1]
            found = self._model.encode(list(texts), prompt=prompt, **options)
        else:
            own = self._model.encode_query if query else self._model.encode_document
            found = own(list(texts), **options)
        return _rows(found)


def make_encoder(name: str) -> Encoder:
    """The encoder of a name: a model of sentence-transformers, or `package.module:Class`.

    Raises:
        MissingError: the package or the model is not here.
        InputError: no such module or class.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        return SentenceEncoder(name)
    try:
        encoder: Encoder = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"--encoder {name}",
            got=str(error),
            expected="a model of sentence-transformers, or an importable package.module:Class",
            next_step="correct the name, or put its folder on PYTHONPATH",
        ) from error
    return encoder


class DenseRetriever(Retriever):
    """Exact search over the vectors of all documents."""

    def __init__(self, documents: Pages, vectors: NDArray[np.float32], encoder: Encoder) -> None:
        """A retriever over vectors that are there already.

        Args:
            documents: the pages.
            vectors: [N, d] theirs, in the same order, each of length 1.
            encoder: that the vectors were made with.
        """
        self._documents, self._vectors, self._encoder = documents, vectors, encoder
        self._nearest = _nearest()
        self._lock = threading.Lock()  # fast tokenizers are not safe across threads

    @classmethod
    def of(cls, documents: Sequence[Document], encoder: Encoder) -> DenseRetriever:
        """Encodes documents that are held in memory."""
        import numpy as np

        batches = [
            encoder.encode([passage(page) for page in documents[i : i + _BATCH]], query=False)
            for i in range(0, len(documents), _BATCH)
        ]
        return cls(documents, np.concatenate(batches), encoder)

    def search(self, query: str, k: int) -> list[Hit]:
        """As `search_all`, for one query."""
        return self.search_all([query], k)[0]

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` nearest documents of each query that is not blank, ties in document order."""
        hits: list[list[Hit]] = [[] for _ in queries]
        asked = [n for n, query in enumerate(queries) if query.strip()] if k > 0 else []
        if not asked:
            return hits
        with self._lock:
            encoded = self._encoder.encode([queries[n] for n in asked], query=True)
        if encoded.shape[1] != self._vectors.shape[1]:
            raise InputError(
                "--encoder",
                got=f"vectors of {encoded.shape[1]} numbers",
                expected=f"{self._vectors.shape[1]}, as the index has",
                next_step="name the encoder that the index was made with",
            )
        for n, vector in zip(asked, encoded, strict=True):
            positions, scores = self._nearest(vector, self._vectors, min(k, len(self._documents)))
            hits[n] = [
                Hit.of(self._documents[int(i)], float(score))
                for i, score in zip(positions, scores, strict=True)
            ]
        return hits


def passage(page: Document) -> str:
    """What of a page is encoded: its title on a line of its own, then its text."""
    return f"{page.title}\n{page.text}" if page.title else page.text


def build_dense(corpus: str, folder: Path, name: str) -> int:
    """Encodes a corpus into `folder`; returns the number of its documents.

    Raises:
        InputError: a malformed or packed corpus.
        MissingError: the encoder is not here.
    """
    import numpy as np
    from numpy.lib.format import open_memmap

    encoder = make_encoder(name)
    with building(folder, corpus) as scratch:
        places = np.fromiter((place for place, _ in read_corpus(corpus)), dtype=np.int64)
        pages = CorpusFile(corpus, places)
        made = scratch / KIND
        made.mkdir()
        vectors: Any = None
        for start in range(0, len(pages), _BATCH):
            texts = [passage(pages[i]) for i in range(start, min(start + _BATCH, len(pages)))]
            found = _rows(encoder.encode(texts, query=False))
            if vectors is None:
                shape = (len(pages), found.shape[1])
                vectors = open_memmap(made / _VECTORS, mode="w+", dtype="float32", shape=shape)
            vectors[start : start + len(texts)] = found
        vectors.flush()
        finish(made, corpus, KIND, places, {"encoder": name, "dimensions": vectors.shape[1]})
    return len(places)


def open_dense(corpus: str, folder: Path, name: str = "") -> DenseRetriever:
    """The index in `folder`, vectors and documents mapped, with the encoder it was made with.

    Raises:
        InputError: no finished index there, or one of another corpus or another encoder.
        MissingError: the encoder is not here.
    """
    import numpy as np

    made_with = str(read_stamp(folder, corpus, KIND).get("encoder", ""))
    if name and name != made_with:
        raise InputError(
            f"--encoder {name}",
            got=f"an index made with {made_with}",
            expected="queries and passages of one encoder",
            next_step="drop --encoder, or index the corpus anew",
        )
    vectors = np.load(folder / _VECTORS, mmap_mode="r")
    return DenseRetriever(open_pages(folder, corpus), vectors, make_encoder(made_with))


Nearest = Callable[[Any, Any, int], tuple[Any, Any]]
"""(query [d], vectors [N, d], k <= N) -> (positions [k], scores [k]), best first."""


def _nearest() -> Nearest:
    return by_numpy if util.find_spec("faiss") is None else by_faiss


def by_numpy(query: Any, vectors: Any, k: int) -> tuple[Any, Any]:
    """The `k` vectors with the highest inner product, ties in order of position."""
    scores = vectors @ query
    positions = best(scores, k)
    return positions, scores[positions]


def by_faiss(query: Any, vectors: Any, k: int) -> tuple[Any, Any]:
    """As `by_numpy`, by FAISS, which may leave out others of those that tie for the last place."""
    import faiss
    import numpy as np

    scores, positions = faiss.knn(query[None], vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    order = np.lexsort((positions[0], -scores[0]))
    return positions[0][order], scores[0][order]


def _rows(vectors: Any) -> NDArray[np.float32]:
    import numpy as np

    return np.ascontiguousarray(vectors, dtype=np.float32)
