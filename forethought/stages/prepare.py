"""Stage 0: trajectories with failures kept, executed branches, measured labels, blocks, placebos.

Writes prepare/trajectories.jsonl (what later stages train on), prepare/steps.jsonl (each step with
its block, placebos and filters spelled out) and prepare/report.json (counts, nothing hidden).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from forethought.errors import GuardRail
from forethought.hindsight.branch import BranchPoint, Student, alternatives, normalised
from forethought.hindsight.records import Branch, Labelled, labelled_to_row, read_labelled
from forethought.hindsight.steps import leaks_of, step_rows
from forethought.hindsight.teacher import TeacherWriter
from forethought.hindsight.trajectory import Trajectory, steps_of
from forethought.hindsight.writer import Writer
from forethought.jsonl import need, read_json, write_json, write_jsonl
from forethought.progress import say
from forethought.stages.context import Context
from forethought.stages.labels import as_rollout, make_student, measure_labels
from forethought.stages.teacher import fetch_blocks
from forethought.training.policy import Policy
from forethought.types import JsonRow


def run(context: Context, policy: Policy) -> list[Labelled]:
    """Collects, branches, labels and writes the corpus; returns the labelled trajectories.

    A trajectory with a block that a leak filter rejects stays in steps.jsonl and trains nothing.

    Raises:
        GuardRail: the filters reject everything, or too many continuations are lost.
    """
    folder = context.stage_dir("prepare")
    done = folder / "report.json"
    if context.resume and done.is_file():
        return read_prepared(context)
    section = context.config.prepare
    trajectories = context.domain.trajectories(section.num_episodes, policy.tokenizer)
    labels = measure_labels(
        context,
        trajectories,
        policy,
        folder=folder,
        outcome_only=section.outcome_only or section.labels == "teacher",
    )
    branches = _branches(context, trajectories, policy)
    items = [
        Labelled(trajectory=t, labels=mine, branches=tuple(branches.get(number, ())))
        for number, (t, mine) in enumerate(zip(trajectories, labels, strict=True))
    ]
    return write_corpus(context, items)


def write_corpus(
    context: Context, items: list[Labelled], about: JsonRow | None = None
) -> list[Labelled]:
    """Writes blocks and files for labelled trajectories; returns those that train.

    Args:
        context: the run.
        items: trajectories with labels and branches.
        about: more for report.json.

    Raises:
        GuardRail: the filters reject everything.
    """
    folder = context.stage_dir("prepare")
    writer, taught = context.domain.writer, None
    if isinstance(writer, TeacherWriter):
        items, taught = fetch_blocks(items, writer, context.config.teacher)
    rows = step_rows(items, writer, context.domain.entities())
    write_jsonl(folder / "steps.jsonl", rows)
    report = _report(items, rows) | ({} if taught is None else {"teacher": taught})
    report |= about or {}
    leaky = {row["task_id"] for row in rows if any(row["filters"].values())}
    if taught is not None:  # rules say nothing of an answer; a teacher was shown it
        told = _answers_told(items, writer)
        taught["answers_told"] = len(told - leaky)
        leaky |= told
    items = [item for item in items if item.trajectory.task.id not in leaky]
    if not items:
        raise GuardRail(f"the leak filters rejected every trajectory ({report['rejected_by']})")
    write_jsonl(folder / "trajectories.jsonl", (labelled_to_row(item) for item in items))
    write_json(folder / "report.json", {**report, "kept": len(items)})
    say(
        f"prepare: {report['trajectories']} trajectories ({report['success']:.0%} succeed), "
        f"{report['steps']} steps, {report['branches']} branches, "
        f"{report['rejected']} blocks rejected"
    )
    return items


def _answers_told(items: Sequence[Labelled], writer: Writer) -> set[str]:
    """Tasks whose block at the turn that answers is refused; steps.jsonl has the turns before."""
    found: set[str] = set()
    for item in items:
        trajectory = item.trajectory
        for step in range(trajectory.num_calls, len(trajectory.steps)):
            block = writer.write(trajectory, step, item.labels[step].value)
            if not leaks_of(trajectory, step, block, ()).accepted:
                found.add(trajectory.task.id)
    return found


def read_prepared(context: Context) -> list[Labelled]:
    """The labelled trajectories of the finished stage.

    Raises:
        InputError: the stage has left none, or fewer than it counted.
    """
    return read_labelled(context.stage_dir("prepare") / "trajectories.jsonl", num_kept(context))


def num_kept(context: Context) -> int | None:
    """How many trajectories the finished stage left; None where its report is not there.

    Raises:
        InputError: the report is damaged.
    """
    report = context.stage_dir("prepare") / "report.json"
    if not report.is_file():
        return None
    num: int = need(read_json(report), "kept", int, str(report), 1)
    return num


def _branches(
    context: Context, trajectories: Sequence[Trajectory], policy: Policy
) -> dict[int, list[Branch]]:
    """Executed alternatives at `prepare.branch_states` turns, drawn evenly from all calls."""
    section = context.config.prepare
    places = branch_places(trajectories, section.branch_states, context.config.seed)
    student = make_student(context, policy)
    points = branch_points(trajectories, places, student)
    found = alternatives(points, section.alternatives, section.continuations, student)
    branches: dict[int, list[Branch]] = {}
    for (number, step), options in zip(places, found, strict=True):
        taken = normalised(trajectories[number].steps[step].action)
        for option in options:
            example = option.measured.example
            action = option.turn.parsed.action
            if example is None or action is None or normalised(action) == taken:
                continue
            steps = steps_of(example.turns[step:])
            if steps is not None and context.domain.writer.can_tell(steps):
                branches.setdefault(number, []).append(
                    Branch(
                        step=step,
                        steps=steps,
                        success=option.measured.example_success,
                        s=option.measured.s,
                        k=option.measured.k,
                    )
                )
    return branches


def branch_points(
    trajectories: Sequence[Trajectory], places: Sequence[tuple[int, int]], student: Student
) -> list[BranchPoint]:
    """The states before the given turns; `places`: (number of a trajectory, turn)."""
    points: list[BranchPoint] = []
    for key, (number, step) in enumerate(places):
        rollout = as_rollout(trajectories[number], student.text_format, student.tokenizer)
        points.append(BranchPoint(rollout=rollout, history=rollout.turns[:step], key=10**6 + key))
    return points


def branch_places(trajectories: Sequence[Trajectory], num: int, seed: int) -> list[tuple[int, int]]:
    """`num` turns with a call, drawn evenly: (number of the trajectory, turn), in order."""
    rng = random.Random(f"branches/{seed}")
    places = [(n, s) for n, t in enumerate(trajectories) for s in range(t.num_calls)]
    return sorted(rng.sample(places, min(num, len(places))))


def _report(items: Sequence[Labelled], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    labels = [label for item in items for label in item.labels]
    rejected = Counter(code for row in rows for code, hit in row["filters"].items() if hit)
    return {
        "schema": "forethought.prepare/1",
        "trajectories": len(items),
        "success": sum(item.trajectory.success for item in items) / max(len(items), 1),
        "steps": len(rows),
        "branches": sum(len(item.branches) for item in items),
        "rejected": sum(any(row["filters"].values()) for row in rows),
        "rejected_by": dict(sorted(rejected.items())),
        "label_sources": dict(sorted(Counter(label.source for label in labels).items())),
        "mean_label": sum(label.value for label in labels) / max(len(labels), 1),
        "label_below_half": sum(label.value < 0.5 for label in labels) / max(len(labels), 1),
    }
