"""A BM25 index on disk: built in one pass over the corpus, mapped when it is opened.

The files are those of bm25s, and bm25s searches them. Building is ours: the library wants the token
ids of all documents as Python lists and sorts all postings at once, which for a million passages is
several GB. Here the postings are sorted a part of the corpus at a time and then dealt out to their
places (a counting sort over words), and every score is the library's to the last bit; a test holds
the two together. Memory is the vocabulary, a few numbers a document and one part.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forethought.data.corpora import read_corpus
from forethought.errors import InputError
from forethought.tools.index_files import building, finish, open_pages, read_stamp
from forethought.tools.retrieval import BM25Retriever, page_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KIND = "bm25"
PART = 20_000
"""Documents whose postings are sorted at a time: about 2 million tokens of real passages."""


def build_bm25(corpus: str, folder: Path, *, part: int = PART) -> int:
    """Indexes a corpus into `folder`; returns the number of its documents.

    Raises:
        InputError: a malformed or packed corpus, or one without a single word.
    """
    with building(folder, corpus) as scratch:
        scan = _scan(corpus, scratch, part)
        if not scan.vocabulary:
            raise InputError(
                corpus,
                got="no letter and no digit",
                expected="documents with words",
                next_step="check the corpus file",
            )
        _postings(scan, scratch).save(scratch / KIND, show_progress=False)
        places = _array(scan.places, "int64")
        finish(scratch / KIND, corpus, KIND, places, {"words": len(scan.vocabulary)})
    return len(places)


def open_bm25(corpus: str, folder: Path) -> BM25Retriever:
    """The index in `folder`, postings and documents mapped.

    Raises:
        InputError: no finished index there, or one of another corpus.
    """
    import bm25s

    read_stamp(folder, corpus, KIND)
    index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
    return BM25Retriever(open_pages(folder, corpus), index)


class _Vocabulary(dict[str, int]):
    """Token -> id, in order of first sight."""

    def __missing__(self, token: str) -> int:
        self[token] = number = len(self)
        return number


@dataclass(slots=True, kw_only=True)
class _Scan:
    """What one pass over the corpus leaves in memory."""

    vocabulary: _Vocabulary = field(default_factory=_Vocabulary)
    places: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("i"))  # tokens of each document
    parts: list[Path] = field(default_factory=list)


def _scan(corpus: str, scratch: Path, part: int) -> _Scan:
    """Reads all documents; leaves the sorted postings of each part in a file."""
    scan, ids = _Scan(), array("i")
    number = scan.vocabulary.__getitem__
    for place, page in read_corpus(corpus):
        before = len(ids)
        ids.extend(map(number, page_tokens(page)))
        scan.places.append(place)
        scan.lengths.append(len(ids) - before)
        if len(scan.places) % part == 0:
            _keep_part(scan, ids, part, scratch)
            ids = array("i")
    if len(scan.places) % part:
        _keep_part(scan, ids, len(scan.places) % part, scratch)
    return scan


def _keep_part(scan: _Scan, ids: array[int], num: int, scratch: Path) -> None:
    """Counts and sorts the tokens of the last `num` documents, by word, then by document.

    A part is an array [3, P] of word, document and count of each posting.
    """
    import numpy as np

    owners = np.repeat(np.arange(num, dtype=np.int64), _array(scan.lengths, "int32")[-num:])
    keys, counts = np.unique(_array(ids, "int32") * np.int64(num) + owners, return_counts=True)
    first = len(scan.places) - num
    file = scratch / f"{len(scan.parts)}.npy"
    np.save(file, np.stack([keys // num, keys % num + first, counts]).astype(np.int32))
    scan.parts.append(file)


def _postings(scan: _Scan, scratch: Path) -> Any:
    """A `bm25s.BM25` whose arrays lie in files of `scratch`.

    score(w, d) = idf(w) tf / (k1 (1 - b + b l_d / mean l) + tf), rounded where bm25s rounds: idf
    and tf are float32, the norm of a document is float64, their product is float32.
    """
    import bm25s
    import numpy as np

    index = bm25s.BM25()
    num, words = len(scan.places), len(scan.vocabulary)
    frequencies = np.zeros(words, dtype=np.int64)
    for word, _, _ in _parts(scan):
        frequencies += np.bincount(word, minlength=words)
    lengths = _array(scan.lengths, "int32")
    norms = index.k1 * ((1 - index.b) + index.b * lengths / lengths.mean())
    idf = _idf(frequencies, num)
    ends = np.concatenate([[0], np.cumsum(frequencies)])
    data = _mapped(scratch / "data.npy", "float32", int(ends[-1]))
    documents = _mapped(scratch / "documents.npy", "int32", int(ends[-1]))
    free = ends[:-1].copy()  # where the next posting of each word goes
    for word, document, count in _parts(scan):
        own, start, size = np.unique(word, return_index=True, return_counts=True)
        at = np.repeat(free[own] - start, size) + np.arange(len(word))
        free[own] += size
        tf = count.astype(np.float32)
        data[at] = idf[word] * (tf / (norms[document] + tf))
        documents[at] = document
    index.scores = {"data": data, "indices": documents, "indptr": ends, "num_docs": num}
    index.vocab_dict = dict(scan.vocabulary)
    index.nonoccurrence_array = None
    return index


def _parts(scan: _Scan) -> Iterator[NDArray[np.int32]]:
    import numpy as np

    return (np.load(file) for file in scan.parts)


def _idf(frequencies: NDArray[np.int64], num: int) -> NDArray[np.float32]:
    """log(1 + (N - n + 0.5) / (n + 0.5)) of each word, by `math.log` as in the library."""
    import numpy as np

    distinct, which = np.unique(frequencies, return_inverse=True)
    values = [math.log(1 + (num - n + 0.5) / (n + 0.5)) for n in distinct.tolist()]
    return np.array(values, dtype=np.float32)[which]


def _mapped(file: Path, dtype: str, size: int) -> Any:
    from numpy.lib.format import open_memmap

    return open_memmap(file, mode="w+", dtype=dtype, shape=(size,))


def _array(values: array[int], dtype: str) -> Any:
    import numpy as np

    return np.frombuffer(values, dtype=dtype)
