"""Two rollouts of stage 3 as its trainer saw them, kept for the page: rl/example.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forethought.algos.batching import in_order
from forethought.evals.tokens import layout_rows
from forethought.jsonl import write_json
from forethought.types import Episode, JsonRow, Rollout, TrainingSequence

SCHEMA = "forethought.example/1"
KEPT = ("text", "span", "turn", "sampled", "pg_weight", "advantage")


def keep_example(
    file: Path,
    update: int,
    tokenizer: Any,
    batch: Sequence[tuple[Rollout, Episode, TrainingSequence]],
) -> None:
    """Writes the first won and lost rollout of the first group with both, unless some are kept.

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
            chosen = [members[outcomes.index(outcome)] for outcome in (1, 0)]
            found = {
                "schema": SCHEMA,
                "update": update + 1,
                "task_id": members[0][1].task_id,
                "question": members[0][1].question,
                "group": outcomes,
                "rollouts": [_row(*member, tokenizer) for member in chosen],
            }
            write_json(file, found)
            return


def _row(rollout: Rollout, episode: Episode, earned: TrainingSequence, tokenizer: Any) -> JsonRow:
    sequence = in_order(earned, rollout)
    slots = {slot.position for slot in sequence.brier}
    tokens = [
        {**{key: row[key] for key in KEPT}, "number": row["index"] in slots}
        for row in layout_rows(rollout, sequence, tokenizer)
    ]
    return {"rollout": episode.rollout, "success": episode.success, "tokens": tokens}
