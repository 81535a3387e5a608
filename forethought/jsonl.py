"""Reading and writing JSON lines, with messages that name file and line.

Readers yield `(line number, row)`; a malformed line is an `InputError`. Writers replace files
atomically, so a killed run leaves either the old file or the new one.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from forethought.errors import InputError
from forethought.files import open_input
from forethought.types import JsonRow

MAX_DIGITS = 300
"""Of a whole number: a longer one is no float, and Python reads no integer of thousands."""


def read_jsonl(path: str | Path) -> Iterator[tuple[int, JsonRow]]:
    """Yields `(line number from 1, object)` for each non-blank line; `-` reads standard input.

    Numbers are finite and texts can be written again as UTF-8, so no later step meets others.

    Raises:
        InputError: the file cannot be read, or a line is not one JSON object.
    """
    for _, number, row in read_jsonl_at(path):
        yield number, row


def read_jsonl_at(path: str | Path) -> Iterator[tuple[int, int, JsonRow]]:
    """As `read_jsonl`, with the place of each line, in bytes of the unpacked file, in front."""
    place = 0
    for number, line, name in read_lines(path):
        if line.strip():
            yield place, number, parse_line(line, name, number)
        place += len(line)


def read_log(path: str | Path) -> Iterator[tuple[int, JsonRow]]:
    """The rows of a file that grows line by line; a torn last line, without its end, is left out.

    Raises:
        InputError: the file cannot be read, or another line is not one JSON object.
    """
    for number, line, name in read_lines(path):
        if not line.strip():
            continue
        try:
            row = parse_line(line, name, number)
        except InputError:
            if line.endswith(b"\n"):
                raise
            return  # its writer was killed
        yield number, row


def read_lines(path: str | Path) -> Iterator[tuple[int, bytes, str]]:
    """Yields number, bytes and file of each line: a bad one is counted where it stands.

    Raises:
        InputError: the file cannot be read.
    """
    if str(path) == "-":
        for number, line in enumerate(getattr(sys.stdin, "buffer", sys.stdin), start=1):
            yield number, line if isinstance(line, bytes) else line.encode("utf-8"), "<stdin>"
        return
    name, number = str(path), 0
    with open_input(path, "a JSON lines file") as stream:
        packed = name.endswith(".gz")
        lines: Iterable[bytes] = gzip.GzipFile(fileobj=stream) if packed else stream
        try:
            for number, line in enumerate(lines, start=1):
                yield number, line, name
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                name,
                line=number + 1,
                got=f"bytes that cannot be read ({error})",
                expected="a JSON lines file, whole",
                next_step="make or download the file again",
            ) from error


def parse_line(line: bytes, name: str, number: int) -> JsonRow:
    """The object of one line.

    Args:
        line: its bytes.
        name: of the file, for the message.
        number: of the line, from 1.

    Raises:
        InputError: it is not one JSON object.
    """
    try:
        row = parse_json(line)
    except (ValueError, RecursionError) as error:
        start = line.strip()[:60].decode("utf-8", "replace")
        raise InputError(
            name,
            line=number,
            got=f"{start!r} ({_why(error)[1]})",
            expected="one JSON object a line, in UTF-8",
            next_step="mend or remove this line",
        ) from error
    if not isinstance(row, dict):
        raise InputError(
            name,
            line=number,
            got=_kind(row),
            expected="a JSON object",
            next_step="wrap the value in an object with named fields",
        )
    return row


def read_json(path: str | Path, what: str = "a JSON document", *, finite: bool = True) -> JsonRow:
    """The object in a file.

    Args:
        path: the file.
        what: what it should hold, for the message.
        finite: refuse NaN and numbers too large for a float, which others' files may hold.

    Raises:
        InputError: the file cannot be read, is not JSON, or holds no object.
    """
    with open_input(path, what) as stream:
        data = stream.read()
    line = 1
    try:
        value = parse_json(data) if finite else json.loads(data.decode("utf-8"))
        got = _kind(value)
    except (ValueError, RecursionError) as error:
        value, (line, why) = None, _why(error)
        got = f"text that is not JSON ({why})"
    if not isinstance(value, dict):
        raise InputError(
            str(path),
            line=line,
            got=got,
            expected=f"{what}, one JSON object",
            next_step="restore the file, or make it anew with the command that wrote it",
        )
    return value


def parse_json(data: bytes) -> Any:
    """The value of a JSON text: no NaN, no number too large for a float, no half surrogate pair.

    Raises:
        ValueError: it is not such a text, or not UTF-8.
        RecursionError: it is nested too deeply.
    """
    text = data.decode("utf-8")
    value = _DECODER.decode(text)
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("a text with half a surrogate pair, which is no character") from error
    return value


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text.lstrip('-'))} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text[:40])


def _no_number(text: str) -> float:
    raise ValueError(f"{text}, which is no finite number")


# Made once: `json.loads` and `json.dumps` make theirs anew at each call with options.
_DECODER = json.JSONDecoder(parse_int=_whole_number, parse_float=_number, parse_constant=_no_number)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _why(error: Exception) -> tuple[int, str]:
    """The line of a JSON text in which it goes wrong, and how."""
    if isinstance(error, json.JSONDecodeError):
        return error.lineno, f"{error.msg} at column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return error.object[: error.start].count(b"\n") + 1, f"byte {byte:#04x} is no UTF-8"
    return 1, "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _kind(value: Any) -> str:
    return "null" if value is None else f"a JSON {type(value).__name__}"


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


def no_rows(path: str | Path, row: str) -> InputError:
    """What a reader answers to a file without a row."""
    return InputError(
        str(path),
        got="no rows",
        expected=f"at least one {row}",
        next_step="check the file, or make it anew with the command that wrote it",
    )


def bad_row(where: str, line: int, got: str, schema: str, verb: str) -> InputError:
    """What a reader answers to a row that does not fit a schema which `forethought VERB` writes."""
    return InputError(
        where,
        line=line,
        got=got,
        expected=f"a row of {schema}",
        next_step=f"restore the file, or run `forethought {verb}` again",
    )


def _kinds(kind: type | tuple[type, ...]) -> tuple[type, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def dumps(row: Any) -> str:
    """Compact JSON with the key order of the object; equal objects give equal bytes."""
    return _ENCODER.encode(row)


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[str]]:
    """A text file that takes its place when all of it is written, and never if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def write_text_atomic(path: Path, text: str) -> None:
    """Writes `text` so that a reader sees the old file or the whole new one."""
    with _whole_file(path) as stream:
        stream.write(text)


def write_jsonl(path: Path, rows: Iterable[JsonRow]) -> int:
    """Writes one object a line, atomically and as they come; returns the number of lines."""
    number = 0
    with _whole_file(path) as stream:
        for row in rows:
            stream.write(dumps(row) + "\n")
            number += 1
    return number


def write_json(path: Path, value: Any) -> None:
    """Writes one indented JSON document, atomically."""
    write_text_atomic(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
