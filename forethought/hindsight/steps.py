"""Step records: each turn that calls a tool, with block, placebo twins and leak filters.

A block that a filter rejects is kept in the record with the reason and trains nothing. The
placebos cannot be made later: `shuffled` is the block of another task at the same turn, `blind` a
recap of the past written without the future, `constant` the true block with the mean label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from forethought.hindsight.leaks import CODES, LeakVerdict, check
from forethought.hindsight.records import Branch, Labelled
from forethought.hindsight.trajectory import Trajectory
from forethought.hindsight.writer import Writer, with_level
from forethought.runlog import StepRecord, step_to_row
from forethought.types import Foresight, JsonRow


def step_rows(
    items: Sequence[Labelled], writer: Writer, entities: tuple[str, ...]
) -> list[JsonRow]:
    """One row of steps.jsonl for each turn that calls a tool: all first turns, then the second."""
    by_step: dict[int, list[int]] = {}
    for number, item in enumerate(items):
        for step in range(item.trajectory.num_calls):
            by_step.setdefault(step, []).append(number)
    mean = sum(item.labels[0].value for item in items) / max(len(items), 1)
    rows: list[JsonRow] = []
    for step, numbers in by_step.items():
        for index, number in enumerate(numbers):
            twin = numbers[(index + 1) % len(numbers)]  # the next item that has this turn
            place = _Place(number=number, step=step, twin=twin, entities=entities)
            rows.append(_row(items, place, writer, mean))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A turn of one item, and the item whose block is its shuffled twin."""

    number: int
    step: int
    twin: int
    entities: tuple[str, ...]


def _row(items: Sequence[Labelled], place: _Place, writer: Writer, mean: float) -> JsonRow:
    item, step = items[place.number], place.step
    other = items[place.twin]
    trajectory, label = item.trajectory, item.labels[step]
    block = writer.write(trajectory, step, label.value)
    level, text = with_level(mean, spaced=" %" in block.q_text)
    verdict = leaks_of(trajectory, step, block, place.entities)
    record = StepRecord(
        task_id=trajectory.task.id,
        split=trajectory.task.split,
        world_seed=trajectory.task.world_seed,
        source_policy=trajectory.source_policy,
        step=step,
        state=trajectory.state(step),
        action=trajectory.steps[step].action,
        future=trajectory.future(step),
        alternatives=tuple(_alternative(b) for b in item.branches if b.step == step),
        label=asdict(label),
        block=as_dict(block),
        placebo={
            "shuffled": as_dict(writer.write(other.trajectory, step, other.labels[step].value)),
            "blind": as_dict(writer.recap(trajectory, step, label.value)),
            "constant": {**as_dict(block), "q": level, "q_text": text},
        },
        outcome=int(trajectory.success),
        filters={code: code in verdict.reasons for code in CODES},
    )
    return step_to_row(record)


def leaks_of(
    trajectory: Trajectory, step: int, block: Foresight, entities: tuple[str, ...]
) -> LeakVerdict:
    """What the leak filters say of a block.

    In a world with a lexicon of names, relations, signs and regions are kinds, which a block is
    for; only names can be retold there, so only they are compared with what came.
    """
    future = trajectory.future(step)
    if entities:
        names = frozenset(entities)
        future = tuple(" ".join(w for w in text.split() if w in names) for text in future)
    state, answers = trajectory.state(step), trajectory.task.answers
    return check(state, future, answers, block, entities=entities or None)


def _alternative(branch: Branch) -> JsonRow:
    first = branch.steps[0]
    return {
        "action": {"kind": first.action.kind, "text": first.action.text},
        "observation": first.observation,
        "s": branch.s,
        "k": branch.k,
    }


def as_dict(block: Foresight) -> JsonRow:
    """The block as JSON."""
    return {
        "roadmap": block.roadmap,
        "keywords": list(block.keywords),
        "analysis": block.analysis,
        "q": block.q,
        "q_text": block.q_text,
    }
