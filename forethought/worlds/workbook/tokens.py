"""Every word of the workbook world, and the pieces that spell its numbers.

Text is split at spaces; a word is one token, a number that is no word is spelled in digits. Numbers
to 100 and counts of days, whole or in parts, are words: what a question says is then copied in one
step, as names are in atlas.
"""

from __future__ import annotations

from forethought.worlds.workbook.law import DAYS
from forethought.worlds.workbook.physics import FAILURES
from forethought.worlds.workbook.routes import ROUTES, shares
from forethought.worlds.workbook.text import ACCOUNTS

ELEMENTS = ("think", "tool_call", "tool_response")
TAGS = tuple(tag for name in ELEMENTS for tag in (f"<{name}>", f"</{name}>"))
HEADINGS = ("**Imaginary**", "**Keyword**", "**Analysis**", "**Confidence**")
CALLS = ('{"name":', '"calc",', '"loop",', '"arguments":', '{"input":')

PIECES = (*"0123456789", "-", '"', '"}}', ")")
"""What numbers and the edges of a call's input are cut into."""

_FORMAT_TEXT = (
    "; , : % + - * / ** ( ) each day days then digits calls ? Answer: none plain foresight in "
    "reply stuck open spare d1 d2 d3 d4 d5 d6 odd even"
)


def vocabulary() -> list[str]:
    """All words, each once, in a fixed order: tags, headings, calls, grammar, numbers, names."""
    failures = [word for failure in FAILURES for word in failure.split()]
    days = {part for days in DAYS for parts in (1, 2, 3) for part in shares(days, parts)}
    numbers = [str(n) for n in sorted(days | set(range(101)))]
    words = [*TAGS, *HEADINGS, *CALLS, *_FORMAT_TEXT.split(), *numbers, *ACCOUNTS, *ROUTES]
    return list(dict.fromkeys([*words, "calc", "loop", *failures]))
