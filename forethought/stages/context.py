"""What every stage gets: the configuration, the folder of the run, the domain, and the record.

A run is a folder. `open_run` writes the resolved configuration, versions and command into it before
step 0, or, with `resume`, refuses a folder that was made with another configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forethought.chat.judge import judge_of
from forethought.config import read_resolved
from forethought.domains import Domain, make_domain
from forethought.errors import InputError
from forethought.files import make_folder
from forethought.jsonl import write_json, write_text_atomic
from forethought.rewards.grading import check_grader
from forethought.rewards.ruling import Judge
from forethought.rewards.terms import RewardConfig
from forethought.rollout.backend import Sampling
from forethought.rollout.engine import EngineConfig
from forethought.rollout.modes import mode_after, parse_mode
from forethought.runlog import RunPaths, capture_env
from forethought.schema import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One run: what it is, where it lives, and the world it happens in."""

    config: RunConfig
    paths: RunPaths
    domain: Domain
    resume: bool = False
    judge: Judge | None = None  # of every rollout of the run; None: the grader alone
    arm: str = "full"  # name of the arm; its stages lie in folders of their own

    def with_resume(self, resume: bool) -> Context:
        """The same run, going on from saved state or starting its stages anew."""
        return replace(self, resume=resume)

    @property
    def config_hash(self) -> str:
        """sha256 of the resolved configuration: what a checkpoint must have been made with."""
        return config_hash(self.config)

    def engine(self, *, temperature: float, mode_tokens: int | None = None) -> EngineConfig:
        """Bounds and sampling of an episode at a temperature."""
        bounds = self.config.rollout
        return EngineConfig(
            max_turns=bounds.max_turns,
            max_context_tokens=bounds.max_context_tokens,
            max_observation_tokens=bounds.max_observation_tokens,
            sampling=Sampling(
                temperature=temperature, max_tokens=mode_tokens or bounds.max_turn_tokens
            ),
        )

    @property
    def reward(self) -> RewardConfig:
        """How finished rollouts are judged, in training and in evaluation."""
        return RewardConfig()

    def stage_dir(self, stage: str) -> Path:
        """Folder of a stage of this arm: RUN/sft, or RUN/ARM/sft for a control."""
        return self.paths.root / stage if self.arm == "full" else self.paths.root / self.arm / stage

    def prompt_after(self, stage: str) -> str:
        """What the model of a stage of this arm is asked for: `foresight` or `plain`."""
        name = mode_after(stage, self.arm, blocks=self.config.teaches_blocks)
        return parse_mode(name).prompt

    def eval_name(self, stage: str) -> str:
        """Name of the evaluation of a stage: `sft`, or `ARM-sft` for a control."""
        return stage if self.arm == "full" else f"{self.arm}-{stage}"


def config_hash(config: RunConfig) -> str:
    """sha256 of a configuration in canonical JSON."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def open_run(config: RunConfig, out: str | Path, *, resume: bool) -> Context:
    """Creates the folder of a run, or opens it again.

    Raises:
        InputError: the folder cannot be made, it holds another run and `resume` is off, or it was
            made with another configuration.
        MissingError: the tasks are mathematics, and math-verify does not judge here.
    """
    root = make_folder(out, "--out")
    paths = RunPaths(root)
    resolved = config.model_dump(mode="json")
    if paths.resolved.is_file():
        before = read_resolved(paths.resolved)
        if before != config:
            changed = _first_difference(before.model_dump(mode="json"), resolved)
            raise InputError(
                str(root),
                got=f"a folder made with another configuration ({changed})",
                expected="the configuration that the run began with",
                next_step="choose another --out, or drop the changed option",
            )
        if not resume:
            raise InputError(
                str(root),
                got="a folder that holds a run",
                expected="an empty or new folder",
                next_step="add --resume to go on with it, or choose another --out",
            )
    if not paths.resolved.is_file():
        hashes = {"config": config_hash(config)}
        env = capture_env(sys.argv[1:], {"run": config.seed}, hashes)
        write_json(paths.env, {**env, "threads": threads_for(config)})
        write_text_atomic(paths.config, _toml(resolved))
        write_json(paths.resolved, resolved)
    judge = judge_of(config)
    domain = make_domain(config)
    if domain.env_name != "search_qa":  # before anything is trained on its word
        check_grader("maths")
    return Context(config=config, paths=paths, domain=domain, resume=resume, judge=judge)


def holds_run(out: str | Path, config: RunConfig) -> bool:
    """Whether a folder holds a run of exactly this configuration."""
    file = RunPaths(out).resolved
    return os.path.isfile(file) and read_resolved(file) == config


def _first_difference(a: Any, b: Any, path: str = "") -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if a.get(key) != b.get(key):
                return _first_difference(a.get(key), b.get(key), f"{path}.{key}".lstrip("."))
    return f"{path}: {a!r} before, {b!r} now"


def _toml(table: dict[str, Any], prefix: str = "") -> str:
    """TOML of nested tables of plain values, None left out."""
    plain = [
        f"{key} = {json.dumps(value)}"
        for key, value in table.items()
        if value is not None and not isinstance(value, dict)
    ]
    text = "\n".join(plain) + "\n"
    for key, value in table.items():
        if isinstance(value, dict):
            name = f"{prefix}.{key}".lstrip(".")
            text += f"\n[{name}]\n" + _toml(value, name)
    return text


def threads_for(config: RunConfig) -> int:
    """Threads of a run: FORETHOUGHT_THREADS, else 1 for a tiny model and all cores for others.

    A tiny model's operations are so short that with two threads a neighbour on the same cores makes
    every barrier wait.
    """
    default = 1 if config.model.name == "tiny" else os.cpu_count() or 1
    return int(os.environ.get("FORETHOUGHT_THREADS", "0")) or default


def set_threads(config: RunConfig) -> None:
    """Lets torch use the threads of the run."""
    import torch

    torch.set_num_threads(threads_for(config))
