"""What every index on disk keeps beside its own arrays: the corpus it was made of.

An index is a folder named by its kind. `index.json` is written last, so a build that was stopped is
none; it holds size, sha256 and number of documents of the corpus, and an index of another corpus is
refused. `places.npy` says where in the corpus file each document begins, so no document is held in
memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forethought.data.corpora import CorpusFile, corpus_sha256
from forethought.errors import InputError
from forethought.jsonl import read_json, write_json
from forethought.runlog import command_line

SCHEMA = "forethought.index/1"
_STAMP, _PLACES = "index.json", "places.npy"


@contextmanager
def building(folder: Path, corpus: str) -> Iterator[Path]:
    """Gives a scratch folder for a build, gone afterwards; an older index there is none now.

    Raises:
        InputError: a corpus whose documents cannot be read by their place.
    """
    if corpus == "-" or corpus.endswith(".gz"):
        raise InputError(
            f"--corpus {corpus}",
            got="a stream" if corpus == "-" else "a packed file",
            expected="a plain file: documents are read from it by their place",
            next_step="write it out as plain JSON lines first",
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STAMP).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield Path(scratch)


def finish(made: Path, corpus: str, kind: str, places: Any, about: dict[str, Any]) -> None:
    """Moves what was made into the index, with places and stamp: from here on it is one.

    Files are replaced and never written over: a server may have the old ones mapped.

    Args:
        made: a folder in the scratch folder of `building`, with the arrays of the index.
        corpus: the file it was made of.
        kind: such as `bm25`.
        places: [N] where each document begins, in bytes.
        about: what else the stamp keeps.
    """
    import numpy as np

    folder = made.parent.parent
    np.save(made / _PLACES, places)
    for file in made.iterdir():
        file.replace(folder / file.name)
    made_of = {
        "documents": len(places),
        "bytes": Path(corpus).stat().st_size,
        "sha256": corpus_sha256(corpus),
    }
    write_json(folder / _STAMP, {"schema": SCHEMA, "kind": kind, "corpus": made_of, **about})


def read_stamp(folder: Path, corpus: str, kind: str) -> dict[str, Any]:
    """The stamp of an index of this very corpus.

    Raises:
        InputError: no index of this kind here, one that was not finished, or of another corpus.
    """
    root = folder.parent
    words = ["index", "--corpus", corpus, "--retriever", kind, "--out", str(root)]
    again = command_line(words)
    if not (folder / _STAMP).is_file():
        raise InputError(
            f"--index {root}",
            got=f"no {kind}/{_STAMP}",
            expected=f"a folder with a finished {kind} index",
            next_step=again,
        )
    stamp = read_json(folder / _STAMP, "the stamp of an index")
    made_of = stamp.get("corpus")
    if stamp.get("schema") != SCHEMA or stamp.get("kind") != kind or not isinstance(made_of, dict):
        raise InputError(
            str(folder / _STAMP),
            got=f"schema {stamp.get('schema')!r}, kind {stamp.get('kind')!r}",
            expected=f"{SCHEMA!r}, {kind!r}",
            next_step=again,
        )
    size = Path(corpus).stat().st_size if Path(corpus).is_file() else None
    # The size alone tells most corpora apart before gigabytes are read.
    if size is not None and size == made_of.get("bytes"):
        if corpus_sha256(corpus) == made_of.get("sha256"):
            return stamp
        got = f"an index of other documents than {corpus} has (sha256)"
    elif size is None:
        raise InputError(
            f"--corpus {corpus}",
            got="no such file",
            expected="the corpus that the index was made of",
            next_step="check the path",
        )
    else:
        got = f"an index of a corpus of {made_of.get('bytes')} bytes; {corpus} has {size}"
    raise InputError(
        f"--index {root}", got=got, expected="an index of this corpus", next_step=again
    )


def open_pages(folder: Path, corpus: str) -> CorpusFile:
    """The documents of an index whose stamp was read, both files mapped."""
    import numpy as np

    return CorpusFile(corpus, np.load(folder / _PLACES, mmap_mode="r"))
