"""Dotted keys of TOML and JSON documents: setting one, finding its line, the first absent one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from forethought.errors import InputError


def first_absent(whole: Mapping[str, Any], row: Mapping[str, Any], prefix: str = "") -> str:
    """The first dotted key of `whole` that `row` lacks, or nothing."""
    for key, value in whole.items():
        if key not in row:
            return f"{prefix}{key}"
        below = first_absent(value, row[key], f"{prefix}{key}.") if isinstance(value, dict) else ""
        if below:
            return below
    return ""


def toml_line(text: str, key: str) -> int | None:
    """The line that sets a dotted key of a TOML text, else that of the table around it."""
    best, line, table = "", None, ""
    for number, content in enumerate(text.splitlines(), start=1):
        found = re.match(r"\s*(\[)?\s*([\w.\"'-]+)\s*(?(1)\]|=)", content)
        if found is None:
            continue
        name = found[2].replace('"', "").replace("'", "")
        if found[1]:
            table = name
        else:
            name = f"{table}.{name}".lstrip(".")
        if f"{key}.".startswith(f"{name}.") and len(name) > len(best):
            best, line = name, number
    return line


def json_line(text: str, path: Sequence[str | int]) -> int:
    """The line of a nested key in an indented JSON text, else that of the object around it."""
    start = 0
    for part in path:
        start = max(start, text.find(f'"{part}":', start))
    return text.count("\n", 0, start) + 1


def set_dotted(table: dict[str, Any], dotted: str, written: str, *, text: bool = False) -> None:
    """Sets a key such as `rl.group_size` of nested tables to a value written as TOML, or to a text.

    Args:
        table: changed in place.
        dotted: the key.
        written: the value as it stands in a TOML file.
        text: the key takes a text only: `true` or `7` without quotes is one.

    Raises:
        InputError: a part of the key before the last names a value.
    """
    *parents, last = dotted.split(".")
    for part in parents:
        child = table.setdefault(part, {})
        if not isinstance(child, dict):
            raise InputError(
                f"--{dotted}",
                got=f"{part} is a value, not a table",
                expected="a dotted key such as rl.group_size",
                next_step="see docs/configuration.md",
            )
        table = child
    value = _value(written)
    table[last] = written if text and not isinstance(value, str) else value


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"x = {text}")
    except (ValueError, RecursionError):  # not TOML: a text without quotes
        return text
    return table["x"] if len(table) == 1 else text
