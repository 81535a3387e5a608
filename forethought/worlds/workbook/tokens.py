"""Every word of the workbook world, and the pieces that spell its numbers.

Text is split at spaces; a word is one token, a number that is no word is spelled in digits. The
numerals of the 21 levels are words, wherever they stand.
"""

from __future__ import annotations

from forethought.worlds.workbook.physics import FAILURES
from forethought.worlds.workbook.routes import ROUTES
from forethought.worlds.workbook.text import ACCOUNTS

ELEMENTS = ("think", "tool_call", "tool_response")
TAGS = tuple(tag for name in ELEMENTS for tag in (f"<{name}>", f"</{name}>"))
HEADINGS = ("**Imaginary**", "**Keyword**", "**Analysis**", "**Confidence**")
CALLS = ('{"name":', '"calc",', '"loop",', '"arguments":', '{"input":', '"digits', '"(')

PIECES = (*"0123456789", "-", '"', '"}}', ")")
"""What numbers and the edges of a call's input are cut into."""

_FORMAT_TEXT = (
    "; , : % + - * / ** ( ) each day days then digits calls ? Answer: none plain foresight in "
    "reply stuck open spare d1 d2 d3 d4 d5 d6 odd even"
)


def vocabulary() -> list[str]:
    """All words, each once, in a fixed order: tags, headings, calls, grammar, numerals, names."""
    failures = [word for failure in FAILURES for word in failure.split()]
    numerals = [str(n) for n in range(10, 101, 5)]
    words = [*TAGS, *HEADINGS, *CALLS, *_FORMAT_TEXT.split(), *numerals, *ACCOUNTS, *ROUTES]
    return list(dict.fromkeys([*words, "calc", "loop", *failures]))
