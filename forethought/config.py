"""The configuration of a run: TOML + dotted overrides -> one frozen, validated object.

`load_config("demo/atlas", {"rl.updates": "10"})` reads a file of the package (see `forethought list
configs`) or of the user, applies overrides, and fails on an unknown key or an impossible value at
load, not after an hour. Defaults are the vetted setting of the synthetic world; every key is listed
in docs/configuration.md.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from forethought.errors import InputError
from forethought.jsonl import read_json


class Section(BaseModel):
    """A table of the TOML file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Where tasks come from."""

    source: Literal["atlas", "gsm8k"] = "atlas"
    law_seed: int | None = None  # None: the run's seed
    identical_cells: bool = False  # negative control: all cells of the law alike
    max_annotations: int = Field(2, ge=1)  # gsm8k: problems with at most this many calculations


class ModelConfig(Section):
    """The policy: a tiny Llama from scratch, or a Hugging Face model by name."""

    name: str = "tiny"  # "tiny", a folder, a hub name, or a name that `fetch` knows
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 1
    ffn: int = 384
    max_positions: int = 512
    dtype: Literal["float32", "bfloat16"] = "float32"
    prompt_style: Literal["bare", "instruct", "chat"] = "bare"
    train_last_layers: int = Field(0, ge=0)  # only these decoder layers learn; 0: every weight


class OptimSection(Section):
    """One optimiser and its schedule."""

    name: Literal["muon", "adamw"] = "muon"
    lr: float = Field(6e-3, gt=0)  # Muon: hidden matrices; AdamW: everything
    adamw_lr: float = Field(6e-3, gt=0)  # Muon only: embeddings, norms
    momentum: float = Field(0.95, ge=0, lt=1)  # Muon only
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_fraction: float = Field(0.03, ge=0, le=1)
    final_fraction: float = Field(0.1, ge=0, le=1)


class SupervisedConfig(Section):
    """What stages with cross-entropy share."""

    batch_sequences: int = Field(16, ge=1)
    micro_batch_tokens: int = Field(1024, ge=64)
    clip_grad_norm: float = 1.0
    bf16: bool = False
    optim: OptimSection = OptimSection()
    checkpoint_every: int = Field(50, ge=1)  # optimiser steps


class BaseTraining(SupervisedConfig):
    """Before stage 1: copying, pages, episodes (synthetic worlds); episodes (pretrained models)."""

    drill_tokens: int = 350_000
    page_tokens: int = 60_000
    episode_tokens: int = 1_200_000
    warmup_episodes: int = Field(0, ge=0)  # pretrained models: episodes without blocks
    min_copy_accuracy: float = Field(0.97, ge=0, le=1)  # of the gate; 0: no gate
    gate_tasks: int = 100


class PrepareConfig(Section):
    """Stage 0: trajectories, executed branches, labels, blocks."""

    num_episodes: int = Field(4000, ge=1)  # trajectories of the corpus
    branch_states: int = Field(200, ge=0)  # states with executed alternatives
    alternatives: int = Field(3, ge=1)  # K, distinct executed actions a branch state
    continuations: int = Field(4, ge=1)  # k, per labelled action
    prior_strength: float = Field(1.0, ge=0)  # a of (s + a p0) / (k + a)
    max_wave: int = Field(512, ge=1)  # continuations decoded at a time
    label_temperature: float = 1.0
    max_failed_share: float = Field(0.02, ge=0, le=1)  # of continuations lost to the machine
    outcome_only: bool = False  # stage 0 labels are outcomes: the model cannot act yet


class MidtrainConfig(SupervisedConfig):
    """Stage 1 (WM-AMT)."""

    corpus: Literal["true", "none", "recap", "shuffled", "constant"] = "true"
    epochs: float = 1.0
    block_share: float = Field(0.5, ge=0, le=1)  # of the steps 1..T-1 that carry a block
    untouched_share: float = Field(0.3, ge=0, le=1)  # trajectories without blocks in the mixture
    lambda_obs: float = Field(0.0, ge=0)


class SftConfig(SupervisedConfig):
    """Stage 2 (FE-SFT)."""

    num_episodes: int = Field(4000, ge=1)
    epochs: float = 2.0
    batch_sequences: int = Field(8, ge=1)
    optim: OptimSection = OptimSection(final_fraction=0.02)
    format_off_share: float = Field(0.1, ge=0, le=1)
    relabel: bool = True  # new labels by the student that starts this stage


class RlConfig(Section):
    """Stage 3 (FC-RL)."""

    profile: Literal["causal", "paper", "grpo"] = "causal"
    updates: int = Field(80, ge=0)
    prompts: int = Field(12, ge=1)  # tasks a batch
    group_size: int = Field(8, ge=1)
    temperature: float = Field(1.0, gt=0)
    omega: float = 0.2  # paper
    c_g: float = 0.1  # causal
    c_q: float = 0.5  # causal
    malformed_penalty: float = Field(0.5, ge=0)  # off the reward, a turn that breaks the format
    kl: float = Field(0.15, ge=0)  # weight of the KL to the policy that stage 3 began with
    w_roadmap: float = Field(1.0, ge=0)  # causal: weight of these tokens in the policy gradient
    w_keyword: float = Field(0.2, ge=0)
    w_analysis: float = Field(0.2, ge=0)
    w_act: float = Field(0.5, ge=0)  # thought and action
    w_other: float = Field(0.2, ge=0)  # tags
    reference_tokens: int = 64  # L_ref
    clip_low: float = 0.2
    clip_high: float = 0.28
    micro_batch_tokens: int = 1024
    clip_grad_norm: float = 1.0
    bf16: bool = False
    optim: OptimSection = OptimSection(
        lr=3e-3, adamw_lr=2e-3, warmup_fraction=0.1, final_fraction=0.0
    )
    checkpoint_every: int = Field(5, ge=1)
    max_failed_share: float = Field(0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _groups_can_have_signal(self) -> RlConfig:
        if self.group_size < 2:
            raise ValueError(
                f"rl.group_size must be >= 2 (got {self.group_size}); "
                "a group of one has zero advantage"
            )
        return self


class RolloutConfig(Section):
    """Bounds of an episode."""

    max_turns: int = Field(6, ge=1)
    max_turn_tokens: int = Field(96, ge=8)
    max_context_tokens: int = Field(400, ge=32)
    max_batch: int = Field(256, ge=1)
    bf16: bool = False  # sample with a bfloat16 copy of the weights
    top_k_documents: int = Field(2, ge=1)


class EvalConfig(Section):
    """Evaluation after each stage."""

    num_tasks: int = Field(250, ge=1)
    split: Literal["val", "test"] = "val"
    temperature: float = 1.0
    greedy_too: bool = True
    resamples: int = 2000
    num_blocks: int = Field(250, ge=0)  # held-out blocks scored before and after stage 1
    imagine_k: int = 4
    imagine_after: tuple[str, ...] = ("sft", "rl")


class ControlConfig(Section):
    """The arms beside the full pipeline."""

    arms: tuple[Literal["fe-sft-grpo"], ...] = ("fe-sft-grpo",)


class RunConfig(Section):
    """Everything a run is."""

    name: str = "run"
    seed: int = 100
    smoke: bool = False  # marks page and summary: too small for conclusions
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    rollout: RolloutConfig = RolloutConfig()
    base: BaseTraining = BaseTraining()
    prepare: PrepareConfig = PrepareConfig()
    midtrain: MidtrainConfig = MidtrainConfig()
    sft: SftConfig = SftConfig()
    rl: RlConfig = RlConfig()
    eval: EvalConfig = EvalConfig()
    control: ControlConfig = ControlConfig()

    @property
    def law_seed(self) -> int:
        """Seed of the world's physics: its own key, else the run's seed."""
        return self.seed if self.data.law_seed is None else self.data.law_seed


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
        overrides: `{"rl.group_size": "8"}`; values are read as TOML, else taken as text.

    Raises:
        InputError: no such file or name, not TOML, an unknown key, an impossible value.
    """
    table = _read_table(path_or_name)
    for dotted, text in (overrides or {}).items():
        _set(table, dotted, text)
    return parse_config(table, path_or_name)


