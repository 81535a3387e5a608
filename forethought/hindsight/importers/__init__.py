"""Recorded trajectories of other systems: a reader a format, one way from a row to a trajectory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forethought.hindsight.importers import chat, fences, react, tags
from forethought.hindsight.importers.attempt import Attempt

Reader = Callable[[Mapping[str, Any]], Attempt]
"""What a row says; raises `LeftOut` and nothing else, whatever the row holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A form in which others record."""

    about: str
    read: Reader


FORMATS: dict[str, Format] = {
    "openai": Format(about="messages with tool_calls and role tool", read=chat.read_openai),
    "react": Format(about="Thought, Action, Observation; a text or a chat", read=react.read_row),
    "search-r1": Format(about="tags of Search-R1, R1-Searcher and kin", read=tags.read_row),
    "tora": Format(about="fenced programs and outputs, a box", read=fences.read_row),
    "trl": Format(about="messages, or prompt and completion", read=chat.read_trl),
    "verifiers": Format(about="prompt and completion with a reward", read=chat.read_verifiers),
}
