"""What other methods would say of the episodes of an evaluation: estimates.json beside its summary.

Nothing is trained. What needs a fit (a temperature, a curve) is fitted on validation tasks behind
those of the evaluation, played by the same policy in the same mode; no fitted task, question or
world is evaluated. The estimates: `forethought.evals.estimators` and `forethought.evals.ptrue`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forethought.domains import Domain
from forethought.domains.files import FileSearchDomain
from forethought.errors import InputError
from forethought.evals.estimators import Played, agreeing, sequence, stated, trivial
from forethought.evals.ptrue import asking, p_true
from forethought.evals.run import EvalSetting, judge_all
from forethought.evals.ways import play
from forethought.rollout.backend import Backend
from forethought.rollout.modes import Mode
from forethought.schema import RunConfig
from forethought.stats.estimates import CUTS, Estimated, estimate_rows
from forethought.training.policy import Policy
from forethought.types import JsonRow, Task

SCHEMA = "forethought.estimates/1"
FEWEST = 20  # tasks to fit on


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimating:
    """The policy of an evaluation and how it plays."""

    config: RunConfig
    setting: EvalSetting
    policy: Policy
    backend: Backend
    mode: Mode

    def document(self, tasks: Sequence[Task], evaluated: Played, behind: Sequence[Task]) -> JsonRow:
        """The content of estimates.json.

        Args:
            tasks: those of the evaluation.
            evaluated: what came of them.
            behind: those to fit on, from `fit_tasks`.

        Raises:
            InputError: no episode with an outcome to fit on.
        """
        setting = self.setting
        fitted = self._played(behind)
        if not fitted.episodes:
            raise too_few(0)
        rows = estimate_rows(
            [one for cut in CUTS for one in self._estimates(cut, evaluated, fitted)],
            evaluated.episodes,
            seed=setting.seed,
            resamples=setting.resamples,
        )
        return {
            "schema": SCHEMA,
            "seed": setting.seed,
            "split": setting.split,
            "samples": setting.samples,
            "num_tasks": len(tasks),
            "num_rollouts": len(evaluated.episodes),
            "fitted_on": {
                "split": "val",
                "num_tasks": len(behind),
                "num_rollouts": len(fitted.episodes),
                "success": float(np.mean(fitted.outcomes)),
            },
            "rows": rows,
        }

    def _played(self, tasks: Sequence[Task]) -> Played:
        setting = replace(self.setting, samples=1, split="val", label="tasks to fit on")
        rollouts = play(setting, tasks, self.policy, self.backend, self.mode)
        return Played.of(rollouts, judge_all(setting, rollouts, self.policy))

    def _estimates(self, cut: str, evaluated: Played, fitted: Played) -> list[Estimated]:
        """Every estimate at a cut, in the order of `ESTIMATES`."""
        return [
            *stated(cut, evaluated, fitted),
            *sequence(cut, evaluated, fitted),
            self._asked(cut, evaluated),
            agreeing(cut, evaluated),
            *trivial(cut, evaluated, fitted),
        ]

    def _asked(self, cut: str, evaluated: Played) -> Estimated:
        how = asking(self.setting.domain.text_format, self.policy.tokenizer, cut)
        if isinstance(how, str):
            silent = (None,) * len(evaluated.rollouts)
            return Estimated(name="p-true", cut=cut, values=silent, reason=how)
        values = tuple(p_true(self.policy, evaluated.rollouts, cut, how))
        return Estimated(name="p-true", cut=cut, values=values)


def fit_tasks(config: RunConfig, domain: Domain, evaluated: Sequence[Task]) -> list[Task]:
    """`control.estimate_tasks` validation tasks behind those of the evaluation.

    A task with the id, the question or the world of an evaluated one is passed over.

    Raises:
        InputError: fewer than `FEWEST` are left.
    """
    num = config.control.estimate_tasks
    # A file has no tasks without end: all of its rows that are not evaluated may serve.
    offset = 0 if isinstance(domain, FileSearchDomain) else config.eval.num_tasks
    ids = {task.id for task in evaluated}
    questions = {task.question for task in evaluated}
    worlds = {task.world_seed for task in evaluated} - {None}
    found = [
        task
        for task in domain.tasks("val", num + len(evaluated), offset=offset)
        if not (task.id in ids or task.question in questions or task.world_seed in worlds)
    ]
    if len(found) < FEWEST:
        raise too_few(len(found))
    return found[:num]


def too_few(left: int) -> InputError:
    """What an evaluation gets that leaves nothing to fit on."""
    return InputError(
        "--estimates",
        got=f"{left} validation tasks behind those of the evaluation",
        expected=f"at least {FEWEST} to fit on, with an outcome",
        next_step="evaluate fewer tasks, or leave --estimates out",
    )