def parse_config(table: Mapping[str, Any], where: str) -> RunConfig:
    """Validates a table of plain values; `where` names it in messages."""
    try:
        return RunConfig.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(table)"
        got = json.dumps(first.get("input"), default=str)[:80]
        known = _known_keys(key) if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(
            where,
            got=f"{key} = {got}",
            expected=known,
            next_step=f"correct or remove {key} (all keys: docs/configuration.md)",
        ) from error


def read_resolved(file: Path) -> RunConfig:
    """The configuration that a run was made with, from its resolved.json.

    Raises:
        InputError: the file is absent, damaged, or of another version.
    """
    return parse_config(read_json(file, "the resolved configuration of a run"), str(file))


def _known_keys(key: str) -> str:
    model: Any = RunConfig
    for part in key.split(".")[:-1]:
        model = model.model_fields[part].annotation
    return "one of the keys " + ", ".join(model.model_fields)


def _read_table(path_or_name: str) -> dict[str, Any]:
    path = Path(path_or_name)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise InputError(
                path_or_name, got="no such file", expected="a TOML file", next_step="check the path"
            )
        data = path.read_bytes()
    elif path_or_name in config_names():
        data = (resources.files("forethought") / "configs" / f"{path_or_name}.toml").read_bytes()
    else:
        raise InputError(
            path_or_name,
            got="neither a file nor a shipped configuration",
            expected="a .toml path or one of " + ", ".join(config_names()),
            next_step="see `forethought list configs`",
        )
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            path_or_name,
            got=f"text that is not TOML ({error})",
            expected="a TOML file in UTF-8",
            next_step="mend the line that the message names",
        ) from error


def _set(table: dict[str, Any], dotted: str, text: str) -> None:
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
    table[last] = _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text
