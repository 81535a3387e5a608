"""What `forethought eval` does: resolve the policy and the tasks, roll out, judge, write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forethought.config import RunConfig, read_resolved
from forethought.domains import Domain, make_domain
from forethought.errors import InputError, MissingError
from forethought.evals.baselines import BASELINES, scripted_backend
from forethought.evals.imagine import imagine_first
from forethought.evals.run import (
    EvalSetting,
    Evaluated,
    judge_all,
    make_starts,
    roll_out,
    tasks_hash,
    write_evaluation,
)
from forethought.rewards.terms import RewardConfig
from forethought.rollout.backend import Sampling
from forethought.rollout.engine import EngineConfig
from forethought.rollout.modes import Mode, parse_mode
from forethought.runlog import RunPaths
from forethought.types import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """The options of the verb; None = what the configuration says."""

    model: str
    out: Path
    tasks: str | None = None
    corpus: str | None = None
    split: str | None = None
    worlds: str | None = None  # "A:B"
    num: int | None = None
    samples: int = 1
    mode: str = ""
    temperature: float | None = None
    seed: int | None = None


def evaluate(config: RunConfig, request: EvalRequest) -> dict[str, Any]:
    """Runs the evaluation and returns its summary.

    Raises:
        InputError: options that do not fit together, a model or file that cannot be read.
        MissingError: a model behind a server.
    """
    config = _with_law(config, request)
    domain = _domain(config, request)
    tasks = _tasks(config, domain, request)
    scripted = request.model in BASELINES
    mode = parse_mode(request.mode or ("plain" if scripted else "faithful"))
    setting = _setting(config, domain, request, mode)
    result = (
        _scripted(config, setting, tasks, request.model)
        if scripted
        else _modelled(config, setting, tasks, request.model, mode)
    )
    return write_evaluation(setting, result, request.out)


def _with_law(config: RunConfig, request: EvalRequest) -> RunConfig:
    """A stage of a run acts in the law it was trained in; a scripted policy in that of the seed."""
    run = _run_of(request.model)
    if run is not None and config.data.law_seed is None:
        trained = read_resolved(RunPaths(run).resolved)
        law = trained.law_seed
        return config.model_copy(
            update={
                "data": config.data.model_copy(update={"law_seed": law}),
                "model": trained.model,
                "rollout": trained.rollout,
            }
        )
    if request.model in BASELINES and request.seed is not None:
        return config.model_copy(update={"seed": request.seed})
    return config


def _run_of(model: str) -> Path | None:
    """The run folder of RUN/STAGE, RUN/ARM/STAGE or RUN/STAGE/model; None for other models."""
    path = Path(model)
    for parent in list(path.parents)[:3]:
        if RunPaths(parent).resolved.is_file():
            return parent
    return None


def _domain(config: RunConfig, request: EvalRequest) -> Domain:
    if (request.corpus is None) != (request.tasks is None) and config.data.source == "atlas":
        raise InputError(
            "--tasks and --corpus",
            got="one of them",
            expected="both for a search environment, or neither",
            next_step="give the corpus that the tasks are searched in",
        )
    if request.corpus is not None:
        from forethought.domains.files import FileSearchDomain

        return FileSearchDomain.from_files(config, request.tasks or "", request.corpus)
    return make_domain(config)


def _tasks(config: RunConfig, domain: Domain, request: EvalRequest) -> list[Task]:
    split = request.split or config.eval.split
    num = request.num or config.eval.num_tasks
    if request.corpus is not None:
        return domain.tasks(split, request.num or 10**9)
    if request.tasks is not None:
        from forethought.data.tasks import load_tasks

        return load_tasks(Path(request.tasks))[: request.num]
    if request.worlds is not None:
        return domain.tasks_of_worlds(_range(request.worlds), request.num)
    return domain.tasks(split, num)


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


def _setting(config: RunConfig, domain: Domain, request: EvalRequest, mode: Mode) -> EvalSetting:
    bounds = config.rollout
    temperature = config.eval.temperature if request.temperature is None else request.temperature
    return EvalSetting(
        domain=domain,
        engine=EngineConfig(
            max_turns=bounds.max_turns,
            max_context_tokens=bounds.max_context_tokens,
            sampling=Sampling(temperature=temperature, max_tokens=bounds.max_turn_tokens),
        ),
        reward=RewardConfig(),
        seed=config.seed if request.seed is None else request.seed,
        split=request.split or ("acceptance" if request.worlds else config.eval.split),
        mode=mode.prompt,
        samples=request.samples,
        smoke=config.smoke,
        resamples=config.eval.resamples,
        wave=config.rollout.max_batch,
    )


def _scripted(
    config: RunConfig, setting: EvalSetting, tasks: Sequence[Task], name: str
) -> Evaluated:
    from forethought.domains.atlas import AtlasDomain, atlas_tokenizer

    if not isinstance(setting.domain, AtlasDomain):
        raise InputError(
            "--model",
            got=f"{name} for {config.data.source}",
            expected="a scripted policy only with the world atlas",
            next_step="use demo/atlas, or name a model",
        )
    tokenizer = atlas_tokenizer()
    backend = scripted_backend(name, setting.domain.law, tokenizer)
    rollouts = roll_out(setting, make_starts(setting, tasks), backend, tokenizer)
    return Evaluated(
        rollouts=rollouts,
        episodes=judge_all(setting, rollouts, None),
        model_sha256=hashlib.sha256(name.encode()).hexdigest(),
        data_sha256=tasks_hash(tasks),
    )


def _modelled(
    config: RunConfig, setting: EvalSetting, tasks: Sequence[Task], name: str, mode: Mode
) -> Evaluated:
    if name.startswith("openai:"):
        raise MissingError(
            "models behind a server (openai:NAME)",
            next_step="evaluate a local model; a server back-end is not part of this version",
        )
    from forethought.data.models import resolve_model
    from forethought.rollout.hf.backend import backend_for
    from forethought.training.policy import Policy

    policy = Policy.load(resolve_model(name), dtype=config.model.dtype)
    backend = backend_for(policy, config.rollout)
    if mode.imagine:
        rollouts = imagine_first(setting, tasks, policy, backend, mode.imagine).rollouts
    else:
        rollouts = roll_out(setting, make_starts(setting, tasks), backend, policy.tokenizer)
    return Evaluated(
        rollouts=rollouts,
        episodes=judge_all(setting, rollouts, policy),
        model_sha256=policy.sha256(),
        data_sha256=tasks_hash(tasks),
    )
