"""A configuration is validated at load: unknown keys and impossible values never start a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from forethought.config import RunConfig, config_names, load_config
from forethought.errors import InputError

ROOT = Path(__file__).parents[1]


def keys(model: BaseModel, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found += keys(value, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_configuration_loads(name: str) -> None:
    assert load_config(name).name


def test_overrides_are_typed_and_reach_nested_tables() -> None:
    config = load_config("demo/atlas", {"rl.group_size": "5", "sft.optim.lr": "1e-3"})
    assert config.rl.group_size == 5 and config.sft.optim.lr == 1e-3


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"rl.group_siz": "5"}, r"rl\.group_siz.*group_size"),
        ({"rl.group_size": "1"}, "group of one"),
        ({"rl.group_size": "many"}, r"rl\.group_size"),
        ({"name.x": "1"}, "a value, not a table"),
        ({"midtrain.corpus": "fals"}, "'true', 'none', 'recap'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(overrides: dict[str, str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_config("demo/atlas", overrides)


def test_a_file_that_is_no_toml_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("a = \n")
    with pytest.raises(InputError, match=r"x\.toml: got text that is not TOML .*line 1"):
        load_config(str(file))


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="demo/atlas"):
        load_config("demo/atlantis")


def test_the_page_of_keys_lists_exactly_the_public_keys() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert re.findall(r"^\| `([a-z0-9_.]+)` \|", text, re.MULTILINE) == keys(RunConfig())
