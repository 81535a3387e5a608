"""The configuration of a run: TOML + dotted overrides -> one frozen, validated object.

`load_config("demo/atlas", {"rl.updates": "10"})` reads a file of the package (see `forethought list
configs`) or of the user, applies overrides, and fails on an unknown key or an impossible value at
load, not after an hour. Defaults are the vetted setting of the synthetic world; every key is listed
in docs/configuration.md.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import ValidationError

from forethought.errors import InputError
from forethought.files import read_text
from forethought.jsonl import read_json
from forethought.keys import first_absent, json_line, set_dotted, toml_line
from forethought.schema import RunConfig


def config_names() -> list[str]:
    """Names of the configurations that ship with the package, such as `demo/atlas`."""
    root = resources.files("forethought") / "configs"
    names: list[str] = []
    for folder in root.iterdir():
        if folder.is_dir():
            names += [
                f"{folder.name}/{file.name.removesuffix('.toml')}"
                for file in folder.iterdir()
                if file.name.endswith(".toml")
            ]
    return sorted(names)


def load_config(path_or_name: str, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Reads a configuration by path or shipped name and applies dotted overrides.

    Args:
        path_or_name: a TOML file, or a name of `config_names()`.
        overrides: `{"rl.group_size": "8"}`; values are read as TOML, else taken as text, and so
            is what the key takes as text only (`midtrain.corpus=true`).

    Raises:
        InputError: no such file or name, not TOML, an unknown key, an impossible value.
    """
    text = _read(path_or_name)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, or a number too long
        raise InputError(
            path_or_name,
            got=f"text that is not TOML ({error})",
            expected="a TOML file in UTF-8",
            next_step="mend the line that the message names",
        ) from error
    for dotted, value in (overrides or {}).items():
        set_dotted(table, dotted, value, text=_takes_text(dotted))

    def place(key: str) -> tuple[str, int | None]:
        flag = next((k for k in overrides or {} if f"{key}.".startswith(f"{k}.")), None)
        return (path_or_name, toml_line(text, key)) if flag is None else (f"--{flag}", None)

    return parse_config(table, place)


def parse_config(
    table: Mapping[str, Any], place: Callable[[str], tuple[str, int | None]]
) -> RunConfig:
    """Validates a table of plain values; `place` gives file and line of a dotted key."""
    try:
        return RunConfig.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        where, line = place(key)
        value = json.dumps(first.get("input"), default=str)[:80]
        # A validator of a whole table says itself which of its values do not fit together.
        together = first["type"] == "value_error" and isinstance(first.get("input"), dict)
        known = _known_keys(key) if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(
            where,
            line=line,
            got="values that do not fit together" if together else f"{key} = {value}",
            expected=known.removeprefix("Value error, "),
            next_step=f"correct or remove {key or 'one of them'} (all keys: docs/configuration.md)",
        ) from error


def read_resolved(file: Path) -> RunConfig:
    """The configuration that a run was made with, from its resolved.json.

    Raises:
        InputError: the file is absent, damaged, or of another version.
    """
    row = read_json(file, "the resolved configuration of a run")
    found = parse_config(
        row, lambda key: (str(file), json_line(read_text(file, "JSON"), key.split(".")))
    )
    absent = first_absent(found.model_dump(mode="json"), row)
    if absent:
        raise InputError(
            str(file),
            got=f"no {absent}",
            expected="every key of a configuration, as a run writes it",
            next_step="restore the file; for a run of another version, add the value it had then",
        )
    return found


def _takes_text(key: str) -> bool:
    """Whether a dotted key takes nothing but a text."""
    kind: Any = RunConfig
    for part in key.split("."):
        if part not in getattr(kind, "model_fields", {}):
            return False
        kind = kind.model_fields[part].annotation
    options = get_args(kind) or (kind,)
    return all(option in (str, NoneType) or isinstance(option, str) for option in options)


def _known_keys(key: str) -> str:
    model: Any = RunConfig
    for part in key.split(".")[:-1]:
        model = model.model_fields[part].annotation
    return "one of the keys " + ", ".join(model.model_fields)


def _read(path_or_name: str) -> str:
    path = Path(path_or_name)
    if path_or_name in config_names() and not path.is_file():
        packaged = resources.files("forethought") / "configs" / f"{path_or_name}.toml"
        return packaged.read_text(encoding="utf-8")
    if path.suffix == ".toml" or os.path.exists(path):
        return read_text(path, "a TOML file")
    raise InputError(
        path_or_name,
        got="neither a file nor a shipped configuration",
        expected="a .toml path or one of " + ", ".join(config_names()),
        next_step="see `forethought list configs`",
    )
