"""A configuration is validated at load: unknown keys and impossible values never start a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from forethought.config import config_names, load_config, read_resolved
from forethought.errors import InputError
from forethought.schema import RunConfig

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


@pytest.mark.parametrize("written", ["true", '"true"'])
def test_a_key_that_takes_a_text_is_not_read_as_a_truth_value_or_a_number(written: str) -> None:
    config = load_config("demo/atlas", {"midtrain.corpus": written, "name": "7"})
    assert config.midtrain.corpus == "true" and config.name == "7"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"rl.group_siz": "5"}, r"rl\.group_siz.*group_size"),
        ({"rl.group_size": "1"}, "group of one"),
        ({"rl.group_size": "many"}, r"rl\.group_size"),
        ({"name.x": "1"}, "a value, not a table"),
        ({"midtrain.corpus": "fals"}, "'true', 'none', 'recap'"),
        ({"seed": "-1"}, r"--seed: got seed = -1"),
        ({"seed": "9" * 30}, "below 2"),
        ({"seed": "9" * 5000}, "seed"),
        ({"data.law_seed": "-1"}, "law_seed"),
        ({"sft.epochs": "1e400"}, "finite"),
        ({"sft.epochs": "1e300"}, "less than or equal"),
        ({"midtrain.epochs": "-1"}, "greater than or equal"),
        ({"rl.clip_low": "-1"}, "--rl.clip_low"),
        ({"rl.clip_low": "1.5"}, "clip_low"),
        ({"rl.c_g": "nan"}, "finite"),
        ({"rl.optim.lr": "inf"}, "finite"),
        ({"rl.updates": "true"}, "not true or false"),
        ({"rl.updates": "1\nprompts = 3"}, "rl.updates"),
        ({"eval.resamples": "0"}, "greater than or equal"),
        ({"eval.temperature": "-1"}, "temperature"),
        ({"eval.imagine_after": '["slf"]'}, r"imagine_after\.0"),
        ({"model.name": ""}, "model.name"),
        ({"model.heads": "0"}, "heads"),
        ({"model.heads": "3"}, "heads that divide"),
        ({"model.hidden": "12", "model.heads": "4"}, "even"),
        ({"rollout.max_context_tokens": "600"}, "model.max_positions"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(overrides: dict[str, str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_config("demo/atlas", overrides)


def numbers(model: BaseModel, prefix: str = "") -> list[str]:
    """Keys of whole numbers and of floats."""
    found: list[str] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found += numbers(value, f"{prefix}{name}.")
        elif type(value) in (int, float):
            found.append(prefix + name)
    return found


@pytest.mark.parametrize("key", numbers(RunConfig()))
@pytest.mark.parametrize("value", ["-1", "inf", "nan", "false", "'many'", "[]", "1" + "0" * 400])
def test_no_number_may_be_negative_endless_or_no_number(key: str, value: str) -> None:
    with pytest.raises(InputError, match=f"--{key}"):
        load_config("demo/atlas", {key: value})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[rl]\nupdates = 3\ngroup_size = 1\n", 3),
        ("seed = 3\n\n[sft]\nepochs = 2.0\n\n[rl]\nepochs = 2.0\n", 7),
        ("[sft.optim]\nname = 'sgd'\n", 2),
        ("rl.updates = 3\nrl.prompts = 0\n", 2),
        ("seed = 3\nrl = { updates = 3, prompts = 0 }\n", 2),
        ('[eval]\nimagine_after = [\n  "x",\n]\n', 2),
        ("[model]\nheads = 3\n", 1),
        ("x = " + "[" * 5000, None),
        ("seed = " + "9" * 5000, None),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tmp_path: Path, text: str, line: int | None) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(str(file))
    assert (
        f"{file}: " in str(caught.value)
        if line is None
        else f"{file}:{line}: " in str(caught.value)
    )


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "c.toml"
    folder.mkdir()
    for path in (folder, tmp_path):
        with pytest.raises(InputError, match="a folder"):
            load_config(str(path))


def test_the_configuration_of_a_run_must_hold_every_key(tmp_path: Path) -> None:
    file = tmp_path / "resolved.json"
    whole = load_config("demo/atlas").model_dump(mode="json")
    file.write_text(json.dumps(whole))
    assert read_resolved(file) == load_config("demo/atlas")
    del whole["rl"]["kl"]
    for text, named in ((json.dumps(whole), r"no rl\.kl"), ("{}", "no name")):
        file.write_text(text)
        with pytest.raises(InputError, match=named):
            read_resolved(file)
    file.write_text('{\n "name": "x",\n "seed": -1\n}')
    with pytest.raises(InputError, match=r"resolved\.json:3: "):
        read_resolved(file)


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
