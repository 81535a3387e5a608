"""Step records: each turn that calls a tool, with block, placebo twins and leak filters.

A block that a filter rejects is kept in the record with the reason and trains nothing. The
placebos cannot be made later: `shuffled` is the block of another task at the same turn, `blind` a
recap of the past written without the future, `constant` the true block with the mean label.
"""

from __future__ import annotations

from collections.abc import Sequence

from forethought.hindsight.leaks import CODES, check
from forethought.hindsight.records import Labelled
from forethought.hindsight.writer import Writer, with_level
from forethought.runlog import StepRecord, step_to_row
from forethought.types import Foresight, JsonRow


def step_rows(
    items: Sequence[Labelled], writer: Writer, entities: tuple[str, ...]
) -> list[JsonRow]:
    """One row of steps.jsonl for each turn that calls a tool, in the order of the items."""
    by_step: dict[int, list[int]] = {}
    for number, item in enumerate(items):
        for step in range(item.trajectory.num_calls):
            by_step.setdefault(step, []).append(number)
    mean = sum(item.labels[0].value for item in items) / max(len(items), 1)
    rows: list[JsonRow] = []
    for number, item in enumerate(items):
        for step in range(item.trajectory.num_calls):
            twin = _twin(by_step[step], number)
            rows.append(_row(items, number, step, twin, writer, entities, mean))
    return rows


def _twin(numbers: list[int], number: int) -> int:
    """The next item (cyclically) that has this turn."""
    return numbers[(numbers.index(number) + 1) % len(numbers)] if len(numbers) > 1 else number


def _row(
    items: Sequence[Labelled],
    number: int,
    step: int,
    twin: int,
    writer: Writer,
    entities: tuple[str, ...],
    mean: float,
) -> JsonRow:
    item, other = items[number], items[twin]
    trajectory, label = item.trajectory, item.labels[step]
    block = writer.write(trajectory, step, label.value)
    verdict = check(
        trajectory.state(step),
        trajectory.future(step),
        trajectory.task.answers,
        block,
        entities=entities or None,
    )
    level, text = with_level(mean, spaced=" %" in block.q_text)
    constant = {**as_dict(block), "q": level, "q_text": text}
    record = StepRecord(
        task_id=trajectory.task.id,
        split=trajectory.task.split,
        world_seed=trajectory.task.world_seed,
        source_policy=trajectory.source_policy,
        step=step,
        state=trajectory.state(step),
        action=trajectory.steps[step].action,
        future=trajectory.future(step),
        alternatives=tuple(
            {
                "action": {"kind": b.steps[0].action.kind, "text": b.steps[0].action.text},
                "observation": b.steps[0].observation,
                "s": b.s,
                "k": b.k,
            }
            for b in item.branches
            if b.step == step
        ),
        label={
            "value": label.value,
            "source": label.source,
            "s": label.s,
            "k": label.k,
            "prior": label.prior,
        },
        block=as_dict(block),
        placebo={
            "shuffled": as_dict(writer.write(other.trajectory, step, other.labels[step].value)),
            "blind": as_dict(writer.recap(trajectory, step, label.value)),
            "constant": constant,
        },
        outcome=int(trajectory.success),
        filters={code: code in verdict.reasons for code in CODES},
    )
    return step_to_row(record)


def as_dict(block: Foresight) -> JsonRow:
    """The block as JSON."""
    return {
        "roadmap": block.roadmap,
        "keywords": list(block.keywords),
        "analysis": block.analysis,
        "q": block.q,
        "q_text": block.q_text,
    }
