"""Reading and writing JSON lines, with messages that name file and line.

Readers yield `(line number, row)`; a malformed line is an `InputError`. Writers replace files
atomically, so a killed run leaves either the old file or the new one.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from forethought.errors import InputError
from forethought.types import JsonRow


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def read_jsonl(path: str | Path) -> Iterator[tuple[int, JsonRow]]:
    """Yields `(line number from 1, object)` for each non-blank line; `-` reads standard input.

    Raises:
        InputError: the file is absent or not UTF-8, or a line is not one JSON object.
    """
    name = "<stdin>" if str(path) == "-" else str(path)
    if str(path) == "-":
        yield from _rows(sys.stdin, name)
        return
    file = Path(path)
    if not file.is_file():
        raise InputError(
            name, got="no such file", expected="a JSON lines file", next_step="check the path"
        )
    with _open_text(file) as stream:
        yield from _rows(stream, name)


def _rows(stream: IO[str], name: str) -> Iterator[tuple[int, JsonRow]]:
    number = 0
    try:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, _row(line, name, number)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise InputError(
            name,
            line=number + 1,
            got=f"bytes that cannot be read ({error})",
            expected="UTF-8 text, one JSON object a line",
            next_step="re-encode or download the file again",
        ) from error


def _row(line: str, name: str, number: int) -> JsonRow:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            name,
            line=number,
            got=f"{line.strip()[:60]!r} ({error.msg} at column {error.colno})",
            expected="one JSON object a line",
            next_step="mend or remove this line",
        ) from error
    if not isinstance(row, dict):
        raise InputError(
            name,
            line=number,
            got=f"a JSON {type(row).__name__}",
            expected="a JSON object",
            next_step="wrap the value in an object with named fields",
        )
    return row


def read_json(path: Path, what: str = "a JSON document") -> JsonRow:
    """The object in a file.

    Args:
        path: the file.
        what: what it should hold, for the message.

    Raises:
        InputError: the file is absent, not JSON, or holds no object.
    """
    if not path.is_file():
        raise InputError(str(path), got="no such file", expected=what, next_step="check the path")
    line, got = 1, ""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        got = f"a JSON {type(value).__name__}"
    except json.JSONDecodeError as error:
        value, line, got = None, error.lineno, f"text that is not JSON ({error.msg})"
    except UnicodeDecodeError as error:
        value, got = None, f"bytes that are not UTF-8 ({error.reason})"
    if not isinstance(value, dict):
        raise InputError(
            str(path),
            line=line,
            got=got,
            expected=f"{what}, one JSON object",
            next_step="restore the file, or make it anew with the command that wrote it",
        )
    return value


def need(
    row: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str, line: int
) -> Any:
    """The value of `row[key]`, which must be an instance of `kind`.

    Raises:
        InputError: the field is absent or of another type.
    """
    names = [k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,))]
    expected = f'field "{key}" of type {" or ".join(names)}'
    if key not in row:
        fields = ", ".join(sorted(row)[:12]) or "none"
        raise InputError(
            where, line=line, got=f"fields: {fields}", expected=expected, next_step=f'add "{key}"'
        )
    value = row[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and bool not in _kinds(kind)):
        raise InputError(
            where,
            line=line,
            got=f"{key} = {json.dumps(value)[:60]}",
            expected=expected,
            next_step="correct the value",
        )
    return value


def _kinds(kind: type | tuple[type, ...]) -> tuple[type, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def dumps(row: Any) -> str:
    """Compact JSON with the key order of the object; equal objects give equal bytes."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def write_text_atomic(path: Path, text: str) -> None:
    """Writes `text` so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def write_jsonl(path: Path, rows: Iterable[JsonRow]) -> int:
    """Writes one object a line, atomically; returns the number of lines."""
    lines = [dumps(row) for row in rows]
    write_text_atomic(path, "".join(line + "\n" for line in lines))
    return len(lines)


def write_json(path: Path, value: Any) -> None:
    """Writes one indented JSON document, atomically."""
    write_text_atomic(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
