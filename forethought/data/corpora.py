"""Documents from a `corpus.jsonl` file: rows `{"id","title","text"}`, further columns ignored.

Rows `{"id","contents"}`, as the corpora of Search-R1 and FlashRAG have them, are read, too.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from forethought.errors import InputError
from forethought.files import open_input
from forethought.jsonl import need, no_rows, parse_json, read_jsonl_at, write_jsonl
from forethought.tools.retrieval import Document, split_contents
from forethought.types import JsonRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load_corpus(path: str | Path) -> list[Document]:
    """All documents of a file, in its order, which also decides ties of a search.

    Raises:
        InputError: no file, no document, a malformed field or an id that occurs twice.
    """
    return [page for _, page in read_corpus(path)]


def read_corpus(path: str | Path) -> Iterator[tuple[int, Document]]:
    """Yields each document with its place in the file, in bytes from its beginning.

    Raises:
        InputError: as `load_corpus`, when the row is reached.
    """
    where = str(path)
    lines: dict[str, int] = {}
    for place, line, row in read_jsonl_at(path):
        need(row, "id", str, where, line)
        for key in ("contents",) if _has_contents(row) else ("title", "text"):
            need(row, key, str, where, line)
        page = _document(row)
        if not page.id or not page.text.strip():
            raise InputError(
                where,
                line=line,
                got="a blank id or text",
                expected='"id" and "text" that are not blank ("title" may be)',
                next_step="complete or remove this document",
            )
        if page.id in lines:
            raise InputError(
                where,
                line=line,
                got=f"id {page.id!r} again (first in line {lines[page.id]})",
                expected="every id once",
                next_step="rename or remove one of the two",
            )
        lines[page.id] = line
        yield place, page
    if not lines:
        raise no_rows(where, "document")


def save_corpus(path: Path, documents: Iterable[Document]) -> int:
    """Writes documents so that `load_corpus` gives them back; returns their number."""
    rows = ({"id": page.id, "title": page.title, "text": page.text} for page in documents)
    return write_jsonl(path, rows)


def corpus_sha256(path: str | Path) -> str:
    """sha256 of a corpus file: what an index of it must have been made from."""
    with open_input(path, "a corpus file") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class CorpusFile:
    """The documents of a plain corpus file, read when they are asked for; safe across threads.

    In memory are their places alone (or not even those, where the array is mapped, too).
    """

    def __init__(self, path: str | Path, places: NDArray[np.int64]) -> None:
        """Opens the file.

        Args:
            path: a file that `read_corpus` has been through, not packed.
            places: [N] where each document begins, in bytes.

        Raises:
            InputError: no such file.
        """
        with open_input(path, "a corpus file") as stream:
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> Document:
        start = int(self._places[position])
        end = self._bytes.find(b"\n", start)
        return _document(parse_json(self._bytes[start : len(self._bytes) if end < 0 else end]))


def _has_contents(row: JsonRow) -> bool:
    return "contents" in row and "text" not in row


def _document(row: JsonRow) -> Document:
    """The document of a row whose fields were looked at."""
    if _has_contents(row):
        title, text = split_contents(row["contents"])
        return Document(id=row["id"], title=title, text=text)
    return Document(id=row["id"], title=row["title"], text=row["text"])
