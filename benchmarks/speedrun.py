"""Do these runs keep the rules of the CPU speedrun (docs/speedrun.md), and what did they cost?

    python benchmarks/speedrun.py RUN... [--json]

RUN is the folder of a demo on atlas, or a record of several. Tasks are drawn anew by this checkout
and answers are graded anew; success and skill are computed from the episodes, never read from a
summary. Exit code 0: every rule is kept; 1: one is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forethought.domains.atlas import AtlasDomain
from forethought.envs.base import call_tool, row_of
from forethought.errors import InputError
from forethought.jsonl import need, read_jsonl
from forethought.rewards.grading import grade
from forethought.runfiles import read_env, read_run_summary
from forethought.runlog import episode_from_row
from forethought.schema import RunConfig
from forethought.stats.bootstrap import Draws, interval, mean_over_seeds, metric_draws
from forethought.types import Episode, Task

SCHEMA = "forethought.speedrun/1"
SUCCESS, SKILL = 0.33, 0.25  # of the mean over seeds
SEEDS = 5
TASKS = 500
EVALUATION = "rl"
BLOCKS = 0.97  # least share of turns that state a number
TURNS = 6
REPLAYED = 50  # episodes of a run whose calls are made again
COUNTED = ("base", "prepare", "midtrain", "sft", "rl")  # steps whose CPU seconds count
METRICS = {"success": SUCCESS, "brier_skill_expected.first": SKILL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run left."""

    path: str
    seed: int
    commit: str
    smoke: bool
    cpu_min: float  # of the steps that count
    episodes: list[Episode]


def folders(paths: Sequence[Path]) -> list[Path]:
    """The runs, those of a record of several seeds one by one."""
    return [each for path in paths for each in (sorted(path.glob("seed-*")) or [path])]


def read_run(path: Path) -> Run:
    """A run, or the record of one.

    Raises:
        InputError: a file is absent or damaged.
    """
    summary, env = read_run_summary(path / "summary.json"), read_env(path / "env.json")
    spent = summary["cpu_s"]
    absent = [step for step in COUNTED if step not in spent and step in ("base", "rl")]
    if absent:
        raise InputError(
            str(path / "summary.json"),
            got=f"no CPU seconds of {', '.join(absent)}",
            expected="a finished run with all that it trained",
            next_step="finish it: `forethought demo --resume`",
        )
    commit = str(env.get("commit") or "unknown")[:7] + ("+" if env.get("dirty") else "")
    return Run(
        path=str(path),
        seed=summary["seed"],
        commit=commit,
        smoke=summary["smoke"],
        cpu_min=round(sum(spent.get(step, 0.0) for step in COUNTED) / 60, 2),
        episodes=list(read_episodes(path)),
    )


def read_episodes(path: Path) -> Iterator[Episode]:
    """The episodes of the evaluation that counts."""
    file = path / "evals" / EVALUATION / "episodes.jsonl"
    packed = path / "episodes.jsonl.gz"
    where = packed if packed.is_file() else file
    for line, row in read_jsonl(where):
        if where is file or need(row, "evaluation", str, str(where), line) == EVALUATION:
            yield episode_from_row(row, str(where), line)


def broken_rules(run: Run) -> dict[str, str]:
    """Rule -> what is wrong, of the rules that each run keeps by itself; "" = kept."""
    domain = AtlasDomain.from_config(RunConfig(seed=run.seed))
    tasks = domain.tasks("test", TASKS)
    return {
        "whole": "a smoke" if run.smoke else "",
        "tasks": wrong_tasks(run.episodes, tasks),
        "grades": wrong_grades(run.episodes),
        "blocks": too_few_blocks(run.episodes),
        "world": other_world(run.episodes[:REPLAYED], tasks, domain),
    }


def wrong_tasks(episodes: Sequence[Episode], tasks: Sequence[Task]) -> str:
    """One attempt at each test task, as this checkout draws it."""
    made = sorted((e.task_id, e.question, tuple(e.answers), e.split) for e in episodes)
    drawn = sorted((t.id, t.question, tuple(t.answers), "test") for t in tasks)
    if made == drawn:
        return ""
    return f"{len(set(made) & set(drawn))} of {len(drawn)} test tasks, {len(made)} episodes"


def wrong_grades(episodes: Sequence[Episode]) -> str:
    """Verdicts are those of the grader; none was ended by the machine."""
    wrong = [
        episode.task_id
        for episode in episodes
        if episode.error is not None
        or grade("qa", episode.answer, episode.answers).correct != bool(episode.success)
    ]
    return f"{len(wrong)} episodes, such as {wrong[0]}" if wrong else ""


