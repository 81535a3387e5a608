"""The block of the maths style: four bold headings at the head of the thinking part.

    <think>
    **Imaginary**
    roadmap, then what is still missing
    **Keyword**
    a, b, c
    **Analysis**
    how good the plan is
    **Confidence**
    85%

    free thought
    </think>

A heading stands alone between white space. The confidence is what follows its heading up to the
first percent sign or the end of the line; the thought is the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forethought.foresight.contents import read_foresight
from forethought.foresight.elements import Element
from forethought.types import CharSpan, Foresight, Span

HEADINGS = {
    "Imaginary": Span.IMAGINARY,
    "Keyword": Span.KEYWORD,
    "Analysis": Span.ANALYSIS,
    "Confidence": Span.CONFIDENCE,
}
_NAMES = "|".join(HEADINGS)
_EXACT = re.compile(rf"(?<!\S)\*\*({_NAMES})\*\*(?!\S)")
_VARIANT = re.compile(
    rf"^[ \t]*(?:#+[ \t]*(?:{_NAMES})s?\b|\*\*\s*(?:{_NAMES})s?\s*:?\s*\*\*)", re.I | re.M
)
_FIRST_LINE = re.compile(r"[^\n%]*%?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """The thinking part taken apart."""

    foresight: Foresight | None
    think: str
    problems: tuple[str, ...]
    spans: tuple[CharSpan, ...]
    num_headings: int


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    start: int  # of the heading
    inner: int  # of the content
    end: int  # of the content, white space at its end left out

    def text(self, whole: str) -> str:
        return whole[self.inner : self.end].strip()


def read_thinking(text: str, element: Element) -> Thinking:
    """Splits a `<think>` element of `text` into block and thought."""
    found = list(_EXACT.finditer(text, element.inner, element.outer))
    problems: set[str] = set()
    if _has_variant(text[element.inner : element.outer]):
        problems.add("bad_tag")
    if not found:
        return Thinking(
            foresight=None,
            think=element.text,
            problems=tuple(problems),
            spans=element.spans(),
            num_headings=0,
        )
    if text[element.inner : found[0].start()].strip():
        problems.add("stray_text")
    sections = _sections(text, found, element.outer)
    thought_at = sections[-1].end if sections[-1].name == "Confidence" else element.outer
    names = [section.name for section in sections]
    problems |= _order_problems(names)
    problems |= {"empty_element" for section in sections if not section.text(text)}
    thought = text[thought_at : element.outer].strip()
    if not thought:
        problems.add("empty_element")
    foresight = None
    if names == list(HEADINGS):
        foresight, inside = read_foresight(*(section.text(text) for section in sections))
        problems |= set(inside)
    return Thinking(
        foresight=foresight,
        think=thought,
        problems=tuple(problems),
        spans=_spans(text, element, sections, thought_at),
        num_headings=len(sections),
    )


def _sections(text: str, found: list[re.Match[str]], outer: int) -> list[_Section]:
    edges = [*(m.start() for m in found[1:]), outer]
    sections: list[_Section] = []
    for heading, edge in zip(found, edges, strict=True):
        stop = edge
        if heading[1] == "Confidence":
            content = text[heading.end() : edge]
            lead = len(content) - len(content.lstrip())
            first = _FIRST_LINE.match(content, lead)
            assert first is not None  # the pattern matches the empty string
            stop = heading.end() + first.end()
        end = heading.end() + len(text[heading.end() : stop].rstrip())
        sections.append(_Section(heading[1], heading.start(), heading.end(), end))
    return sections


def _order_problems(names: list[str]) -> set[str]:
    problems: set[str] = set()
    if len(set(names)) < len(names):
        problems.add("repeated_element")
    if len(set(names)) < len(HEADINGS):
        problems.add("missing_element")
    ranks = [list(HEADINGS).index(name) for name in names]
    if ranks != sorted(ranks):
        problems.add("out_of_order")
    return problems


def _spans(
    text: str, element: Element, sections: list[_Section], thought_at: int
) -> tuple[CharSpan, ...]:
    """The opening tag, each section, then the thought with the closing tag."""
    spans = [CharSpan(span=Span.THINK, start=element.start, end=element.inner)]
    spans += [CharSpan(span=HEADINGS[s.name], start=s.start, end=s.end) for s in sections]
    rest = text[thought_at : element.end]
    start = thought_at + len(rest) - len(rest.lstrip())
    if start < element.end:
        spans.append(CharSpan(span=Span.THINK, start=start, end=element.end))
    return tuple(spans)


def _has_variant(content: str) -> bool:
    """True where a line begins with what looks like a heading of ours and is not spelled so."""
    starts = (m.end() - len(m[0].lstrip()) for m in _VARIANT.finditer(content))
    return any(_EXACT.match(content, start) is None for start in starts)


def headings_text(block: tuple[str, str, str, str], *, spaced: bool) -> str:
    """The four sections with `block` = roadmap, keywords, analysis, confidence."""
    joint = " " if spaced else "\n"
    pairs = zip(HEADINGS, block, strict=True)
    return joint.join(f"**{name}**{joint}{content}" for name, content in pairs)
