"""Documents from a `corpus.jsonl` file: rows `{"id","title","text"}`, further columns ignored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from forethought.errors import InputError
from forethought.jsonl import need, no_rows, read_jsonl, write_jsonl
from forethought.tools.retrieval import Document


def load_corpus(path: str | Path) -> list[Document]:
    """All documents of a file, in its order, which also decides ties of a search.

    Raises:
        InputError: no file, no document, a malformed field or an id that occurs twice.
    """
    where = str(path)
    documents: list[Document] = []
    lines: dict[str, int] = {}
    for line, row in read_jsonl(path):
        page = Document(
            id=need(row, "id", str, where, line),
            title=need(row, "title", str, where, line),
            text=need(row, "text", str, where, line),
        )
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
        documents.append(page)
    if not documents:
        raise no_rows(where, "document")
    return documents


def save_corpus(path: Path, documents: Iterable[Document]) -> int:
    """Writes documents so that `load_corpus` gives them back; returns their number."""
    rows = ({"id": page.id, "title": page.title, "text": page.text} for page in documents)
    return write_jsonl(path, rows)
