"""What a reader finds in a row of another system, and the named reasons to leave one out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forethought.jsonl import dumps, parse_json

REASONS: dict[str, str] = {
    "not_json": "the line is not JSON in UTF-8 with finite numbers",
    "not_an_object": "the line is JSON, but no object",
    "held_out": "its `split` says something else than train",
    "no_trajectory": "the fields of this format are absent or of another form",
    "no_question": "nothing says what was asked",
    "empty": "no turn of the policy at all",
    "dialogue": "somebody else speaks in between, or before the first turn more than once",
    "own_reply": "the policy itself wrote what only an environment may write",
    "several_samples": "several attempts in one row",
    "no_action": "no turn calls a tool, so nothing comes that could be foreseen",
    "bad_action": "a call is there and cannot be read, or is never closed",
    "bad_arguments": "search or python with anything but one text",
    "empty_action": "a call, a query or an answer without a text",
    "two_actions": "more than one action in a turn",
    "unknown_tool": "a tool that the environment of the configuration does not have",
    "no_reply": "a call without a reply, and the attempt goes on",
    "stray_reply": "a reply without a call, or with the id of another one",
    "after_answer": "something follows the answer",
    "unfinished": "it ends without an answer",
    "no_thought": "a turn without a thought, where thoughts are asked for",
    "no_verdict": "no success, and no accepted answer to grade by",
    "no_gold": "it failed, and no accepted answer says what a block must not tell",
    "unwritable": "our format would read it back as another thing: a tag, a heading, or an answer "
    "of several lines beside tools other than search",
    "untold": "the rule-based writer of the configuration has no words for it",
    "duplicate": "question and steps are those of an earlier row",
    "contaminated": "a test question of --decontaminate",
}
"""Every reason and what it means; import.json counts them."""


class LeftOut(Exception):
    """A row that is no trajectory for us; `reason` is a key of `REASONS`."""

    def __init__(self, reason: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A call of a tool, or `kind="answer"`."""

    kind: str
    text: str  # the one text argument, else all arguments as JSON
    one_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One turn of the policy, and the reply to it."""

    think: str
    acts: tuple[Act, ...]
    reply: str | None = None  # None: none came


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One row, read: what was asked, and every turn in order."""

    question: str
    turns: tuple[Said, ...]
    verdict: bool | None = None  # what the recording says at its end
    kind: str | None = None  # "qa" | "maths" where the format is of one kind


def objects(value: Any) -> list[Mapping[str, Any]]:
    """A list of objects; empty for anything else."""
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        return []
    return value


def text_of(content: Any) -> str:
    """A text, or the texts of a list of parts as in OpenAI's form; "" for anything else."""
    if isinstance(content, list):
        parts = (each.get("text") for each in content if isinstance(each, Mapping))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def first_text(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first field that is a text and not blank, stripped; "" if there is none."""
    found = (row.get(key) for key in keys)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")


def call_of(call: Any) -> Act:
    """A call in OpenAI's form: `{"function": {"name", "arguments"}}`, also flat, also as JSON text.

    Raises:
        LeftOut: it has no name, or its arguments are no object.
    """
    call = _decoded(call)
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping):
        raise LeftOut("bad_action")
    name, arguments = inner.get("name"), _decoded(inner.get("arguments") or {})
    if not isinstance(name, str) or not name.strip() or not isinstance(arguments, Mapping):
        raise LeftOut("bad_action")
    values = list(arguments.values())
    if len(values) == 1 and isinstance(values[0], str):
        return Act(kind=name.strip(), text=values[0])
    return Act(kind=name.strip(), text=dumps(dict(arguments)), one_text=False)


def _decoded(value: Any) -> Any:
    """The value of a JSON text; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        found = parse_json(value.encode("utf-8"))
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # half a pair is no character
    except (ValueError, RecursionError):
        return None
    return found
