"""Public maths sets with a Python tool: tasks by split, trajectories where annotations give them.

Training tasks are rows whose split is train and which are no held-out row over again: not its
question, nor half of its words. Development rows are dealt out to validation and test; where there
are none, a tenth of the training rows validates. GSM8K's annotated rows give first trajectories; of
other sets they are imported (`prepare --import`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from forethought.data.decontaminate import MOST, Asked, TestIndex
from forethought.data.gsm8k import GsmTrajectory, episodes_from_annotations, parse_row
from forethought.domains import no_worlds
from forethought.domains.gsm8k import VALIDATION_SHARE, as_trajectory, python_env
from forethought.domains.sets import dealt, grouped, rows_of, too_few
from forethought.domains.taught import writer_of
from forethought.errors import InputError
from forethought.hindsight.trajectory import Trajectory
from forethought.hindsight.writer import MathsWriter, Writer
from forethought.rollout.render import TextFormat
from forethought.schema import DataConfig, RunConfig, ToolsConfig
from forethought.types import Rollout, Task, Truth


@dataclass(frozen=True, kw_only=True)
class MathsDomain:
    """Problems of the named sets; they are read when first needed."""

    data: DataConfig
    tools: ToolsConfig
    seed: int
    text_format: TextFormat
    writer: Writer
    env_name: str = "maths"
    imitate_failures: bool = False  # those by rule are annotations with a planted slip

    @classmethod
    def from_config(cls, config: RunConfig) -> MathsDomain:
        """The domain of a configuration."""
        return cls(
            data=config.data,
            tools=config.tools,
            seed=config.seed,
            text_format=TextFormat(
                name="maths",
                style="maths",
                prompt_style=config.model.prompt_style,
                old_blocks=config.rollout.old_blocks,
            ),
            writer=writer_of(config, MathsWriter()),
        )

    @cached_property
    def _rows(self) -> list[Task]:
        return rows_of(self.data, "maths")

    @cached_property
    def _splits(self) -> dict[str, list[Task]]:
        """The tasks of each split, shuffled by the seed; no training task is a held-out one."""
        rows = sorted(self._rows, key=lambda task: task.id)
        random.Random(f"maths/{self.seed}").shuffle(rows)
        if any(task.split == "val" for task in rows):
            splits = dealt(rows)
        else:
            train = [task for task in rows if task.split == "train"]
            last = {task.id for task in train[len(train) - round(len(train) * VALIDATION_SHARE) :]}
            marked = [replace(t, split="val") if t.id in last else t for t in rows]
            splits = dealt(marked, to=("val",))
        splits["train"] = _unlike(splits["train"], [*splits["val"], *splits["test"]])
        return {
            name: [grouped(replace(task, split=name)) for task in tasks]
            for name, tasks in splits.items()
        }

    def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
        """Tasks of a split after `offset`; those of training begin again at their end."""
        found = self._splits.get(split, [])
        if not found and num:
            raise too_few(
                self._rows,
                split,
                "no row of this split",
                "at least one; development rows are for validation and test in equal parts, and "
                "without any a tenth of the training rows validates",
            )
        if split == "train":
            return [found[(offset + number) % len(found)] for number in range(num)]
        return found[offset : offset + num]

    def tasks_of_worlds(self, seeds: range, num: int | None) -> list[Task]:
        """Public sets have no worlds."""
        raise no_worlds("maths")

    def make_env(self) -> Any:
        """A Python tool in a sandbox.

        Raises:
            MissingError: the sandbox that the configuration names, or one for `auto`, is not here.
        """
        return python_env(self.tools)

    def trajectories(self, num: int, tokenizer: Any, *, split: str = "train") -> list[Trajectory]:
        """Annotated solutions of GSM8K and their seeded failures, shuffled by the seed.

        None of a split that measures is no fault: what is measured on them is left out.
        """
        found = [
            episode
            for task in self._splits.get(split, [])
            for episode in _annotated(task, self.seed)
            if 1 <= len(episode.steps) <= self.data.max_annotations
        ]
        if not found and num and split == "train":
            raise self._no_trajectories()
        random.Random(f"maths/{self.seed}/{split}").shuffle(found)
        return [as_trajectory(episode) for episode in found[:num]]

    def _no_trajectories(self) -> InputError:
        return InputError(
            "data.benchmarks (train)",
            got=f"{', '.join(self.data.benchmarks)}: no solution with annotated calculations "
            f"(at most data.max_annotations = {self.data.max_annotations})",
            expected="rows of GSM8K, or recorded attempts at problems of these sets",
            next_step="import attempts with a Python tool, such as a teacher's: `forethought "
            "prepare CONFIG --import FILE --format tora|openai|..` (docs/import.md); stages 1 to 3 "
            "go on from there",
        )

    def entities(self) -> tuple[str, ...]:
        """Capital letters and numbers show what must not be told."""
        return ()

    def truth(self, rollout: Rollout) -> Truth:
        """There is no oracle."""
        return Truth()


def _unlike(train: list[Task], held_out: list[Task]) -> list[Task]:
    """The training tasks that are neither a held-out one nor share half of its runs of words."""
    index = TestIndex()
    for task in held_out:
        index.add(_asked(task))
    for task in train:
        index.learn(_asked(task))
    return [task for task in train if all(hit.shared < MOST for hit in index.hits(_asked(task)))]


def _asked(task: Task) -> Asked:
    return Asked(id=task.id, text=task.question, field="question")


def _annotated(task: Task, seed: int) -> list[GsmTrajectory]:
    """The attempts that an annotated solution gives; none without one."""
    solution = task.columns.get("solution")
    if not isinstance(solution, str) or "<<" not in solution:
        return []
    row = {"question": task.question, "answer": solution}
    found = parse_row(row, split=task.split, where=task.id, line=1)
    return episodes_from_annotations(replace(found, task=task), seed=seed)
