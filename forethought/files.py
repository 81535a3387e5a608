"""Opening what the user names: a file to read, a folder for results; or one message why not."""

from __future__ import annotations

import os
from io import BufferedReader
from pathlib import Path

from forethought.errors import InputError


def open_input(path: str | Path, expected: str) -> BufferedReader:
    """The bytes of a file that a user names.

    Raises:
        InputError: no such file, a folder, or a file that cannot be opened.
    """
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(
            str(path), got=_reason(error), expected=expected, next_step="check the path"
        ) from error


def read_text(path: str | Path, expected: str) -> str:
    """The text of a UTF-8 file.

    Raises:
        InputError: no such file, a folder, or bytes that are no UTF-8.
    """
    with open_input(path, expected) as stream:
        return decoded(stream.read(), str(path), expected)


def decoded(data: bytes, where: str, expected: str) -> str:
    """Bytes as text.

    Raises:
        InputError: they are no UTF-8; the message names the line.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            where,
            line=data[: error.start].count(b"\n") + 1,
            got=f"byte {data[error.start]:#04x}, which is no UTF-8",
            expected=f"{expected} in UTF-8",
            next_step="re-encode the file, or make it anew",
        ) from error


def make_folder(path: str | Path, flag: str) -> Path:
    """A folder for results, made if it is not there.

    Args:
        path: the folder.
        flag: the option that names it, for the message.

    Raises:
        InputError: an empty name, a file, or a folder that cannot be made.
    """
    try:
        if not str(path):
            raise ValueError("an empty name")
        Path(path).mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise ValueError("a folder that you may not write to")
    except (OSError, ValueError) as error:
        got = "a file" if isinstance(error, FileExistsError) else _reason(error)
        raise InputError(
            f"{flag} {path}",
            got=got,
            expected="a folder, or a name for a new one",
            next_step="choose another folder",
        ) from error
    return Path(path)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
