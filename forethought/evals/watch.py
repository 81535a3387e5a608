"""One episode of a model, watched while it is played: a task of a split, or a question asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forethought.config import RunConfig
from forethought.domains import make_domain
from forethought.errors import InputError
from forethought.evals.command import EvalRequest, own_mode, setting_of, with_law
from forethought.evals.run import judge_all, make_starts, roll_out
from forethought.rollout.hf.backend import backend_for
from forethought.rollout.modes import parse_mode
from forethought.training.policy import Policy
from forethought.types import Episode, Task
from forethought.worlds.atlas.text import read_question


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is watched."""

    model: str  # RUN/STAGE or a folder
    number: int = 0  # of the task in the split
    question: str | None = None  # of one's own, in the world of that task
    temperature: float | None = None  # None: what the configuration evaluates at


def watch(
    config: RunConfig,
    asked: Asked,
    begin: Callable[[Task, Any, tuple[str, ...]], Callable[..., None]],
) -> Episode:
    """Plays the episode.

    Args:
        config: task source and bounds; the law is that of the run that trained the model.
        asked: model, task and temperature.
        begin: gets the task, the tokenizer and the words that choose a way, and returns what is
            called with the request and the id of every sampled token.

    Returns:
        The judged episode. Where nobody knows the right answer, `answers` is empty.

    Raises:
        InputError: no such model, or a question that the world cannot read.
    """
    from forethought.data.models import resolve_model

    config = with_law(config, asked.model)
    domain = make_domain(config)
    task = domain.tasks("val", asked.number + 1)[-1]
    if asked.question is not None:
        task = own_task(config.data.source, task, asked.question)
    policy = Policy.load(resolve_model(asked.model), dtype=config.model.dtype)
    on_token = begin(task, policy.tokenizer, domain.writer.decisions)
    request = EvalRequest(model=asked.model, out=Path(), temperature=asked.temperature)
    setting = setting_of(config, domain, request, parse_mode(own_mode(asked.model)), "val")
    backend = backend_for(policy, config.rollout, on_token=on_token)
    # The grader wants an answer to compare with; without one its verdict is dropped.
    graded = task if task.answers else replace(task, answers=("unknown",))
    rollouts = roll_out(setting, make_starts(setting, [graded]), backend, policy.tokenizer)
    episode = judge_all(setting, rollouts, policy)[0]
    if task.answers:
        return episode
    return replace(episode, answers=(), success=None, reward=0.0, judge="none")


def own_task(source: str, like: Task, question: str) -> Task:
    """A question of one's own in the world of a task.

    Every route of a question leads to one answer, so a question with routes of the task alone has
    the answer of the task; nobody knows that of another.

    Raises:
        InputError: a question that the world cannot read.
    """
    if source != "atlas":
        return replace(like, id="asked", question=question, answers=())
    facts, known = read_question(question), read_question(like.question)
    if facts is None or known is None:
        raise InputError(
            "--question",
            got=repr(question),
            expected=f"a question of this world, such as {like.question!r}: a name, its region, "
            "routes of relations behind letters, and how many searches are allowed",
            next_step="change its routes or its number; names that the world lacks lead nowhere",
        )
    routes = {route for _, route in known.routes}
    same = facts.start == known.start and all(route in routes for _, route in facts.routes)
    return replace(
        like,
        id="asked",
        question=question,
        answers=like.answers if same else (),
        columns={**like.columns, "budget": facts.budget},
    )
