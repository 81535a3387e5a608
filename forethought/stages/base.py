"""Base training: the model that every arm starts from.

A synthetic world trains a tiny model from scratch (copy drill, pages, the wanderer's episodes); a
pretrained model may be warmed up with episodes without blocks, so that the continuations of stage
0 can act at all. A gate stops the run when the base copies too few entities rightly, because every
later failure would then be one of copying.
"""

from __future__ import annotations

import shutil

from forethought.domains import make_base
from forethought.errors import GuardRail
from forethought.evals.run import make_starts, roll_out
from forethought.progress import say
from forethought.rollout.hf.backend import backend_for
from forethought.stages.context import Context
from forethought.stages.evaluate import setting_for
from forethought.stages.supervised import Corpus, train_supervised
from forethought.training.policy import Policy

UNGATED = "ungated"
"""Folder of the trained base while it has not passed the gate."""


def run(context: Context) -> Policy:
    """The base policy, saved as base/model once it has passed the gate; before, as base/ungated.

    Later stages start from base/model, so that no way leads to them past the gate.

    Raises:
        GuardRail: the base copies fewer than `base.min_copy_accuracy` of the links rightly.
    """
    policy, sequences = make_base(context.config, context.domain)
    folder = context.stage_dir("base")
    if sequences:
        corpus = Corpus(sequences=sequences, shuffle=False)
        train_supervised(context, "base", policy, corpus, context.config.base, result=UNGATED)
    if context.config.base.min_copy_accuracy > 0 and (sequences or _is_tiny(context)):
        _gate(context, policy)
    policy.save(folder / "model")
    shutil.rmtree(folder / UNGATED, ignore_errors=True)
    return policy


def _is_tiny(context: Context) -> bool:
    """Whether the model begins with random weights, and so must have learned to copy here."""
    return context.config.model.name == "tiny"


def _gate(context: Context, policy: Policy) -> None:
    section = context.config.base
    tasks = context.domain.tasks(context.config.eval.split, section.gate_tasks)
    setting = setting_for(context, temperature=0.0, mode="plain")
    backend = backend_for(policy, context.config.rollout)
    rollouts = roll_out(setting, make_starts(setting, tasks), backend, policy.tokenizer)
    marks = [mark for r in rollouts for mark in context.domain.truth(r).copied if mark is not None]
    right, total = sum(marks), len(marks)
    accuracy = right / max(total, 1)
    say(f"base: {right} of {total} links copied right ({accuracy:.1%})")
    if accuracy < section.min_copy_accuracy:
        raise GuardRail(
            f"the base copies {accuracy:.1%} of {total} links rightly, fewer than "
            f"{section.min_copy_accuracy:.0%} (base.min_copy_accuracy); raise base.drill_tokens or "
            f"base.episode_tokens. The model is kept in {context.stage_dir('base') / UNGATED}"
        )
