"""A model that is watched while it plays: a task of a split, or a question that is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from forethought.data.models import resolve_model
from forethought.domains import make_domain
from forethought.domains.asked import asked_task
from forethought.errors import InputError
from forethought.evals.command import EvalRequest, own_mode, setting_of, trained_config, with_law
from forethought.evals.run import judge_all, make_starts
from forethought.evals.served import PREFIX
from forethought.rollout.backend import Request
from forethought.rollout.engine import run_rollouts_sync
from forethought.rollout.hf.backend import backend_for
from forethought.rollout.modes import parse_mode
from forethought.schema import RunConfig
from forethought.training.policy import Policy
from forethought.types import Episode, Task


class Watched:
    """A model in the law that it was trained in. Its weights are read when it first plays."""

    def __init__(self, config: RunConfig, model: str, temperature: float | None = None) -> None:
        """Takes a model.

        Args:
            config: task source and bounds, for a model that is no stage of a run.
            model: RUN/STAGE or a folder.
            temperature: of sampling; None: what the configuration evaluates at.

        Raises:
            InputError: a model that was trained on another source, or is behind a server.
        """
        if model.startswith(PREFIX):
            raise InputError(
                "--model",
                got=model,
                expected="a model of this machine, whose tokens can be watched",
                next_step=f"play it by `forethought eval CONFIG --model {model}`",
            )
        trained = trained_config(model)
        if trained is not None and trained.data.source != config.data.source:
            raise InputError(
                "--model",
                got=f"{model}, trained on {trained.data.source}",
                expected=f"a model that was trained on {config.data.source}",
                next_step=f"play {trained.data.source}, or name another model",
            )
        self._config = with_law(config, model)
        self._model = model
        self._domain = make_domain(self._config)
        request = EvalRequest(model=model, out=Path(), temperature=temperature)
        mode = parse_mode(own_mode(model))
        self._setting = setting_of(self._config, self._domain, request, mode, "val")

    @cached_property
    def _policy(self) -> Policy:
        return Policy.load(resolve_model(self._model), dtype=self._config.model.dtype)

    @property
    def tokenizer(self) -> Any:
        """Of the model."""
        return self._policy.tokenizer

    @property
    def decisions(self) -> tuple[str, ...]:
        """Words of a roadmap that choose a way."""
        return self._domain.writer.decisions

    def task(self, number: int) -> Task:
        """Task `number` of the validation split."""
        return self._domain.tasks("val", number + 1)[-1]

    def asked(self, number: int, question: str) -> Task:
        """A question in the world of task `number`.

        Raises:
            InputError: a question that the world cannot read.
        """
        return asked_task(self._domain, self.task(number), question)

    def play(self, task: Task, on_token: Callable[[Request, int], None] | None = None) -> Episode:
        """The judged episode of a task.

        Args:
            task: one whose `answers` are empty is played without a verdict.
            on_token: called with the request and the id of every token as it is sampled.
        """
        policy, setting = self._policy, self._setting
        backend = backend_for(policy, self._config.rollout, on_token=on_token)
        # The grader wants an answer to compare with; without one its verdict is dropped.
        graded = task if task.answers else replace(task, answers=("unknown",))
        rollouts = run_rollouts_sync(
            make_starts(setting, [graded]),
            backend,
            self._domain.text_format,
            policy.tokenizer,
            setting.engine,
        )
        episode = judge_all(setting, rollouts, policy)[0]
        if task.answers:
            return episode
        return replace(episode, answers=(), success=None, reward=0.0, judge="none")
