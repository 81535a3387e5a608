"""One training sequence as a line of a corpus file, and back. docs/corpus.md has the fields."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

from forethought.errors import InputError
from forethought.hindsight.corpus import Written, WrittenTurn
from forethought.jsonl import bad_row, need, read_json, read_jsonl
from forethought.types import BrierSlot, JsonRow, TrainingSequence

SCHEMA = "forethought.sequence/1"
IGNORED = -100
"""The label of a token without a loss, as torch and transformers have it."""

Format = Literal["sequences", "trl"]
"""sequences: all that the trainer takes; trl: the columns of TRL's SFTTrainer, and weights."""
FORMATS: tuple[Format, ...] = get_args(Format)


def corpus_rows(written: Written, form: Format) -> Iterator[JsonRow]:
    """The lines of a sequence: one, or for `trl` one a document that has a trained token."""
    sequence = written.sequence
    if form == "sequences":
        row: JsonRow = {
            "schema": SCHEMA,
            "source": sequence.source,
            "ids": sequence.ids,
            "weights": sequence.ce_weight,
            "starts": sequence.starts,
            "turns": [turn.start for turn in written.turns],
            "block_tokens": [turn.block_tokens for turn in written.turns],
        }
        if sequence.obs_weight:
            row["reply_weights"] = sequence.obs_weight
        if sequence.brier:
            row["brier"] = [[slot.position, slot.target] for slot in sequence.brier]
        yield row
        return
    for begin, end in sequence.documents:
        ids, weights = sequence.ids[begin:end], sequence.ce_weight[begin:end]
        if any(weights):
            pairs = zip(ids, weights, strict=True)
            yield {
                "input_ids": ids,
                "labels": [token if weight else IGNORED for token, weight in pairs],
                "loss_weights": weights,
                "source": sequence.source,
            }


def written_from_row(row: JsonRow, where: str, line: int) -> Written:
    """Reads a line of the format `sequences`.

    Raises:
        InputError: another schema, or fields that do not fit together.
    """
    place = (where, line)
    if row.get("schema") != SCHEMA:
        raise _misfit(f"schema {row.get('schema')!r}", *place)
    ids, weights = _numbers(row, "ids", int, *place), _numbers(row, "weights", float, *place)
    starts, turns = _numbers(row, "starts", int, *place), _numbers(row, "turns", int, *place)
    blocks = _numbers(row, "block_tokens", int, *place)
    replies = _numbers(row, "reply_weights", float, *place) if "reply_weights" in row else []
    if {len(weights), len(replies or ids)} != {len(ids)} or len(blocks) != len(turns):
        raise _misfit("lists of unequal length", *place)
    begins_well = starts[:1] == [0] and all(a < b for a, b in pairwise((*starts, len(ids))))
    if not begins_well or not all(0 < turn <= len(ids) for turn in turns):
        raise _misfit(f"starts = {starts}, turns = {turns}", *place)
    return Written(
        sequence=TrainingSequence(
            ids=tuple(ids),
            ce_weight=tuple(weights),
            obs_weight=tuple(replies),
            brier=_slots(row, len(ids), *place),
            starts=tuple(starts),
            source=need(row, "source", str, *place),
        ),
        turns=tuple(WrittenTurn(a, b) for a, b in zip(turns, blocks, strict=True)),
    )


def read_corpus(folder: str | Path, name: str = "main") -> Iterator[Written]:
    """The sequences of a set, one after the other.

    Args:
        folder: with corpus.json, of the format `sequences`.
        name: of the set, as in corpus.json.

    Raises:
        InputError: no such corpus or set, or a line that does not fit.
    """
    file = Path(folder) / "corpus.json"
    sets: JsonRow = need(read_json(file), "sets", dict, str(file), 1)
    for shard in need(need(sets, name, dict, str(file), 1), "shards", list, str(file), 1):
        path = Path(folder) / need(shard, "file", str, str(file), 1)
        for line, row in read_jsonl(path):
            yield written_from_row(row, str(path), line)


def _slots(row: JsonRow, length: int, where: str, line: int) -> tuple[BrierSlot, ...]:
    slots = need(row, "brier", list, where, line) if "brier" in row else []
    for slot in slots:
        if not isinstance(slot, list) or [type(part) for part in slot] != [int, float]:
            raise _misfit(f"brier = {slots!r:.60}", where, line)
        if not 0 < slot[0] < length or not 0.0 <= slot[1] <= 1.0:
            raise _misfit(f"a Brier slot {slot!r}", where, line)
    return tuple(BrierSlot(position=position, target=target) for position, target in slots)


def _numbers(row: JsonRow, key: str, kind: type, where: str, line: int) -> list[int]:
    values: list[int] = need(row, key, list, where, line)
    if not all(type(value) is kind for value in values):
        raise _misfit(f"{key} = {values!r:.60}", where, line)
    return values


def _misfit(got: str, where: str, line: int) -> InputError:
    return bad_row(where, line, got, SCHEMA, "corpus")
