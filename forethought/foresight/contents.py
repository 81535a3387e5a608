r"""What stands inside the elements: percentages, keyword lists, tool calls, answer lines.

Every reader gives a value and the codes of what is wrong (docs/format.md); none of them repairs.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from forethought.foresight.elements import ACTION_NAMES, REPLY_NAMES, has_reserved
from forethought.foresight.grounding import MAX_KEYWORDS, normalise
from forethought.types import Action, Foresight

_PERCENT = re.compile(r"((?:0|[1-9][0-9]{0,2})(?:\.[0-9]+)?)\s*(%?)")
_OUTSIDE = re.compile(r"(?:-[0-9]+|[1-9][0-9]{2,})(?:\.[0-9]+)?\s*%?")
_BOX = "\\boxed{"
_BRACE = re.compile(r"\\boxed\{|\\.|[{}]", re.DOTALL)
_ANSWER_LINE = re.compile(
    r"^[ \t]*((?P<bold>\*\*)?Answer:(?:\*\*)?[ \t]*(?P<text>.*?)(?(bold)(?:\*\*)?))[ \t]*$",
    re.MULTILINE,
)  # Markdown may set it bold


def read_confidence(text: str) -> tuple[float | None, tuple[str, ...]]:
    """The estimate in a confidence element, and the codes of what is wrong with it.

    "85%", "85 %" and "85" are .85. A decimal from 0 to 1 without a percent sign is a fraction:
    "0.85" is .85 and "1.0" is 1, read and counted as a problem; "1" is 1 %. Numbers outside
    0..100 and everything that is no number are None: nothing is clamped.
    """
    found = _PERCENT.fullmatch(text)
    if found is None:
        return None, ("confidence_range" if _OUTSIDE.fullmatch(text) else "confidence_text",)
    number = Decimal(found[1])
    if not found[2] and "." in found[1] and number <= 1:
        return float(number), ("confidence_fraction",)
    if number > 100:
        return None, ("confidence_range",)
    return float(number.scaleb(-2)), ()


def percent_text(q: float) -> str:
    """The shortest percentage that `read_confidence` reads as exactly `q`: .85 -> "85%"."""
    number = f"{Decimal(repr(q)).scaleb(2):f}"
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number}%"


def read_keywords(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The items of a comma-separated list, in order, and the codes of what is wrong with it."""
    pieces = [piece.strip() for piece in text.split(",")] if text.strip() else []
    items = tuple(piece for piece in pieces if piece)
    problems: list[str] = []
    if len(items) < len(pieces):
        problems.append("empty_keyword")
    if not items:
        problems.append("no_keywords")
    if len(items) > MAX_KEYWORDS:
        problems.append("too_many_keywords")
    if len({tuple(normalise(item)) or item for item in items}) < len(items):
        problems.append("duplicate_keyword")
    return items, tuple(problems)


def read_foresight(
    roadmap: str, keywords: str, analysis: str, confidence: str
) -> tuple[Foresight, tuple[str, ...]]:
    """The block from the stripped contents of its four elements, and what is wrong inside them."""
    items, in_keywords = read_keywords(keywords)
    q, in_confidence = read_confidence(confidence)
    block = Foresight(roadmap=roadmap, keywords=items, analysis=analysis, q=q, q_text=confidence)
    return block, (*in_keywords, *in_confidence)


def read_tool_call(text: str) -> Action | None:
    """The call in a `<tool_call>`: strict JSON with a name and one text argument, else None.

    `{"name": "python", "arguments": {"code": "..."}}`. Other tools may call their argument what
    they like; white space around it is dropped.
    """
    try:
        call: Any = json.loads(text, object_pairs_hook=_no_repeats, parse_constant=_refuse)
        json.dumps(call, ensure_ascii=False).encode()  # an escaped half of a pair is no character
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or set(call) != {"name", "arguments"}:
        return None
    name, arguments = call["name"], call["arguments"]
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    if len(arguments) != 1 or (name == "python" and "code" not in arguments):
        return None
    value = next(iter(arguments.values()))
    if not isinstance(value, str) or not value.strip():
        return None
    return Action(kind=name, text=value if name == "python" else value.strip())


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def tool_call_text(action: Action, *, spaced: bool = False) -> str:
    """The JSON of a call. In code that holds a tag, `<` is escaped: it must not end the element.

    `spaced` puts blanks inside the quotation marks of an input, so that they are words of their
    own.
    """
    key = "code" if action.kind == "python" else "input"
    said = f" {action.text.strip()} " if spaced and key == "input" else action.text
    text = json.dumps({"name": action.kind, "arguments": {key: said}}, ensure_ascii=False)
    tags = ("think", *ACTION_NAMES, *REPLY_NAMES)
    return text.replace("<", "\\u003c") if has_reserved(text, tags) else text


@dataclass(frozen=True, slots=True)
class Statement:
    r"""An answer in plain text: an "Answer:" line or a `\boxed{}`, at `[start, end)`."""

    start: int
    end: int
    text: str


def statements(text: str) -> list[Statement]:
    r"""All answers that a text states, in order, without overlap.

    The first box inside an "Answer:" line is that line's answer; a line inside a box is none.
    """
    all_boxes = boxes(text)
    starts = [box.start for box in all_boxes]
    found: list[Statement] = []
    used: set[int] = set()
    for line in _ANSWER_LINE.finditer(text):
        start, end = line.span(1)
        place = bisect_left(starts, start)
        if place and all_boxes[place - 1].end > start:
            continue
        if place < len(starts) and starts[place] < end:
            used.add(starts[place])
            found.append(Statement(start, all_boxes[place].end, all_boxes[place].text))
        else:
            found.append(Statement(start, end, line["text"]))
    found += [box for box in all_boxes if box.start not in used]
    return sorted(found, key=lambda statement: statement.start)


def boxes(text: str) -> list[Statement]:
    r"""The complete `\boxed{...}` of a text in order, with balanced braces; outermost ones only.

    `\{` and `\}` are not braces. One pass, however many boxes were begun and never closed.
    """
    found: list[Statement] = []
    open_braces: list[tuple[int, bool]] = []  # (index behind the brace, is it a box?)
    for piece in _BRACE.finditer(text):
        if piece[0].endswith("{") and piece[0] != "\\{":
            open_braces.append((piece.end(), len(piece[0]) > 1))
        elif piece[0] == "}" and open_braces:
            inner, is_box = open_braces.pop()
            if is_box:
                start = inner - len(_BOX)
                while found and found[-1].start > start:
                    found.pop()  # it lies inside this one
                found.append(Statement(start, piece.end(), text[inner : piece.start()].strip()))
    return found
