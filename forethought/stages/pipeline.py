"""The whole method: base, prepare, midtrain, sft, rl, an evaluation after each, and the controls.

Each stage ends in a saved model and a line in state.json; a killed run goes on at the stage it was
in, and inside that stage at its last checkpoint. The page is written again after every stage, by
reading the files of the run, so it can be looked at from the first minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from forethought.hindsight.records import Labelled
from forethought.jsonl import write_json
from forethought.progress import say
from forethought.report.page import build_page
from forethought.rollout.modes import PLAIN_ARM, PROMPTED_ARM
from forethought.runfiles import read_env, read_state, read_summary
from forethought.runlog import cpu_seconds
from forethought.schema import RunConfig
from forethought.stages import base, controls, midtrain, prepare, rl, sft
from forethought.stages.comparisons import compare_stages
from forethought.stages.context import Context, open_run, set_threads
from forethought.stages.evaluate import evaluate_stage
from forethought.stages.examples import write_examples
from forethought.stages.memory import MemoryWatch, settle
from forethought.training.policy import Policy


class Ledger:
    """What a run has finished and what it cost, kept in state.json."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.state: dict[str, Any] = {
            "done": [],
            "cpu_s": {},
            "wall_s": {},
            "stages": [],
            "dose": {},
            "peak_rss_mb": 0.0,
            "command": "",
        }
        if file.is_file():
            self.state |= read_state(file)

    def is_done(self, name: str) -> bool:
        """Whether the step was finished, in this or an earlier process."""
        return name in self.state["done"]

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Does the work of a step and records it as finished; returns what it made.

        Times of several tries add up, of those too that an error or an interrupt ended.
        """
        cpu, wall = cpu_seconds(), time.monotonic()
        try:
            result = work()
        finally:
            for key, value in (("cpu_s", cpu_seconds() - cpu), ("wall_s", time.monotonic() - wall)):
                self.state[key][name] = round(self.state[key].get(name, 0.0) + value, 2)
            self.save()
        self.state["done"].append(name)
        self.save()
        return result

    def note(self, peak_rss_mb: float = 0.0, command: str = "") -> None:
        """Keeps the largest peak of all processes of the run, and the command that began it."""
        self.state["peak_rss_mb"] = max(self.state["peak_rss_mb"], peak_rss_mb)
        self.state["command"] = self.state["command"] or command
        self.save()

    def save(self) -> None:
        """Writes the ledger."""
        write_json(self._file, self.state)


class Pipeline:
    """One run in progress: the context of the full arm, the ledger, and the steps in order."""

    def __init__(
        self, config: RunConfig, out: str | Path, memory: MemoryWatch, *, resume: bool
    ) -> None:
        set_threads(config)
        settle()
        self.memory = memory
        self.context = open_run(config, out, resume=resume)
        self.ledger = Ledger(self.context.paths.state)
        write_examples(self.context)
        self.page()

    def page(self) -> None:
        """Writes page.html from the files of the run."""
        build_page(self.context.paths.root)

    def step(self, context: Context, stage: str, work: Callable[[], Policy]) -> Policy:
        """Runs a stage and its evaluation, or reads the saved model of a finished one."""
        name = context.eval_name(stage)
        done = self.ledger.is_done(name)
        policy = self.load(context, stage) if done else self._timed(name, work)
        self.evaluate(context, policy, stage)
        self.page()
        return policy

    def evaluate(self, context: Context, policy: Policy, stage: str) -> None:
        """Evaluates the model of a stage, unless that was done."""
        name = context.eval_name(stage)
        if not self.ledger.is_done(f"eval-{name}"):
            summaries = self._timed(f"eval-{name}", lambda: evaluate_stage(context, policy, stage))
            self.ledger.state["stages"] += [
                {"arm": context.arm, "stage": stage, "eval": label, "metrics": summary["metrics"]}
                for label, summary in summaries.items()
            ]
            self.ledger.save()

    def load(self, context: Context, stage: str) -> Policy:
        """The saved model of a finished stage."""
        return Policy.load(
            str(context.stage_dir(stage) / "model"), dtype=context.config.model.dtype
        )

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        try:
            return self.ledger.timed(name, work)
        finally:
            self.ledger.note(self.memory.peak_mb())

    def prepared(self, policy: Policy) -> list[Labelled]:
        """Stage 0: collected now or read back."""
        if self.ledger.is_done("prepare"):
            return prepare.run(replace(self.context, resume=True), policy)
        items: list[Labelled] = self._timed("prepare", lambda: prepare.run(self.context, policy))
        self.page()
        return items


def run_pipeline(
    config: RunConfig, out: str | Path, *, resume: bool = False, command: str = ""
) -> dict[str, Any]:
    """Runs every stage and control of a configuration; returns the summary of the run.

    Raises:
        InputError: the folder holds another run.
        GuardRail: a stage stopped itself.
    """
    with MemoryWatch() as memory:
        return _run(Pipeline(config, out, memory, resume=resume), command)


def _run(pipeline: Pipeline, command: str) -> dict[str, Any]:
    """The stages of the full arm, then the controls, then the summary."""
    context, config = pipeline.context, pipeline.context.config
    pipeline.ledger.note(command=command)
    say(f"run {context.paths.root}: page {context.paths.page}")
    policy = pipeline.step(context, "base", lambda: base.run(context))
    items = pipeline.prepared(policy)
    _stages(pipeline, context, policy, items, fresh_labels=config.midtrain.epochs == 0)
    for arm in config.control.arms:
        _control(pipeline, arm, items)
    return finish(pipeline)


def _stages(
    pipeline: Pipeline,
    context: Context,
    policy: Policy,
    items: Sequence[Labelled],
    *,
    fresh_labels: bool,
) -> None:
    """Stages 1 to 3 of an arm, those with anything to do, from the base model.

    A policy that states no number gets an estimate fitted behind each stage.
    """
    config = context.config

    def rated(stage: str, trained: Policy) -> Policy:
        return trained if config.teaches_blocks else controls.fitted(context, stage, trained)

    if config.midtrain.epochs > 0:
        policy = pipeline.step(context, "midtrain", lambda: midtrain.run(context, items, policy))
    if config.sft.epochs > 0:
        chosen = items if context.arm != "full" else items[: config.sft.num_episodes]
        policy = pipeline.step(
            context,
            "sft",
            lambda: rated("sft", sft.run(context, chosen, policy, fresh_labels=fresh_labels)),
        )
    if config.rl.updates > 0:
        pipeline.step(context, "rl", lambda: rated("rl", rl.run(context, policy)))


def _control(pipeline: Pipeline, arm: str, items: Sequence[Labelled]) -> None:
    """Trains and evaluates one control; what each is: `stages.controls`."""
    full = pipeline.context
    context = replace(full, arm=arm)
    policy = pipeline.load(full, "base")
    if arm == PROMPTED_ARM:
        pipeline.evaluate(context, policy, "base")
        return
    config = full.config
    if arm == PLAIN_ARM:
        epochs = config.midtrain.epochs + config.sft.epochs
        spent = {"plain_epochs": epochs}
    else:
        one_pass, _ = sft.dose(full, items, policy)
        tokens = controls.dose(full, items, policy)
        epochs = round(tokens["full"] / max(one_pass, 1), 3)
        spent = {**tokens, "control_epochs": epochs}
    pipeline.ledger.state["dose"] |= spent
    pipeline.ledger.save()
    context = replace(context, config=controls.with_grpo(config, epochs, blocks=arm != PLAIN_ARM))
    _stages(pipeline, context, policy, items, fresh_labels=True)


def finish(pipeline: Pipeline) -> dict[str, Any]:
    """Writes RUN/summary.json (schema forethought.run/1) and the page; returns the summary.

    Command, times and peak memory are those of all processes of the run, so that going on with a
    finished one changes none of them.
    """
    state = pipeline.ledger.state
    compared = compare_stages(pipeline.context, state["stages"])
    if not pipeline.context.paths.summary.is_file():
        pipeline.ledger.note(pipeline.memory.peak_mb())
    summary = {
        "schema": "forethought.run/1",
        "seed": pipeline.context.config.seed,
        "smoke": pipeline.context.config.smoke,
        "command": state["command"],
        "stages": state["stages"],
        "comparisons": compared,
        "dose": state["dose"],
        "cpu_s": state["cpu_s"],
        "wall_s": state["wall_s"],
        "peak_rss_mb": state["peak_rss_mb"],
        "page": "page.html",
    }
    write_json(pipeline.context.paths.summary, summary)
    _record_hashes(pipeline)
    pipeline.page()
    return summary


def _record_hashes(pipeline: Pipeline) -> None:
    """Adds the hashes of the final model and of the evaluation tasks to env.json."""
    paths = pipeline.context.paths
    stages = [paths.eval_dir(name) / "summary.json" for name in ("rl", "sft", "midtrain", "base")]
    last = read_summary(next(file for file in stages if file.is_file()))
    env = read_env(paths.env)
    env["sha256"] |= {"model": last["model_sha256"], "data": last["data_sha256"]}
    write_json(paths.env, env)
