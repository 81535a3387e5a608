"""What `forethought eval` does: resolve the policy and the tasks, roll out, judge, write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forethought.chat.judge import judge_of
from forethought.config import read_resolved
from forethought.data.tasks import load_tasks
from forethought.domains import Domain, make_domain
from forethought.errors import InputError
from forethought.evals.baselines import BASELINES, scripted_backend, workbook_backend
from forethought.evals.estimate import estimate_of
from forethought.evals.estimates import Estimating, fit_tasks
from forethought.evals.estimators import Played
from forethought.evals.run import (
    EvalSetting,
    Evaluated,
    judge_all,
    make_starts,
    roll_out,
    tasks_hash,
    write_evaluation,
)
from forethought.evals.served import PREFIX, Served, check_mode, play_served
from forethought.evals.ways import play
from forethought.jsonl import write_json
from forethought.progress import say
from forethought.rewards.grading import check_grader
from forethought.rewards.terms import RewardConfig
from forethought.rollout.backend import Sampling
from forethought.rollout.engine import EngineConfig
from forethought.rollout.modes import Mode, mode_after, parse_mode
from forethought.runlog import RunPaths
from forethought.schema import RunConfig
from forethought.tools.retrievers import SearchSource
from forethought.types import Task
from forethought.worlds.atlas.law import Law
from forethought.worlds.atlas.text import read_question

ESTIMATES_FILE = "estimates.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """The options of the verb; None = what the configuration says."""

    model: str
    out: Path
    tasks: str | None = None
    source: SearchSource = field(default_factory=SearchSource)  # what the tasks are searched in
    split: str | None = None
    worlds: str | None = None  # "A:B"
    num: int | None = None
    samples: int = 1
    mode: str = ""
    temperature: float | None = None
    seed: int | None = None
    parallel: int | None = None  # requests at a time, of a model behind a server
    estimates: bool = False  # whether other estimates of the same episodes are made, too


def evaluate(config: RunConfig, request: EvalRequest) -> dict[str, Any]:
    """Runs the evaluation and returns its summary.

    Raises:
        InputError: options that do not fit together, a model or file that cannot be read.
        MissingError: no server for a model or a judge behind one, or math-verify does not judge.
        GuardRail: a bound on what may be asked of a server is reached.
    """
    _check_options(request)
    config = _with_law(config, request)
    mode = _mode(request)
    domain = _domain(config, request)
    tasks, split = _tasks(config, domain, request)
    if request.num is not None and len(tasks) < request.num:
        say(f"--num {request.num}: there are only {len(tasks)} tasks, so these are evaluated")
    for kind in {task.kind for task in tasks}:
        check_grader(kind)
    setting = setting_of(config, domain, request, mode, split)
    if request.model.startswith(PREFIX):
        section = config.served
        if request.parallel is not None:
            section = section.model_copy(update={"parallel": request.parallel})
        result = play_served(setting, tasks, Served(model=request.model, section=section))
    elif request.model in BASELINES:
        result = _scripted(config, setting, tasks, request.model)
    else:
        return _modelled(config, setting, tasks, request, mode)
    return write_evaluation(setting, result, request.out)


def _check_options(request: EvalRequest) -> None:
    """Refuses options that a kind of policy cannot heed.

    Raises:
        InputError: estimates of a policy without probabilities, or parallel requests to no server.
    """
    served = request.model.startswith(PREFIX)
    if request.estimates and (served or request.model in BASELINES):
        kind = "a model behind a server" if served else "a scripted policy"
        raise InputError(
            "--estimates",
            got=f"{kind} ({request.model})",
            expected="a model of this machine: nothing else gives probabilities",
            next_step="drop --estimates, or name a model",
        )
    if request.parallel is not None and not served:
        raise InputError(
            "--parallel",
            got=f"{request.parallel} for {request.model}",
            expected=f"a model behind a server ({PREFIX}NAME)",
            next_step="drop --parallel",
        )


def _mode(request: EvalRequest) -> Mode:
    """The mode asked for, else the one that the policy was made for."""
    if request.model not in BASELINES:
        mode = parse_mode(request.mode or own_mode(request.model))
        if request.model.startswith(PREFIX):
            check_mode(request.model, request.mode, mode)
        return mode
    mode = parse_mode(request.mode or "plain")
    if mode.prompt != "plain":
        raise InputError(
            "--mode",
            got=f"{request.mode} for {request.model}",
            expected="plain: a scripted policy writes no blocks",
            next_step="drop --mode, or name a model",
        )
    return mode


def own_mode(model: str) -> str:
    """That of the evaluation in a run, for a stage of one; else with blocks."""
    run = _run_of(model)
    if run is None:
        return "faithful"
    parts = [part for part in Path(model).relative_to(run).parts if part != "model"]
    stage = parts[-1] if parts else "rl"
    arm = parts[0] if len(parts) > 1 else "full"
    return mode_after(stage, arm, blocks=read_resolved(RunPaths(run).resolved).teaches_blocks)


def _with_law(config: RunConfig, request: EvalRequest) -> RunConfig:
    """That of a run for its model; a scripted policy acts in the law of the seed."""
    if request.model in BASELINES and request.seed is not None:
        return config.model_copy(update={"seed": request.seed})
    return with_law(config, request.model)


def with_law(config: RunConfig, model: str) -> RunConfig:
    """A stage of a run acts in the law it was trained in."""
    trained = trained_config(model)
    if trained is None or config.data.law_seed is not None:
        return config
    law = {
        "law_seed": trained.law_seed,
        "identical_cells": config.data.identical_cells or trained.data.identical_cells,
    }
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=law),
            "model": trained.model,
            "rollout": trained.rollout,
        }
    )


def trained_config(model: str) -> RunConfig | None:
    """What the run of a stage was made with; None for other models."""
    run = _run_of(model)
    return None if run is None else read_resolved(RunPaths(run).resolved)


def _run_of(model: str) -> Path | None:
    """The run folder of RUN/STAGE, RUN/ARM/STAGE or RUN/STAGE/model; None for other models."""
    if model.startswith(PREFIX):
        return None
    path = Path(model)
    for parent in list(path.parents)[:3]:
        if RunPaths(parent).resolved.is_file():
            return parent
    return None


def _domain(config: RunConfig, request: EvalRequest) -> Domain:
    source = request.source
    has_source = source != SearchSource()
    needs_both = has_source or config.data.source == "atlas"
    if has_source != (request.tasks is not None) and needs_both:
        raise InputError(
            "--tasks and --corpus",
            got="one of them",
            expected="both for a search environment, or neither",
            next_step="give the corpus that the tasks are searched in, or --retriever URL",
        )
    if request.tasks is not None and request.worlds is not None:
        raise InputError(
            "--tasks and --worlds",
            got="both",
            expected="one source of tasks",
            next_step="drop one of the two",
        )
    if has_source:
        from forethought.domains.files import FileSearchDomain

        return FileSearchDomain.from_files(config, request.tasks or "", source)
    return make_domain(config)


def _tasks(config: RunConfig, domain: Domain, request: EvalRequest) -> tuple[list[Task], str]:
    """The tasks and the label of their split."""
    if request.tasks is not None:
        return _tasks_of_file(request.tasks, request)
    if request.worlds is not None:
        return _tasks_of_worlds(domain, request.worlds, request)
    split = request.split or config.eval.split
    return domain.tasks(split, request.num or config.eval.num_tasks), split


def _tasks_of_file(file: str, request: EvalRequest) -> tuple[list[Task], str]:
    rows = [_with_budget(task) for task in load_tasks(Path(file))]
    if request.split is None:
        tasks = rows[: request.num]
        return tasks, _label(tasks)
    tasks = [task for task in rows if task.split == request.split]
    if not tasks:
        raise InputError(
            file,
            got=f"{len(rows)} tasks, none with split {request.split!r} (none said = 'train')",
            expected=f"rows of --split {request.split}",
            next_step="drop --split to take all rows, or give the rows their split",
        )
    return tasks[: request.num], request.split


def _with_budget(task: Task) -> Task:
    """A question of atlas says how many searches it allows, so its row need not."""
    facts = None if "budget" in task.columns else read_question(task.question)
    return (
        task if facts is None else replace(task, columns={**task.columns, "budget": facts.budget})
    )


def _tasks_of_worlds(domain: Domain, worlds: str, request: EvalRequest) -> tuple[list[Task], str]:
    """The seeds of worlds decide their split."""
    tasks = domain.tasks_of_worlds(_range(worlds), request.num)
    label = _label(tasks)
    if request.split not in (None, label):
        raise InputError(
            "--split",
            got=f"{request.split}, and --worlds {worlds}, which are of split {label}",
            expected="the split that the seeds belong to",
            next_step="drop --split, or choose other worlds",
        )
    return tasks, label


def _label(tasks: Sequence[Task]) -> str:
    splits = {task.split for task in tasks}
    return splits.pop() if len(splits) == 1 else "mixed"


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise InputError(
            "--worlds",
            got=repr(text),
            expected="A:B with A < B, such as 100000:100050",
            next_step="correct the range",
        )
    return range(int(first), int(last))


def setting_of(
    config: RunConfig, domain: Domain, request: EvalRequest, mode: Mode, split: str
) -> EvalSetting:
    """How the tasks of a request are evaluated."""
    bounds = config.rollout
    temperature = config.eval.temperature if request.temperature is None else request.temperature
    return EvalSetting(
        domain=domain,
        engine=EngineConfig(
            max_turns=bounds.max_turns,
            max_context_tokens=bounds.max_context_tokens,
            max_observation_tokens=bounds.max_observation_tokens,
            sampling=Sampling(temperature=temperature, max_tokens=bounds.max_turn_tokens),
        ),
        reward=RewardConfig(),
        judge=judge_of(config, needed=True),
        seed=config.seed if request.seed is None else request.seed,
        split=split,
        mode=mode.prompt,
        samples=request.samples,
        smoke=config.smoke,
        resamples=config.eval.resamples,
        wave=config.rollout.max_batch,
    )


def _scripted(
    config: RunConfig, setting: EvalSetting, tasks: Sequence[Task], name: str
) -> Evaluated:
    from forethought.domains.atlas import atlas_tokenizer
    from forethought.domains.workbook import WorkbookDomain, workbook_tokenizer

    if isinstance(setting.domain, WorkbookDomain):
        tokenizer = workbook_tokenizer()
        backend = workbook_backend(name, tokenizer)
    else:
        law = _law_for(config, setting.domain, tasks, name)
        tokenizer = atlas_tokenizer()
        backend = scripted_backend(name, law, tokenizer)
    rollouts = roll_out(setting, make_starts(setting, tasks), backend, tokenizer)
    return Evaluated(
        rollouts=rollouts,
        episodes=judge_all(setting, rollouts, None),
        model_sha256=hashlib.sha256(name.encode()).hexdigest(),
        data_sha256=tasks_hash(tasks),
    )


def _law_for(config: RunConfig, domain: Domain, tasks: Sequence[Task], name: str) -> Law:
    """The law that a scripted policy knows; its questions must be those of the world."""
    from forethought.domains.atlas import AtlasDomain
    from forethought.domains.files import FileSearchDomain

    law = domain.law if isinstance(domain, AtlasDomain | FileSearchDomain) else None
    strange = [task for task in tasks if read_question(task.question) is None]
    if law is None or strange:
        what = f"the question of task {strange[0].id}" if law and strange else config.data.source
        raise InputError(
            "--model",
            got=f"{name} for {what}",
            expected="a scripted policy only with questions of its own world",
            next_step="use demo/atlas and its questions, or name a model",
        )
    return law


def _modelled(
    config: RunConfig,
    setting: EvalSetting,
    tasks: Sequence[Task],
    request: EvalRequest,
    mode: Mode,
) -> dict[str, Any]:
    """Plays and writes the evaluation of a model, then its estimates; returns the summary."""
    name = request.model
    from forethought.data.models import resolve_model
    from forethought.rollout.hf.backend import backend_for
    from forethought.training.policy import Policy

    if setting.mode == "plain":
        setting = replace(setting, estimate=estimate_of(name))
    behind = fit_tasks(config, setting.domain, tasks) if request.estimates else []
    policy = Policy.load(resolve_model(name), dtype=config.model.dtype)
    backend = backend_for(policy, config.rollout)
    rollouts = play(setting, tasks, policy, backend, mode)
    result = Evaluated(
        rollouts=rollouts,
        episodes=judge_all(setting, rollouts, policy),
        model_sha256=policy.sha256(),
        data_sha256=tasks_hash(tasks),
    )
    summary = write_evaluation(setting, result, request.out)
    if request.estimates:
        made = Estimating(config=config, setting=setting, policy=policy, backend=backend, mode=mode)
        played = Played.of(rollouts, result.episodes)
        write_json(request.out / ESTIMATES_FILE, made.document(tasks, played, behind))
    return summary
