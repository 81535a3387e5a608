"""Stages that cells share: each is run once, by the first cell that needs it.

What a stage depends on is the sections of the configuration up to its own, and the code. Two cells
that agree in these share the stage; its folder is named after their hash. A lock on the folder lets
several processes, also on several machines with one file system, work on one study.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock

import forethought
from forethought.hindsight.records import Labelled
from forethought.jsonl import read_json, write_json
from forethought.runlog import cpu_seconds
from forethought.schema import RunConfig
from forethought.stages import base, midtrain, prepare, rl, sft
from forethought.stages.context import Context, config_hash, open_run
from forethought.training.policy import Policy

STAGES = ("base", "prepare", "midtrain", "sft", "rl")
_BASE = ("seed", "data", "model", "rollout", "base")
_LABELLED = (*_BASE, "prepare", "teacher", "judge")
SECTIONS: dict[str, tuple[str, ...]] = {
    "base": _BASE,
    "prepare": _LABELLED,
    "midtrain": (*_LABELLED, "midtrain"),
    "sft": (*_LABELLED, "midtrain", "sft"),
    "rl": (*_LABELLED, "midtrain", "sft", "rl"),
}
"""Sections that a stage's result is a function of."""


def trained(config: RunConfig) -> list[str]:
    """The stages of a configuration that train a model, in order."""
    lengths = {
        "base": 1.0,
        "midtrain": config.midtrain.epochs,
        "sft": config.sft.epochs,
        "rl": float(config.rl.updates),
    }
    return [stage for stage, length in lengths.items() if length > 0]


def node_config(config: RunConfig, stage: str) -> RunConfig:
    """The configuration with nothing but what the stage depends on; the rest is default.

    The held-out blocks that stage 1 is measured on are of the evaluation's split and train nothing.
    """
    parts = {name: getattr(config, name) for name in SECTIONS[stage]}
    quiet = RunConfig().eval.model_copy(
        update={"split": config.eval.split, "num_blocks": config.eval.num_blocks}
    )
    return RunConfig(name=stage, **parts, eval=quiet)


@cache
def code_hash() -> str:
    """sha256 of all code that a stage may run: the package but for what only shows or schedules."""
    root = Path(forethought.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        place = file.relative_to(root).as_posix()
        if place.split("/")[0] not in ("cli", "report", "study"):
            digest.update(f"{place}\n".encode() + file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Nodes:
    """The shared stages of a study in OUT/nodes."""

    root: Path

    def folder(self, config: RunConfig, stage: str) -> Path:
        """Where a stage of a configuration lies."""
        made = f"{config_hash(node_config(config, stage))}/{code_hash()}"
        name = hashlib.sha256(made.encode()).hexdigest()[:10]
        return self.root / f"{config.seed}-{stage}-{name}"

    def policy(self, config: RunConfig, stage: str) -> Policy:
        """The model behind a stage, trained now or read."""
        folder = self.folder(config, stage)
        model = folder / stage / "model"
        with self._lock(folder):
            if not model.is_dir():
                self._train(config, stage, folder)
        return Policy.load(str(model), dtype=config.model.dtype)

    def items(self, config: RunConfig) -> list[Labelled]:
        """The corpus of stage 0, made now or read."""
        policy = self.policy(config, "base")
        folder = self.folder(config, "prepare")
        with self._lock(folder):
            context = self._open(config, "prepare")
            if (folder / "prepare" / "report.json").is_file():
                return prepare.run(context.with_resume(True), policy)
            found: list[Labelled] = []
            _timed(folder, lambda: found.extend(prepare.run(context, policy)))
            return found

    def results(self, config: RunConfig) -> list[Path]:
        """What the stages of a configuration leave when they are finished."""
        stages = trained(config)
        found = [self.folder(config, stage) / stage / "model" for stage in stages]
        if "midtrain" in stages or "sft" in stages:
            found.append(self.folder(config, "prepare") / "prepare" / "report.json")
        return found

    def cost(self, config: RunConfig) -> dict[str, float]:
        """CPU-seconds of each stage that a configuration stands on."""
        files = {stage: self.folder(config, stage) / "cost.json" for stage in STAGES}
        found = {stage: file for stage, file in files.items() if file.is_file()}
        return {stage: float(read_json(file)["cpu_s"]) for stage, file in found.items()}

    def _train(self, config: RunConfig, stage: str, folder: Path) -> None:
        if stage == "base":
            context = self._open(config, stage)
            _timed(folder, lambda: base.run(context))
            return
        stages = trained(config)
        before = stages[stages.index(stage) - 1]
        policy = self.policy(config, before)
        items = self.items(config) if stage != "rl" else []
        context = self._open(config, stage)
        _timed(folder, lambda: _run(context, stage, items, policy, fresh=before == "base"))

    def _open(self, config: RunConfig, stage: str) -> Context:
        folder = self.folder(config, stage)
        begun = (folder / "resolved.json").is_file()
        return open_run(node_config(config, stage), folder, resume=begun)

    def _lock(self, folder: Path) -> FileLock:
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{folder}.lock")


def _run(
    context: Context, stage: str, items: Sequence[Labelled], policy: Policy, *, fresh: bool
) -> None:
    if stage == "midtrain":
        midtrain.run(context, items, policy)
    elif stage == "sft":
        chosen = items[: context.config.sft.num_episodes]
        sft.run(context, chosen, policy, fresh_labels=fresh)
    else:
        rl.run(context, policy)


def _timed(folder: Path, work: Callable[[], object]) -> None:
    """Does the work; its CPU-seconds stand in cost.json, those of an earlier try not among them."""
    cpu, wall = cpu_seconds(), time.monotonic()
    work()
    cost = {"cpu_s": cpu_seconds() - cpu, "wall_s": time.monotonic() - wall}
    write_json(folder / "cost.json", cost)
