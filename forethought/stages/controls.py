"""The arms beside the full pipeline: what its stages are compared with.

`fe-sft-grpo` leaves stage 1 out and trains as many block tokens in stage 2; `plain-grpo` imitates
the successes among the same trajectories, as often, without any block, and goes on with plain GRPO;
`prompted` is the base model, asked for a block. All start from the base model of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

from forethought.evals.estimate import fit_estimate
from forethought.evals.run import judge_all, make_starts, roll_out
from forethought.hindsight.records import Labelled
from forethought.rollout.hf.backend import backend_for
from forethought.schema import RunConfig
from forethought.stages import midtrain, sft
from forethought.stages.context import Context
from forethought.stages.evaluate import setting_for
from forethought.training.policy import Policy


def dose(context: Context, items: Sequence[Labelled], policy: Policy) -> dict[str, int]:
    """Block tokens that the full arm trained on, all passes: stage 1, stage 2, and their sum."""
    config = context.config
    free = sum(written.block_tokens for written in midtrain.corpus(context, items, policy))
    first = round(free * config.midtrain.epochs)
    _, second = sft.dose(context, items[: config.sft.num_episodes], policy)
    return {"midtrain": first, "sft": second, "full": first + second}


def with_grpo(config: RunConfig, epochs: float, *, blocks: bool) -> RunConfig:
    """The configuration of a control: no stage 1, `epochs` passes in stage 2, then plain GRPO."""
    return config.model_copy(
        update={
            "midtrain": config.midtrain.model_copy(update={"epochs": 0.0}),
            "sft": config.sft.model_copy(update={"epochs": epochs, "blocks": blocks}),
            "rl": config.rl.model_copy(update={"profile": "grpo"}),
        }
    )


def fitted(context: Context, stage: str, policy: Policy) -> Policy:
    """Fits the estimate of a policy without blocks, STAGE/estimate.json; returns the policy.

    It is fitted on validation tasks behind those of the evaluation.
    """
    config = context.config
    tasks = context.domain.tasks("val", config.control.estimate_tasks, offset=config.eval.num_tasks)
    setting = setting_for(
        context,
        temperature=config.eval.temperature,
        mode=context.prompt_after(stage),
        label=f"{context.eval_name(stage)}-estimate",
    )
    backend = backend_for(policy, config.rollout)
    rollouts = roll_out(setting, make_starts(setting, tasks), backend, policy.tokenizer)
    estimate = fit_estimate(judge_all(setting, rollouts, None))
    estimate.save(context.stage_dir(stage) / "estimate.json")
    return policy
