"""The 21 levels of the success estimate as tokens of a vocabulary."""

from __future__ import annotations

from typing import Any

from forethought.rollout.render import encode


def level_ids(tokenizer: Any) -> tuple[int, ...] | None:
    """The 21 token ids of the numerals 0, 5, .., 100 behind a confidence tag.

    None if a numeral is not exactly one token there (most tokenizers cut digits apart); the levels
    are then scored through the strings of their tokens.
    """
    for form in ("<confidence>{}%", "<confidence> {} %"):
        ids = [_level_id(tokenizer, form, str(5 * number)) for number in range(21)]
        known = tuple(token for token in ids if token is not None)
        if len(set(known)) == len(ids):
            return known
    return None


def _level_id(tokenizer: Any, form: str, numeral: str) -> int | None:
    """The one token of a numeral in a text of this form, if it is one."""
    before, after = (part.strip() for part in form.split("{}"))
    tag = encode(tokenizer, before)
    whole = encode(tokenizer, form.format(numeral))
    rest = whole[len(tag) :]
    if whole[: len(tag)] != tag or not rest or rest[0] == tokenizer.unk_token_id:
        return None
    shown = [tokenizer.decode([rest[0]]).strip(), tokenizer.decode(list(rest[1:])).strip()]
    return rest[0] if shown == [numeral, after] else None
