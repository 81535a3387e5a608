"""Laws of the free-text blocks of stage 1."""

from __future__ import annotations

import itertools

import pytest

from forethought.errors import InputError
from forethought.foresight.block import parse, render
from forethought.foresight.elements import BLOCK_NAMES
from forethought.foresight.templates import (
    FREE_TEMPLATES,
    PARTS,
    PERCENT_STYLES,
    render_free,
    template_words,
)
from forethought.types import Action, Foresight
from forethought.worlds.atlas.tokens import vocabulary

BLOCK = Foresight(
    roadmap="c mentor flint coast , reply ; 2 links open",
    keywords=("flint", "coast"),
    analysis="seat stale , 0 spare",
    q=0.65,
)
ALL = list(itertools.product(range(len(FREE_TEMPLATES)), itertools.permutations(PARTS), range(2)))


def test_six_sets_of_different_single_words():
    assert len(FREE_TEMPLATES) == 6
    assert len(template_words()) == 18
    assert all(word.isalpha() and word.islower() for word in template_words())
    assert not set(template_words()) & {*BLOCK_NAMES, "think", "search", "answer"}


def test_a_word_level_text_needs_no_word_outside_world_and_templates():
    known = {*vocabulary(), *template_words()}
    for template, order, style in ALL:
        text = render_free(BLOCK, template, order, style, spaced=True)
        assert set(text.split()) <= known
        assert text == " ".join(text.split())


def test_all_variants_differ_and_say_the_same():
    texts = {render_free(BLOCK, t, o, p) for t, o, p in ALL}
    assert len(texts) == len(ALL) == 72
    for text in texts:
        for part in ("c mentor flint coast , reply", "2 links open", "seat stale , 0 spare", "65"):
            assert part in text
        assert "keyword" not in text and "<" not in text


def test_order_and_percent_style_are_kept():
    text = render_free(BLOCK, 1, ("chance", "gap", "road"), 1, spaced=True)
    assert text == (
        "chance : 65 in 100 , seat stale , 0 spare missing : 2 links open "
        "course : c mentor flint coast , reply"
    )
    assert PERCENT_STYLES == ("65%", "65 in 100")


def test_real_text_is_cut_at_its_last_sentence():
    block = Foresight(
        roadmap="Find the film; then its author. The author is missing",
        keywords=(),
        analysis="Two direct look-ups",
        q=0.85,
    )
    assert render_free(block, 0) == (
        "Outlook: Find the film; then its author.\n"
        "Lacking: The author is missing\n"
        "Odds: 85% (Two direct look-ups)"
    )


def test_a_roadmap_in_one_piece_leaves_the_analysis_as_the_gap():
    block = Foresight(roadmap="Add the two", keywords=(), analysis="Easy", q=1.0)
    assert render_free(block, 0) == "Outlook: Add the two\nLacking: Easy\nOdds: 100%"


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("style", ["search", "maths"])
def test_a_free_turn_is_read_as_thought_and_action(style, spaced):
    action = Action(kind="search" if style == "search" else "python", text="x")
    for template, order, percent in ALL:
        free = render_free(BLOCK, template, order, percent, spaced)
        text = f"{free} {render(None, 'a thought', action, style, spaced)}"
        parsed = parse(text, "free")
        assert parsed.problems == () and parsed.action == action and parsed.think == "a thought"
        assert parsed.foresight is None
        assert text[: parsed.spans[0].start].strip() == free


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"template": 6}, "template"),
        ({"order": ("road", "gap")}, "order"),
        ({"percent_style": 2}, "percent_style"),
        ({"foresight": Foresight(roadmap="r", keywords=(), analysis="a", q=None)}, "q"),
        ({"foresight": Foresight(roadmap="<think>", keywords=(), analysis="a", q=0.5)}, "tags"),
    ],
)
def test_what_cannot_be_written_is_refused(change, word):
    with pytest.raises(InputError, match=word):
        render_free(**({"foresight": BLOCK, "template": 0} | change))
