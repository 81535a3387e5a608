"""Free-text blocks of stage 1: the same content under varied headings, without any of our tags.

A block says the road ahead, the gap (what is still missing) and the chance of success with its
reason. Headings, order and the way of writing the chance vary, so that stage 1 teaches to look
ahead and leaves the format of stage 2 to stage 2.

    Outlook: add, expect a 2-digit number; then answer
    Lacking: 1 result missing
    Odds: 65% (One direct calculation)

and for word-level vocabularies

    outlook : c mentor flint coast , reply lacking : 1 links open odds : 65 % , seat stale
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from forethought.errors import InputError
from forethought.foresight.contents import percent_text
from forethought.foresight.elements import ACTION_NAMES, BLOCK_NAMES, REPLY_NAMES, has_reserved
from forethought.types import Foresight


class FreeTemplate(NamedTuple):
    """Headings of the three parts, one lower-case word each."""

    road: str
    gap: str
    chance: str


FREE_TEMPLATES: tuple[FreeTemplate, ...] = (
    FreeTemplate("outlook", "lacking", "odds"),
    FreeTemplate("course", "missing", "chance"),
    FreeTemplate("forecast", "unknown", "likelihood"),
    FreeTemplate("preview", "needed", "prospect"),
    FreeTemplate("path", "gap", "belief"),
    FreeTemplate("ahead", "wanted", "estimate"),
)
"""Six sets of headings; none is the name of an element."""
PARTS = ("road", "gap", "chance")
PERCENT_STYLES = ("65%", "65 in 100")
_LAST_BREAK = re.compile(r".*(?:\s*;\s+|[.!?]\s+)", re.DOTALL)


def template_words() -> tuple[str, ...]:
    """All words that templates add to a word-level vocabulary, each once, in a fixed order."""
    return tuple(dict.fromkeys(word for template in FREE_TEMPLATES for word in template))


def render_free(
    foresight: Foresight,
    template: int,
    order: Sequence[str] = PARTS,
    percent_style: int = 0,
    spaced: bool = False,
) -> str:
    """A block in free words. Keywords are not written.

    The gap is what stands behind the last semicolon or sentence end of the roadmap; a roadmap in
    one piece leaves its analysis as the gap. The number and the reason stand side by side.

    Args:
        foresight: the block; its q must be a number.
        template: index into `FREE_TEMPLATES`.
        order: a permutation of "road", "gap", "chance".
        percent_style: 0 = "65%", 1 = "65 in 100".
        spaced: one line with a blank between all tokens, for word-level vocabularies.

    Raises:
        InputError: no such template, order or style, no q, or a tag in the content.
    """
    _check(foresight, template, order, percent_style)
    road, gap = _road_and_gap(foresight)
    reason = foresight.analysis.strip() if gap else ""
    contents = {
        "road": road,
        "gap": gap or foresight.analysis.strip(),
        "chance": _chance(foresight.q or 0.0, reason, percent_style, spaced),
    }
    headings = FREE_TEMPLATES[template]._asdict()
    if spaced:
        words = [f"{headings[part]} : {contents[part]}" for part in order]
        return " ".join(" ".join(words).split())
    return "\n".join(f"{headings[part].capitalize()}: {contents[part]}" for part in order)


def _road_and_gap(foresight: Foresight) -> tuple[str, str]:
    """The roadmap cut at its last break; the gap is "" where there is none."""
    roadmap = foresight.roadmap.strip()
    head = _LAST_BREAK.match(roadmap)
    if head is None:
        return roadmap, ""
    return head[0].strip().rstrip(";").rstrip(), roadmap[head.end() :]


def _chance(q: float, reason: str, style: int, spaced: bool) -> str:
    number = percent_text(q).removesuffix("%")
    unit = " in 100" if style == 1 else " %" if spaced else "%"
    number += unit
    if not reason:
        return number
    return f"{number} , {reason}" if spaced else f"{number} ({reason})"


def _check(foresight: Foresight, template: int, order: Sequence[str], percent_style: int) -> None:
    if not 0 <= template < len(FREE_TEMPLATES):
        _refuse("template", str(template), f"0..{len(FREE_TEMPLATES) - 1}")
    if sorted(order) != sorted(PARTS):
        _refuse("order", repr(tuple(order)), "each of road, gap, chance once")
    if not 0 <= percent_style < len(PERCENT_STYLES):
        _refuse("percent_style", str(percent_style), f"0..{len(PERCENT_STYLES) - 1}")
    if foresight.q is None:
        _refuse("a block to render", "no q", "a success estimate")
    names = (*BLOCK_NAMES, "think", *ACTION_NAMES, *REPLY_NAMES)
    if has_reserved(f"{foresight.roadmap} {foresight.analysis}", names):
        _refuse("a block to render", repr(foresight.roadmap[:80]), "content without tags")


def _refuse(where: str, got: str, expected: str) -> None:
    raise InputError(where, got=got, expected=expected, next_step=f"correct {where}")
