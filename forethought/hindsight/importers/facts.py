"""What a row says about itself beside its turns: split, accepted answers, success, model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forethought.data.benchmarks import split_named
from forethought.hindsight.importers.attempt import LeftOut

VERDICTS = ("success", "correct", "is_correct", "em", "correct_by_gpt4o", "reward")
"""Fields that say whether the attempt succeeded, the first that does so counts."""
ANSWERS = (
    "answers",
    "golden_answers",
    "gold_answers",
    "gold",
    "gt",
    "ground_truth",
    "target",
    "answer",
)
"""Fields with the accepted answer or answers, in this order; not what the policy answered."""

_AROUND = ("extra_info", "metadata", "info", "task")
"""Objects inside a row that are looked into as well."""
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def refuse_held_out(row: Mapping[str, Any]) -> None:
    """Passes rows that name no split, or `train` in some spelling.

    Raises:
        LeftOut: the row, or an object inside it, names another split.
    """
    for place in (row, *(row.get(key) for key in _AROUND)):
        said = place.get("split") if isinstance(place, Mapping) else None
        if said is not None and (not isinstance(said, str) or split_named(said) != "train"):
            raise LeftOut("held_out")


def accepted_answers(row: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The accepted answers that a row brings, each once; none where it brings none.

    Also those of verl's rows (`reward_model.ground_truth`), and behind GSM8K's `####`.
    """
    model = row.get("reward_model")
    truth = model.get("ground_truth") if isinstance(model, Mapping) else None
    found = [row.get(key) for key in ANSWERS] + [
        truth.get("target") if isinstance(truth, Mapping) else truth,
        *(inner.get("answers") for inner in (row.get("task"),) if isinstance(inner, Mapping)),
    ]
    for value in found:
        texts = [_answer(each, kind) for each in (value if isinstance(value, list) else [value])]
        if any(texts):
            return tuple(dict.fromkeys(filter(None, texts)))
    return ()


def _answer(value: Any, kind: str) -> str:
    if isinstance(value, bool):
        return ("no", "yes")[value]
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return text.rpartition("####")[2].strip() if kind == "maths" else text


def verdict_of(row: Mapping[str, Any], success_at: float | None) -> bool | None:
    """What a row says about success: true or false, 1 or 0, or a reward by a threshold.

    Args:
        row: the row.
        success_at: the least `reward` of a success; None: only 1 and 0 say something.
    """
    for key in VERDICTS:
        value = row.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if key == "reward" and success_at is not None and is_number:
            return bool(row[key] >= success_at)
        if isinstance(value, bool) or (is_number and value in (0, 1)):
            return bool(value)
        if isinstance(value, str) and value.strip().lower() in _TRUTH:
            return _TRUTH[value.strip().lower()]
    return None
