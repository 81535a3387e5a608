"""The scanner's shortcut for texts whose every tag is in a whole element changes no result."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.foresight import elements
from forethought.foresight.block import STYLES, parse

NAMES = ("imaginary", "keyword", "analysis", "confidence", "think", "search", "information")
PIECES = st.sampled_from(
    [f"<{n}>" for n in NAMES]
    + [f"</{n}>" for n in NAMES]
    + ["a", " ", "x > y", "\n", "< think>", "<"]
)
WHOLE = st.builds(
    lambda name, inner: f"<{name}>{inner}</{name}>",
    st.sampled_from(NAMES),
    st.sampled_from(["", " ", "a", "50%", "a > b", "k , k"]),
)
TEXTS = st.lists(WHOLE | PIECES, max_size=9).map("".join)


@pytest.mark.parametrize("style", STYLES)
@given(text=TEXTS)
def test_the_way_of_all_texts_gives_the_same(style: str, text: str) -> None:
    quick = parse(text, style)
    never = re.compile(r"(?!)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elements, "_whole", lambda names: never)
        assert parse(text, style) == quick
