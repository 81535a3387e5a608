"""The scanner below `block` and `headings`: tagged elements of a text, and what is wrong with them.

One pass over the tags, no repair. Problem codes are those of docs/format.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from forethought.types import CharSpan, Span

BLOCK_NAMES = ("imaginary", "keyword", "analysis", "confidence")
ACTION_NAMES = ("search", "answer", "tool_call")
REPLY_NAMES = ("information", "tool_response")  # what only an environment may write
_SPAN_OF = {
    "imaginary": Span.IMAGINARY,
    "keyword": Span.KEYWORD,
    "analysis": Span.ANALYSIS,
    "confidence": Span.CONFIDENCE,
    "think": Span.THINK,
} | dict.fromkeys(ACTION_NAMES, Span.ACTION)


class Element(NamedTuple):
    """One element outside every other; `[start, end)` with its tags, `[inner, outer)` without."""

    name: str
    start: int
    inner: int
    outer: int
    end: int
    closed: bool
    text: str  # the content, stripped

    def spans(self) -> tuple[CharSpan, ...]:
        """Its characters, tags included; none for what an environment should have written."""
        span = _SPAN_OF.get(self.name)
        return () if span is None else (CharSpan(span=span, start=self.start, end=self.end),)


@dataclass(slots=True, kw_only=True)
class Scan:
    """What the scanner found: elements in order and problems so far."""

    text: str
    elements: list[Element] = field(default_factory=list)
    problems: set[str] = field(default_factory=set)
    inner_actions: int = 0  # action tags that open inside another element

    def named(self, *names: str) -> list[Element]:
        """The elements with one of these names, in order."""
        return [element for element in self.elements if element.name in names]

    def gaps(self) -> Iterator[tuple[int, int, str]]:
        """`(start, end, text)` of all that lies outside elements and is not white space."""
        edges = [0, *(edge for e in self.elements for edge in (e.start, e.end)), len(self.text)]
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if self.text[start:end].strip():
                yield start, end, self.text[start:end]


class _Tag(NamedTuple):
    name: str
    closing: bool
    start: int
    end: int


def scan(text: str, names: tuple[str, ...]) -> Scan:
    """Finds the elements called `names`; whatever their tags do wrong becomes a problem.

    An element that opens inside another one is part of the other's content (`nested`). An element
    whose closing tag never comes ends where the next one opens (`unclosed`).
    """
    found = Scan(text=text)
    whole = [*_whole(names).finditer(text)]
    if 2 * len(whole) == text.count("<"):  # most texts: no other tag, well spelled or not
        for match in whole:
            _append_whole(found, match)
        return found
    if _variant(names).search(text):
        found.problems.add("bad_tag")
    tags = _tags(text, names)
    if any(tag.name in REPLY_NAMES for tag in tags):
        found.problems.add("observation_tag")
    index = 0
    while index < len(tags):
        tag = tags[index]
        if tag.closing:
            found.problems.add("stray_tag")
            index += 1
        else:
            index = _element(found, tags, index)
    return found


def _element(found: Scan, tags: Sequence[_Tag], index: int) -> int:
    """Adds the element that `tags[index]` opens; returns the index of the first tag after it."""
    opening = tags[index]
    close = _closing(tags, index)
    if close is None:
        found.problems.add("unclosed")
        after = index + 1
        while after < len(tags) and tags[after].closing:
            found.problems.add("stray_tag")
            after += 1
        stop = tags[after].start if after < len(tags) else len(found.text)
        _append(found, opening, stop, stop, closed=False)
        return after
    _append(found, opening, tags[close].start, tags[close].end, closed=True)
    inside = tags[index + 1 : close]
    if not inside:
        return close + 1
    opened: set[str] = set()
    for tag in inside:
        found.problems.add("stray_tag" if tag.closing and tag.name not in opened else "nested")
        opened.add(tag.name)
    found.inner_actions += sum(t.name in ACTION_NAMES and not t.closing for t in inside)
    return close + 1


def _closing(tags: Sequence[_Tag], index: int) -> int | None:
    """Index of the tag that closes `tags[index]`.

    The first closing tag of that name is taken. If another element of that name opens later than
    some other tag in between, the closing tag belongs to that later one, and this one is unclosed.
    """
    name = tags[index].name
    for place in range(index + 1, len(tags)):
        tag = tags[place]
        if tag.name != name:
            continue
        if tag.closing:
            return place
        if place > index + 1:
            return None
    return None


def _append_whole(found: Scan, match: re.Match[str]) -> None:
    name, content = match.groups()
    text = content.strip()
    if not text:
        found.problems.add("empty_element")
    if name in REPLY_NAMES:
        found.problems.add("observation_tag")
    start, end = match.span()
    inner, outer = match.span(2)
    found.elements.append(Element(name, start, inner, outer, end, True, text))


def _append(found: Scan, opening: _Tag, outer: int, end: int, *, closed: bool) -> None:
    content = found.text[opening.end : outer]
    text = content.strip()
    if not text:
        found.problems.add("empty_element")
    if not closed:  # white space before the next element is no part of it
        outer = end = opening.end + len(content.rstrip())
    found.elements.append(
        Element(opening.name, opening.start, opening.end, outer, end, closed, text)
    )


def _tags(text: str, names: tuple[str, ...]) -> list[_Tag]:
    return [_Tag(m[2], m[1] != "", *m.span()) for m in _exact(names).finditer(text)]


@cache
def _exact(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"<(/?)({'|'.join(names)})>")


@cache
def _whole(names: tuple[str, ...]) -> re.Pattern[str]:
    """An element whose content begins no tag, and so is what `_exact` would find of it."""
    return re.compile(rf"<({'|'.join(names)})>([^<]*)</\1>")


@cache
def _variant(names: tuple[str, ...]) -> re.Pattern[str]:
    """Tags that look like ours and are not: spaces, attributes, upper case, `<name/>`."""
    exact = "|".join(names)
    return re.compile(
        rf"(?!<(?-i:/?(?:{exact}))>)<\s*/?\s*(?:{exact})(?:\s[^<>]*|/\s*)?>", re.IGNORECASE
    )


def without_tags(text: str, names: tuple[str, ...]) -> str:
    """The text without well-spelled tags: those are counted as tags, not as text."""
    return _exact(names).sub("", text) if "<" in text else text


def has_reserved(text: str, names: tuple[str, ...]) -> bool:
    """True where `text` holds one of the tags, in whatever spelling."""
    if "<" not in text:  # most texts: a million blocks are parsed in a minute
        return False
    return _exact(names).search(text) is not None or _variant(names).search(text) is not None
