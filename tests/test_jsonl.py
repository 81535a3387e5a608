"""Whatever stands in a file, a reader gives rows or one message that names file and line."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import pytest

from forethought.errors import InputError
from forethought.files import make_folder, read_text
from forethought.jsonl import read_json, read_jsonl, read_log

GOOD = b'{"a": 1}\n'


def refused(path: Path, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        list(read_jsonl(path))
    said = str(caught.value)
    assert "expected" in said and "Next:" in said
    for word in words:
        assert word in said, said
    return said


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"a": 1' + b"0" * 400 + b"}", "401 digits"),
        (b'{"a": -1e400}', "-1e400"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [-Infinity]}', "-Infinity"),
        (b'{"a": "x\\ud800"}', "half a surrogate pair"),
        (b'{"\\uDC00": 1}', "half a surrogate pair"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"[1]", "a JSON list"),
        (b"null", "null"),
        (b'{"a": 1', "column"),
    ],
)
def test_a_line_that_is_no_plain_object_is_named(tmp_path: Path, line: bytes, named: str) -> None:
    file = tmp_path / "f.jsonl"
    file.write_bytes(GOOD + line + b"\n")
    refused(file, f"{file}:2: ", named)


def test_whole_pairs_of_surrogates_and_large_numbers_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_bytes(b'{"a": "\\ud83d\\ude00 \\\\ud800", "b": 1e300, "c": ' + b"9" * 300 + b"}\n")
    ((_, row),) = read_jsonl(file)
    assert row["a"] == "\U0001f600 \\ud800" and row["b"] == 1e300 and row["c"] > 10**299


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bytes_that_are_no_text_are_named_with_their_own_line(tmp_path: Path, suffix: str) -> None:
    data = GOOD * 5000 + b'{"a": "\xff"}\n' + GOOD
    file = tmp_path / f"f.jsonl{suffix}"
    file.write_bytes(gzip.compress(data) if suffix else data)
    refused(file, f"{file}:5001: ")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"n": n, "t": f"{n * n:x}"}) + "\n" for n in range(3000)).encode()
    whole = gzip.compress(rows)
    file = tmp_path / "f.jsonl.gz"
    for data in (
        GOOD,  # no archive at all
        whole[:-30],  # cut off
        whole[:4000] + bytes(100) + whole[4100:],  # damaged inside
        whole[:20] + b"\xff" * 40 + whole[60:],
        whole[:-8] + bytes(8),  # another check sum
    ):
        file.write_bytes(data)
        refused(file, f"{file}:")


def test_what_is_no_file_says_what_it_is(tmp_path: Path) -> None:
    refused(tmp_path, "a folder")
    refused(tmp_path / "none", "no such file")
    file = tmp_path / "f"
    file.write_bytes(b"")
    refused(file / "below", str(file / "below"))
    for read in (read_json, lambda path: read_text(path, "a text")):
        with pytest.raises(InputError, match="a folder"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("data", "line", "named"),
    [
        (b"[1]", 1, "a JSON list"),
        (b"null", 1, "null"),
        (b'{\n"a": 1,\n}', 3, "not JSON"),
        (b'{\n"a": "\xff"}', 2, "UTF-8"),
        (b"[" * 100_000, 1, "nested too deeply"),
        (b'{"a": NaN}', 1, "NaN"),
        (b"", 1, "not JSON"),
    ],
)
def test_a_document_is_named_with_its_line(
    tmp_path: Path, data: bytes, line: int, named: str
) -> None:
    file = tmp_path / "f.json"
    file.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_json(file, "a thing")
    assert f"{file}:{line}: " in str(caught.value) and named in str(caught.value)


def test_of_a_log_only_the_last_line_may_be_torn(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_bytes(GOOD + b'{"a": 2')
    assert [row for _, row in read_log(file)] == [{"a": 1}]
    file.write_bytes(GOOD + b'{"a": 2}')
    assert [row["a"] for _, row in read_log(file)] == [1, 2]
    file.write_bytes(GOOD + b'{"a": 2\n')
    with pytest.raises(InputError, match=":2: "):
        list(read_log(file))
    file.write_bytes(b'{"a": 2' + GOOD)
    with pytest.raises(InputError, match=":1: "):
        list(read_log(file))


def test_standard_input_is_read_as_utf_8_whatever_the_locale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = io.BytesIO('{"a": "\u00e9"}\n'.encode() + b'{"a": "\xff"}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data, encoding="ascii"))
    rows = read_jsonl("-")
    assert next(rows) == (1, {"a": "\u00e9"})
    with pytest.raises(InputError, match="<stdin>:2: "):
        next(rows)


def test_a_folder_for_results_is_made_or_refused(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a/b", "--out").is_dir()
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, file / "below", "", "a\0b", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match=r"--out.*expected.*Next:"):
            make_folder(path, "--out")