def too_few_blocks(episodes: Sequence[Episode]) -> str:
    """Nearly every turn has a block with a number."""
    turns = [turn for episode in episodes for turn in episode.turns]
    stated = sum(turn.foresight is not None and turn.foresight.q is not None for turn in turns)
    share = stated / max(len(turns), 1)
    return "" if share >= BLOCKS else f"{share:.3f} of the turns state a number"


def other_world(episodes: Sequence[Episode], tasks: Sequence[Task], domain: AtlasDomain) -> str:
    """The calls of an episode get the same replies here, in no more turns than are allowed."""
    known = {task.id: task for task in tasks}
    for episode in episodes:
        if episode.task_id not in known:
            continue  # told by another rule
        env = domain.make_env()
        env.reset(**row_of(known[episode.task_id]))
        for number, turn in enumerate(episode.turns):
            if number >= TURNS:
                return f"{episode.task_id}: more than {TURNS} turns"
            if turn.action is None or turn.action.kind != "search":
                continue
            if str(call_tool(env, "search", turn.action.text)) != turn.observation:
                return f"{episode.task_id}: another reply at turn {number + 1}"
    return ""


def judge(runs: Sequence[Run]) -> dict[str, Any]:
    """The verdict on an entry (schema forethought.speedrun/1)."""
    seeds = [run.seed for run in runs]
    broken: dict[str, str] = {}
    shown = []
    drawn: dict[str, list[Draws]] = {metric: [] for metric in METRICS}
    for run in runs:
        for rule, wrong in broken_rules(run).items():
            told = f"seed {run.seed}: {wrong}" if wrong else ""
            broken[rule] = broken.get(rule, "") or told
        found = metric_draws(run.episodes, tuple(METRICS), seed=run.seed, resamples=2000)
        for metric, draws in found.items():
            drawn[metric].append(draws)
        row = {"path": run.path, "seed": run.seed, "commit": run.commit, "cpu_min": run.cpu_min}
        shown.append(row | {metric: asdict(interval(draws)) for metric, draws in found.items()})
    means: dict[str, Any] = {}
    for metric, least in METRICS.items():
        every = len(drawn[metric]) == len(runs)
        means[metric] = asdict(interval(mean_over_seeds(drawn[metric]))) if every else None
        value = means[metric]["value"] if every else None
        reached = value is not None and value >= least
        broken[metric] = "" if reached else f"{value} is below {least}"
    few = len(set(seeds)) < SEEDS or len(set(seeds)) < len(seeds)
    broken["seeds"] = f"{sorted(seeds)}, not {SEEDS} different ones or more" if few else ""
    means["cpu_min"] = round(sum(run.cpu_min for run in runs) / len(runs), 2)
    rules = [{"rule": rule, "kept": not wrong, "why": wrong} for rule, wrong in broken.items()]
    return {
        "schema": SCHEMA,
        "passed": all(rule["kept"] for rule in rules),
        "rules": rules,
        "mean": means,
        "runs": shown,
    }


def cell(found: dict[str, Any] | None) -> str:
    """A figure with its interval."""
    if found is None or found["value"] is None:
        return "-"
    return f"{found['value']:.3f} [{found['lo']:.3f}, {found['hi']:.3f}]"


def table(verdict: dict[str, Any]) -> str:
    """The verdict as text."""
    lines = [f"{'seed':8}{'commit':10}{'CPU-min':>8}  {'success':24}Brier skill, first turn"]
    for row in [*verdict["runs"], {"seed": "mean", "commit": "", **verdict["mean"]}]:
        figures = "  ".join(f"{cell(row.get(metric)):22}" for metric in METRICS)
        lines.append(
            f"{row['seed']!s:8}{row['commit']:10}{row['cpu_min']:8.2f}  {figures}".rstrip()
        )
    for rule in verdict["rules"]:
        lines.append(
            f"{'pass' if rule['kept'] else 'FAIL'}  {rule['rule']}  {rule['why']}".rstrip()
        )
    return "\n".join([*lines, "passed" if verdict["passed"] else "not passed"])


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="runs or records")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    args = parser.parse_args(words)
    try:
        verdict = judge([read_run(path) for path in folders([Path(run) for run in args.runs])])
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(verdict) if args.json else table(verdict))
    return 0 if verdict["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
