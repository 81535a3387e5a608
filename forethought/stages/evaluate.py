"""The evaluation after each stage: at the training temperature, greedy, and best of K blocks."""

from __future__ import annotations

from typing import Any

from forethought.evals.estimate import Estimate, estimate_of
from forethought.evals.run import (
    EvalSetting,
    Evaluated,
    judge_all,
    tasks_hash,
    write_evaluation,
)
from forethought.evals.ways import play
from forethought.progress import say
from forethought.rollout.hf.backend import backend_for
from forethought.rollout.modes import FORMAT_STAGES, Mode, parse_mode
from forethought.runfiles import read_summary
from forethought.stages.context import Context
from forethought.training.policy import Policy


def setting_for(
    context: Context,
    *,
    temperature: float,
    mode: str,
    label: str = "",
    attempts: int = 1,
    estimate: Estimate | None = None,
) -> EvalSetting:
    """The evaluation setting of a run at one temperature, with so many attempts at each task.

    `label` is what progress calls it.
    """
    section = context.config.eval
    return EvalSetting(
        domain=context.domain,
        engine=context.engine(temperature=temperature),
        reward=context.reward,
        judge=context.judge,
        seed=context.config.seed,
        split=section.split,
        mode=mode,
        samples=attempts,
        smoke=context.config.smoke,
        resamples=section.resamples,
        wave=context.config.rollout.max_batch,
        label=label,
        estimate=estimate,
    )


def evaluate_stage(context: Context, policy: Policy, stage: str) -> dict[str, dict[str, Any]]:
    """Evaluates the policy after a stage; returns the summaries by evaluation name.

    Before stage 2 there is no format to ask for, so `base` and `midtrain` act without blocks.
    A finished evaluation is read back instead of run again when the run resumes.
    """
    section = context.config.eval
    mode = context.prompt_after(stage)
    states_none = stage in FORMAT_STAGES and mode == "plain"
    estimate = estimate_of(str(context.stage_dir(stage))) if states_none else None
    tasks = context.domain.tasks(section.split, section.num_tasks)
    model_hash = policy.sha256()
    backend = backend_for(policy, context.config.rollout)
    name = context.eval_name(stage)
    own = Mode(prompt=mode)
    plans = [(name, section.temperature, parse_mode(section.mode) if section.mode else own)]
    if section.greedy_too:
        plans.append((f"{name}-greedy", 0.0, own))
    if section.imagine_k > 1 and stage in section.imagine_after and mode == "foresight":
        best = Mode(prompt=mode, imagine=section.imagine_k)
        plans.append((f"{name}-imagine{section.imagine_k}", section.temperature, best))
    summaries: dict[str, dict[str, Any]] = {}
    for label, temperature, way in plans:
        folder = context.paths.eval_dir(label)
        if context.resume and (folder / "summary.json").is_file():
            summaries[label] = read_summary(folder / "summary.json")
            continue
        setting = setting_for(
            context,
            temperature=temperature,
            mode=way.prompt,
            label=label,
            attempts=section.attempts if label == name else 1,
            estimate=estimate,
        )
        rollouts = play(setting, tasks, policy, backend, way)
        result = Evaluated(
            rollouts=rollouts,
            episodes=judge_all(setting, rollouts, policy),
            model_sha256=model_hash,
            data_sha256=tasks_hash(tasks),
        )
        summaries[label] = write_evaluation(setting, result, folder)
        say(f"eval {label}: {headline(summaries[label])}")
    return summaries


def headline(summary: dict[str, Any]) -> str:
    """The figures of a summary in one line."""
    metrics = summary["metrics"]
    parts = []
    for name in (
        "success", "format_ok", "auroc_expected.first", "brier_skill_expected.first",
        "ece_expected.first", "keyword_lift",
    ):  # fmt: skip
        cell = metrics.get(name) or {}
        if cell.get("value") is not None:
            parts.append(f"{name} {cell['value']:.3f}")
    return f"n={summary['num_rollouts']}  " + "  ".join(parts)
