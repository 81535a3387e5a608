"""GSM8K with a Python tool: trajectories from its own calculator annotations, no teacher."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from forethought.data.decontaminate import question_key, tokens_of
from forethought.data.gsm8k import (
    GsmRow,
    GsmTrajectory,
    episodes_from_annotations,
    find_gsm8k,
    load_gsm8k,
)
from forethought.domains import no_worlds
from forethought.domains.taught import writer_of
from forethought.envs.maths import MathsPython, MathsSession
from forethought.errors import InputError
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import MathsWriter, Writer
from forethought.rollout.render import TextFormat
from forethought.schema import RunConfig, ToolsConfig
from forethought.tools.sandbox import open_sandbox
from forethought.types import Action, Rollout, StopReason, Task, Truth

VALIDATION_SHARE = 0.1
"""The last rows of the published training split train nothing: there is no validation split."""


@dataclass(frozen=True, kw_only=True)
class Gsm8kDomain:
    """Problems with few annotations train; validation and test hold both kinds."""

    env_name: str
    text_format: TextFormat
    writer: Writer
    seed: int
    max_annotations: int
    tools: ToolsConfig
    imitate_failures: bool = False  # they are annotations with a planted slip

    @classmethod
    def from_config(cls, config: RunConfig) -> Gsm8kDomain:
        """The domain of a configuration; data are read when first needed."""
        return cls(
            env_name="maths",
            text_format=TextFormat(
                name="maths", style="maths", prompt_style=config.model.prompt_style
            ),
            writer=writer_of(config, MathsWriter()),
            seed=config.seed,
            max_annotations=config.data.max_annotations,
            tools=config.tools,
        )

    @cached_property
    def _train(self) -> list[GsmTrajectory]:
        return self._annotated("train")

    def _annotated(self, split: str) -> list[GsmTrajectory]:
        """Trajectories of the short problems of a split, right and wrong, shuffled by the seed."""
        found: list[GsmTrajectory] = []
        for row in _rows(split):
            for episode in episodes_from_annotations(row, seed=self.seed):
                if 1 <= len(episode.steps) <= self.max_annotations:
                    found.append(episode)
        random.Random(f"gsm8k/{self.seed}").shuffle(found)
        return found

    def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
        """Training problems with few annotations; of other splits half such, half of all kinds."""
        if split == "train":
            seen: dict[str, Task] = {}
            for episode in self._train:
                seen.setdefault(episode.task.id, episode.task)
            rows = list(seen.values())
            if not rows:
                raise self._too_few(split)
            return [rows[(offset + i) % len(rows)] for i in range(num)]
        found = _rows(split)
        if not found and num:
            raise self._too_few(split)
        # Those of fewer tasks are among those of more, so that windows share nothing.
        before = {task.id for task in _mixed(found, offset, self.max_annotations)}
        chosen = _mixed(found, offset + num, self.max_annotations)
        return [task for task in chosen if task.id not in before]

    def _too_few(self, split: str) -> InputError:
        return InputError(
            f"GSM8K ({split})",
            got=f"no problem that can be used (data.max_annotations = {self.max_annotations})",
            expected="at least one; the last tenth of the training rows is for validation",
            next_step="take a larger file, or raise data.max_annotations",
        )

    def tasks_of_worlds(self, seeds: range, num: int | None) -> list[Task]:
        """GSM8K has no worlds."""
        raise no_worlds("gsm8k")

    def make_env(self) -> Any:
        """A Python tool in a sandbox.

        Raises:
            MissingError: the sandbox that the configuration names, or one for `auto`, is not here.
        """
        return python_env(self.tools)

    def trajectories(self, num: int, tokenizer: Any, *, split: str = "train") -> list[Trajectory]:
        """Annotated solutions and their seeded failures."""
        found = self._train if split == "train" else self._annotated(split)
        if not found and num:
            raise self._too_few(split)
        return [as_trajectory(episode) for episode in found[:num]]

    def entities(self) -> tuple[str, ...]:
        """Capital letters and numbers show what must not be told."""
        return ()

    def truth(self, rollout: Rollout) -> Truth:
        """There is no oracle."""
        return Truth()


def python_env(tools: ToolsConfig) -> MathsPython:
    """The environment of maths problems, with programs where `tools` says.

    Raises:
        MissingError: the sandbox that is named, or one for `auto`, is not here.
    """
    kind = MathsSession if tools.session else MathsPython
    return kind(sandbox=open_sandbox(tools.sandbox))


def _rows(split: str) -> list[GsmRow]:
    """The problems of `train` and `val`, which share the published training split, or `test`.

    A question of a test file is in neither of the others, and one of `val` not in `train`.
    """
    if split == "test":
        return load_gsm8k("test")
    rows = load_gsm8k("train")
    first = len(rows) - round(len(rows) * VALIDATION_SHARE)
    tests = load_gsm8k("test") if find_gsm8k("test") is not None else []
    held_out = {_key(row) for row in (*tests, *(rows[first:] if split == "train" else ()))}
    if split == "train":
        return [row for row in rows[:first] if _key(row) not in held_out]
    left = [row for row in rows[first:] if _key(row) not in held_out]
    return [replace(row, task=replace(row.task, split="val")) for row in left]


def _key(row: GsmRow) -> str:
    return question_key(tokens_of(row.task.question))


def _mixed(rows: list[GsmRow], num: int, max_annotations: int) -> list[Task]:
    """Half rows with few annotations, half rows of all kinds, in file order, marked as such."""
    few = [row.task for row in rows if 1 <= len(row.annotations) <= max_annotations][: num // 2]
    chosen = {task.id for task in few}
    rest = [row.task for row in rows if row.task.id not in chosen][: num - len(few)]
    return [*_marked(few, "few annotations"), *_marked(rest, "all kinds")]


def _marked(tasks: list[Task], group: str) -> list[Task]:
    return [replace(task, columns={**task.columns, "group": group}) for task in tasks]


def as_trajectory(episode: GsmTrajectory) -> Trajectory:
    """An annotated solution as turns: one call a calculation, then the answer."""
    steps = [
        Step(
            think=step.think,
            action=Action(kind="python", text=step.code),
            observation=step.observation,
        )
        for step in episode.steps
    ]
    answer = Step(
        think="The result is printed.",
        action=Action(kind="answer", text=episode.answer),
        observation="",
    )
    return Trajectory(
        task=episode.task,
        source_policy="annotations",
        steps=(*steps, answer),
        success=bool(episode.success),
        stop_reason=StopReason.ANSWER,
    )
