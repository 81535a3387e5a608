"""Which element of a turn each sampled token belongs to.

Text is never encoded again: the sampled ids are decoded step by step, and a token gets the
characters that it adds. Exact for byte-level vocabularies whose tokens cut a character in two, and
for word-level ones that join with spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from forethought.types import CharSpan, Span


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of ids, special tokens included, nothing tidied up."""
    if not ids:
        return ""
    text = tokenizer.decode(
        list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return str(text)


@lru_cache(maxsize=1 << 16)
def _piece(tokenizer: Any, token: int) -> str:
    return decode(tokenizer, (token,))


def token_starts(tokenizer: Any, ids: Sequence[int], text: str) -> list[int]:
    """First character of each token in `text = decode(ids)`, with the end of the text appended.

    A token that only continues a character begun by the token before starts at that character.

    Returns:
        [len(ids) + 1], not decreasing.
    """
    pieces = [_piece(tokenizer, token) for token in ids]
    # Two shapes are known from the pieces alone; the check against the text makes them safe.
    for joint in ("", " "):
        if joint.join(pieces) == text:
            # The joint counts with the token that follows it.
            widths = [len(p) + (len(joint) if i else 0) for i, p in enumerate(pieces)]
            return [0, *accumulate(widths)]
    starts = [0]
    for end in range(1, len(ids)):
        # A half-decoded character shows as U+FFFD, which the common prefix leaves out.
        known = _agreement(decode(tokenizer, ids[:end]), text)
        starts.append(max(known, starts[-1]))
    return [*starts, len(text)] if ids else [0]


def _agreement(start: str, text: str) -> int:
    """Length of the common beginning."""
    if text.startswith(start):
        return len(start)
    return next((n for n, (a, b) in enumerate(zip(start, text, strict=False)) if a != b), len(text))


def token_spans(
    tokenizer: Any, ids: Sequence[int], text: str, char_spans: Sequence[CharSpan]
) -> tuple[Span, ...]:
    """The span of each token of a turn.

    A token that straddles a boundary belongs to the span of its first character that is not white
    space. Tokens past the end of `text` (an end-of-sequence token that the text leaves out) belong
    to the span of the token before: ending a turn is part of the act it ends.

    Args:
        tokenizer: what decodes the ids.
        ids: [n] the sampled tokens of the turn.
        text: decode(ids), or decode(ids[:-1]) when the last is an end-of-sequence token.
        char_spans: sorted, disjoint; characters outside are `Span.OTHER`.

    Returns:
        [n] spans.
    """
    eos = getattr(tokenizer, "eos_token_id", None)
    shown = list(ids)
    hidden = bool(shown) and shown[-1] == eos and decode(tokenizer, shown) != text
    if hidden:
        shown.pop()
    of_char = [Span.OTHER] * len(text)
    for item in char_spans:
        for place in range(item.start, min(item.end, len(text))):
            of_char[place] = item.span
    starts = token_starts(tokenizer, shown, text)
    spans: list[Span] = []
    for index in range(len(shown)):
        begin, end = starts[index], starts[index + 1]
        first = next((c for c in range(begin, end) if not text[c].isspace()), begin)
        spans.append(of_char[first] if first < len(text) else Span.OTHER)
    if hidden:
        spans.append(spans[-1] if spans else Span.OTHER)
    return tuple(spans)
