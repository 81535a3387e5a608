"""forethought trains one language model to look ahead before it acts.

The public API: the names below, each loaded from its module on first use, so that
`import forethought` costs next to nothing and never imports torch. Everything else is reachable by
its module path and may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forethought.algos.credit import CreditConfig, credit_episodes
    from forethought.config import load_config
    from forethought.envs.maths import MathsPython
    from forethought.envs.search_qa import SearchQA
    from forethought.errors import ForethoughtError
    from forethought.foresight.block import parse, render
    from forethought.rewards.grading import grade
    from forethought.rollout.engine import run_rollouts
    from forethought.stats.summary import summarise
    from forethought.training.policy import Policy
    from forethought.training.trainer import Trainer
    from forethought.types import Episode, Foresight, Rollout, Task, TrainingSequence, Turn

__version__ = "0.1.0"

_HOMES = {
    # the data everything speaks
    "Task": "forethought.types",
    "Foresight": "forethought.types",
    "Turn": "forethought.types",
    "Rollout": "forethought.types",
    "Episode": "forethought.types",
    "TrainingSequence": "forethought.types",
    "ForethoughtError": "forethought.errors",
    # pure functions: the block, the grader, the credit of every token, the metrics
    "parse": "forethought.foresight.block",
    "render": "forethought.foresight.block",
    "grade": "forethought.rewards.grading",
    "CreditConfig": "forethought.algos.credit",
    "credit_episodes": "forethought.algos.credit",
    "summarise": "forethought.stats.summary",
    # what acts and what learns
    "load_config": "forethought.config",
    "SearchQA": "forethought.envs.search_qa",
    "MathsPython": "forethought.envs.maths",
    "run_rollouts": "forethought.rollout.engine",
    "Policy": "forethought.training.policy",
    "Trainer": "forethought.training.trainer",
}

__all__ = [
    "CreditConfig",
    "Episode",
    "Foresight",
    "ForethoughtError",
    "MathsPython",
    "Policy",
    "Rollout",
    "SearchQA",
    "Task",
    "Trainer",
    "TrainingSequence",
    "Turn",
    "credit_episodes",
    "grade",
    "load_config",
    "parse",
    "render",
    "run_rollouts",
    "summarise",
]


def __getattr__(name: str) -> Any:
    """Loads a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forethought' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
