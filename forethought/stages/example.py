"""One rollout of stage 3 as its trainer saw it, kept for the page: RL/example.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forethought.evals.tokens import layout_rows
from forethought.jsonl import write_json
from forethought.types import Episode, Rollout, TrainingSequence

SCHEMA = "forethought.example/1"
KEPT = ("text", "span", "turn", "sampled", "pg_weight", "advantage")


def keep_example(
    file: Path,
    update: int,
    tokenizer: Any,
    batch: Sequence[tuple[Rollout, Episode, TrainingSequence]],
) -> None:
    """Writes the first won rollout of the first group with both outcomes, unless one is kept.

    Args:
        file: where it is kept.
        update: number of the update, from 0.
        tokenizer: decodes the ids.
        batch: the valid rollouts of the update, group by group.
    """
    if file.is_file():
        return
    groups: dict[str, list[tuple[Rollout, Episode, TrainingSequence]]] = {}
    for member in batch:
        groups.setdefault(member[1].task_id, []).append(member)
    for members in groups.values():
        outcomes = [episode.success or 0 for _, episode, _ in members]
        if len(set(outcomes)) > 1:
            rollout, episode, sequence = members[outcomes.index(1)]
            slots = {slot.position for slot in sequence.brier}
            rows = layout_rows(rollout, sequence, tokenizer)
            tokens = [
                {**{key: row[key] for key in KEPT}, "number": row["index"] in slots} for row in rows
            ]
            found = {
                "schema": SCHEMA,
                "update": update + 1,
                "task_id": episode.task_id,
                "question": episode.question,
                "rollout": episode.rollout,
                "group": outcomes,
                "tokens": tokens,
            }
            write_json(file, found)
            return
