"""`forethought probe`: which interventions there are, and what each of them did.

* `delete`     no block: the policy acts in the mode that it was taught for that
* `swap`       the blocks of another task's rollout, turn by turn
* `opposite`   the blocks of a rollout of the same task that ended the other way
* `q=N`        the number N % in every block, all else as it was written
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from forethought.errors import InputError
from forethought.evals.probe import (
    DELETE,
    OPPOSITE,
    OTHER_SAMPLES,
    SWAP,
    ProbeSetting,
    Rewrite,
    action_shift,
    forced,
    from_rollouts,
    opposites,
    rewritten_rollouts,
    shuffled_tasks,
    swapped,
)
from forethought.evals.run import (
    EvalSetting,
    Evaluated,
    judge_all,
    make_starts,
    roll_out,
    tasks_hash,
    write_evaluation,
)
from forethought.foresight.levels import LEVELS
from forethought.jsonl import write_json
from forethought.rollout.backend import Backend
from forethought.stats.bootstrap import difference, paired_draws
from forethought.training.policy import Policy
from forethought.types import Episode, Foresight, JsonRow, Rollout, Task

SCHEMA = "forethought.probe/1"
METRICS = ("success", "choice_gain", "format_ok", "turns")


def parse_interventions(text: str) -> list[str]:
    """The names in a comma-separated list, each once.

    Raises:
        InputError: an unknown name, or a number that is no level.
    """
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in (DELETE, SWAP, OPPOSITE) and _forced_level(name) is None:
            raise InputError(
                "--do",
                got=repr(name),
                expected="delete, swap, opposite, or q=N with N of 0, 5, ..., 100",
                next_step="such as --do delete,swap,q=5,q=95",
            )
    return names


def _forced_level(name: str) -> float | None:
    found = re.fullmatch(r"q=(\d{1,3})", name)
    q = int(found[1]) / 100 if found else -1.0
    return q if q in LEVELS else None


class Prober:
    """One policy on one set of tasks: untouched, and with its blocks rewritten."""

    def __init__(
        self, setting: EvalSetting, policy: Policy, backend: Backend, tasks: Sequence[Task]
    ) -> None:
        self.tasks = shuffled_tasks(tasks, setting.seed)
        self._setting, self._policy, self._backend = setting, policy, backend
        self._probe = ProbeSetting(evaluation=setting, policy=policy, backend=backend)
        self.own = self._faithful(setting)
        self.episodes = judge_all(setting, self.own, policy)

    def _faithful(self, setting: EvalSetting) -> list[Rollout]:
        starts = make_starts(setting, self.tasks)
        return roll_out(setting, starts, self._backend, self._policy.tokenizer)

    def rollouts(self, name: str) -> tuple[list[int], list[Rollout], Rewrite | None]:
        """The places of the tasks that an intervention can be made on, and their rollouts."""
        everything = list(range(len(self.tasks)))
        if name == DELETE:
            return everything, self._faithful(replace(self._setting, mode="plain")), None
        rewrite = self._rewrite(name)
        places = everything
        if name == OPPOSITE:
            others = self._opposites()
            rewrite = from_rollouts(others)
            places = [place for place in everything if others[place] is not None]
        chosen = [self.tasks[place] for place in places]

        def moved(place: int, step: int, block: Foresight) -> Foresight | None:
            return rewrite(places[place], step, block)

        return places, rewritten_rollouts(self._probe, chosen, moved), rewrite

    def _rewrite(self, name: str) -> Rewrite:
        level = _forced_level(name)
        if level is not None:
            return forced(level, spaced=self._setting.domain.text_format.spaced)
        return from_rollouts(swapped(self.own))

    def _opposites(self) -> list[Rollout | None]:
        more = replace(self._setting, samples=OTHER_SAMPLES + 1)
        drawn = self._faithful(more)
        judged = judge_all(more, drawn, None)
        size = more.samples
        groups = [range(n * size + 1, (n + 1) * size) for n in range(len(self.tasks))]
        return opposites(
            [_won(episode) for episode in self.episodes],
            [[(_won(judged[n]), drawn[n]) for n in group] for group in groups],
        )

    def effect(self, name: str, out: Path, samples: int) -> JsonRow:
        """Makes one intervention, writes its episodes, returns its row of probe.json."""
        places, rollouts, rewrite = self.rollouts(name)
        chosen = [self.tasks[place] for place in places]
        mode = "plain" if name == DELETE else self._setting.mode
        setting = replace(self._setting, mode=mode)
        episodes = judge_all(setting, rollouts, self._policy)
        self.write(setting, rollouts, episodes, chosen, out / name.replace("=", "-"))
        own = [self.episodes[place] for place in places]
        drawn = paired_draws(episodes, own, METRICS, seed=setting.seed, resamples=setting.resamples)
        found = {metric: difference(draws) for metric, draws in drawn.items()}
        row: JsonRow = {"do": name, "n": len(places), "effect": found, "first_action": None}
        if rewrite is not None:
            row["first_action"] = self._shift(places, rewrite, samples)
        return row

    def _shift(self, places: Sequence[int], rewrite: Rewrite, samples: int) -> JsonRow | None:
        """The shift of the first action over the tasks whose first block is rewritten."""
        kept, pairs = [], []
        for place in places:
            turns = self.own[place].turns
            block = turns[0].parsed.foresight if turns else None
            other = None if block is None else rewrite(place, 0, block)
            if block is not None and other is not None:
                kept.append(self.tasks[place])
                pairs.append((block, other))
        if not kept:
            return None
        shift = action_shift(self._probe, kept, pairs, samples=samples, seed=self._setting.seed)
        excess = asdict(shift.excess)
        return {"excess": excess, "total": shift.total, "by_chance": shift.by_chance}

    def write(
        self,
        setting: EvalSetting,
        rollouts: list[Rollout],
        episodes: list[Episode],
        tasks: Sequence[Task],
        folder: Path,
    ) -> None:
        """Writes episodes.jsonl and summary.json of an intervention."""
        result = Evaluated(
            rollouts=rollouts,
            episodes=episodes,
            model_sha256=self._policy.sha256(),
            data_sha256=tasks_hash(tasks),
        )
        write_evaluation(setting, result, folder)


def probe(
    prober: Prober, setting: EvalSetting, do: Sequence[str], out: Path, *, samples: int
) -> Any:
    """Makes the interventions one after the other; writes OUT/probe.json and returns it."""
    prober.write(setting, prober.own, prober.episodes, prober.tasks, out / "faithful")
    rows = [prober.effect(name, out, samples) for name in do]
    result = {
        "schema": SCHEMA,
        "num_tasks": len(prober.tasks),
        "seed": setting.seed,
        "split": setting.split,
        "action_samples": samples,
        "interventions": rows,
    }
    write_json(out / "probe.json", result)
    return result


def _won(episode: Episode) -> bool | None:
    return None if episode.success is None else bool(episode.success)
