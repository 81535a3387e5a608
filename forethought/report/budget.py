"""`report --budget`: modes beside voting over rollouts with as many sampled tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forethought.errors import InputError
from forethought.report.tables import cell_text, difference_text, make_console, make_table
from forethought.runfiles import read_summary
from forethought.runlog import RunPaths, read_episodes
from forethought.stats.budget import Sampled, curve_rows, matched_row
from forethought.types import JsonRow

SCHEMA = "forethought.budget/1"


def budget(
    samples: Path, paths: Sequence[Path], *, seed: int = 0, resamples: int = 2000
) -> JsonRow:
    """What each evaluation wins beside the vote at its own cost (schema forethought.budget/1).

    Args:
        samples: an evaluation with several rollouts a task, of the policy as it is.
        paths: evaluations; of a run, those of the same model are taken.
        seed: of the resampling of tasks.
        resamples: how many.

    Raises:
        InputError: one rollout a task, a file that cannot be read, no task in common, or verdicts
            of different judges.
    """
    summary = read_summary(samples / "summary.json")
    model, judge = summary["model_sha256"], summary.get("judge", "exact")
    sampled = Sampled.of(read_episodes(samples / "episodes.jsonl"))
    if sampled.k < 2:
        raise InputError(
            str(samples),
            got="a task with fewer than 2 whole rollouts",
            expected="an evaluation with several rollouts a task",
            next_step="make one with `forethought eval .. --mode faithful --samples 8`",
        )
    rows = []
    for name, folder in _folders(paths, model, samples):
        other = read_summary(folder / "summary.json").get("judge", "exact")
        if other != judge:
            raise InputError(
                str(folder),
                got=f"success by {other}, and by {judge} in {samples}",
                expected="evaluations with one judge",
                next_step="name the folders of such evaluations, or evaluate with the same judge",
            )
        row = matched_row(
            sampled, read_episodes(folder / "episodes.jsonl"), seed=seed, resamples=resamples
        )
        if row["num_tasks"] == 0:
            raise InputError(
                str(folder),
                got=f"no task of {samples}",
                expected="evaluations on the same tasks",
                next_step="evaluate both with the same split, --num and --worlds",
            )
        rows.append({"evaluation": name, **row})
    if not rows:
        raise InputError(
            "report --budget",
            got="no evaluation beside the samples",
            expected="evaluations of other modes, or a run with some of the same model",
            next_step="evaluate a mode on the same tasks, such as `--mode imagine-4`",
        )
    return {
        "schema": SCHEMA,
        "samples": str(samples),
        "k": sampled.k,
        "num_tasks": len(sampled.tasks),
        "vote": curve_rows(sampled),
        "rows": rows,
    }


def _folders(paths: Sequence[Path], model: str, samples: Path) -> list[tuple[str, Path]]:
    """Name and folder of each evaluation that is meant, the samples themselves left out."""
    found: list[tuple[str, Path]] = []
    for path in paths:
        if not (path / "resolved.json").is_file():
            found.append((path.name, path))
            continue
        files = sorted((RunPaths(path).root / "evals").glob("*/summary.json"))
        found += [
            (file.parent.name, file.parent)
            for file in files
            if read_summary(file)["model_sha256"] == model
        ]
    return [(name, path) for name, path in found if path.resolve() != samples.resolve()]


def print_budget(document: JsonRow) -> None:
    """The vote by number of rollouts, then each mode beside the vote at its cost."""
    console = make_console()
    vote = [
        [str(row["rollouts"]), f"{row['tokens']:.0f}", f"{row['success']:.3f}"]
        for row in document["vote"]
    ]
    title = f"self-consistency, {document['num_tasks']} tasks"
    console.print(make_table(title, ("rollouts", "tokens a task", "success"), vote))
    columns = ("mode", "tasks", "tokens a task", "= rollouts", "success", "vote", "mode - vote")
    rows = [
        [
            row["evaluation"],
            str(row["num_tasks"]),
            f"{row['tokens']['value']:.0f}",
            f"{row['rollouts']['value']:.2f}",
            cell_text(row["success"]),
            cell_text(row["voted"]),
            "-" if row["minus_voted"] is None else difference_text(row["minus_voted"]),
        ]
        for row in document["rows"]
    ]
    console.print(make_table("modes beside the vote at equal sampled tokens", columns, rows))
    if any(row["voted"]["value"] is None for row in document["rows"]):
        console.print("-: dearer than all rollouts together; sample more", soft_wrap=True)
