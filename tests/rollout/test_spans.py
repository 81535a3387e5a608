"""Tokens are assigned to elements by the characters they add."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rollout_builders import byte_tokenizer, word_tokenizer

from forethought.rollout.spans import decode, token_spans, token_starts
from forethought.types import CharSpan, Span

TURN = "<think> go on </think> <search> east mill </search>"


def spans_of(text: str, **parts: str) -> list[CharSpan]:
    found = [
        CharSpan(span=Span(name), start=text.index(part), end=text.index(part) + len(part))
        for name, part in parts.items()
    ]
    return sorted(found, key=lambda span: span.start)


def test_every_word_of_a_word_level_turn_lies_in_its_element() -> None:
    tokenizer = word_tokenizer(TURN)
    ids = tokenizer.encode(TURN, add_special_tokens=False)
    parts = spans_of(TURN, think=TURN[:22], action=TURN[23:])
    assert token_spans(tokenizer, ids, TURN, parts) == (Span.THINK,) * 4 + (Span.ACTION,) * 4


def test_words_outside_every_element_are_other() -> None:
    tokenizer = word_tokenizer(TURN)
    ids = tokenizer.encode(TURN, add_special_tokens=False)
    found = token_spans(tokenizer, ids, TURN, spans_of(TURN, action=TURN[23:]))
    assert found == (Span.OTHER,) * 4 + (Span.ACTION,) * 4


def test_a_token_over_a_boundary_belongs_to_its_first_visible_character() -> None:
    # Trained to merge "</think>" with the newline and the "<" of the tag that follows.
    text = "<think>a</think>\n<search>b</search>"
    tokenizer = byte_tokenizer([text] * 50)
    ids = tokenizer.encode("".join(("x", text)), add_special_tokens=False)[1:]
    pieces = [decode(tokenizer, (i,)) for i in ids]
    assert "".join(pieces) == text
    cut = text.index("<search>")
    parts = spans_of(text, think=text[: cut - 1], action=text[cut:])
    place, expected = 0, []
    for piece in pieces:
        first = place + len(piece) - len(piece.lstrip())
        expected.append(Span.THINK if first < cut - 1 else Span.ACTION)
        place += len(piece)
    assert any(p.strip() and "\n" in p for p in pieces), "the case needs a merged boundary"
    assert token_spans(tokenizer, ids, text, parts) == tuple(expected)


def test_leading_blanks_do_not_pull_a_token_into_the_element_before() -> None:
    tokenizer = byte_tokenizer(["b</t> <s>"] * 50)
    ids = [*tokenizer.encode("ab</t>", add_special_tokens=False)]
    blank = tokenizer.encode(" <", add_special_tokens=False)
    text = decode(tokenizer, ids + blank)
    parts = [
        CharSpan(span=Span.THINK, start=0, end=7),
        CharSpan(span=Span.ACTION, start=7, end=len(text)),
    ]
    found = token_spans(tokenizer, ids + blank, text, parts)
    assert found[-1] == Span.ACTION
    assert set(found[: len(ids)]) == {Span.THINK}


def test_the_bytes_of_one_character_share_its_span() -> None:
    tokenizer = byte_tokenizer(["plain text"], size=257)
    text = "a\u00e9\u4e16\U0001f600b"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == 1 + 2 + 3 + 4 + 1
    assert token_starts(tokenizer, ids, text) == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 5]
    part = [CharSpan(span=Span.THINK, start=2, end=3)]
    found = token_spans(tokenizer, ids, text, part)
    assert [n for n, span in enumerate(found) if span is Span.THINK] == [3, 4, 5]


@given(st.text(alphabet="ab<>/ \n\u00e9\u4e16", min_size=1, max_size=30))
def test_tokens_cover_the_text_in_order(text: str) -> None:
    tokenizer = byte_tokenizer(["<a> </a>", "ab \n<b>"] * 9, size=290)
    ids = tokenizer.encode(text, add_special_tokens=False)
    starts = token_starts(tokenizer, ids, text)
    assert starts[0] == 0
    assert starts[-1] == len(text)
    assert starts == sorted(starts)
    assert len(starts) == len(ids) + 1


def test_the_end_token_that_the_text_leaves_out_ends_the_act() -> None:
    tokenizer = byte_tokenizer(["answer"])
    ids = [*tokenizer.encode("answer", add_special_tokens=False), tokenizer.eos_token_id]
    part = [CharSpan(span=Span.ACTION, start=0, end=6)]
    assert set(token_spans(tokenizer, ids, "answer", part)) == {Span.ACTION}
    assert token_spans(tokenizer, [tokenizer.eos_token_id], "", []) == (Span.OTHER,)


def test_no_tokens_have_no_spans() -> None:
    assert token_spans(word_tokenizer("a"), [], "", []) == ()
