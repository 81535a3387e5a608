"""Types of flags: a number that cannot be meant is a usage error (exit 2) of argparse."""

from __future__ import annotations

import argparse
import math
import re

MAX_DIGITS = 18  # what a 64-bit integer holds for certain


def natural(text: str) -> int:
    """A whole number from 0 on.

    Raises:
        ArgumentTypeError: something else.
    """
    if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", text):
        raise _wrong(text, f"a whole number from 0 on, of at most {MAX_DIGITS} digits")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 on.

    Raises:
        ArgumentTypeError: something else.
    """
    if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", text) or int(text) == 0:
        raise _wrong(text, f"a whole number from 1 on, of at most {MAX_DIGITS} digits")
    return int(text)


def finite(text: str) -> float:
    """A finite number.

    Raises:
        ArgumentTypeError: something else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _wrong(text, "a finite number")
    return value


def not_negative(text: str) -> float:
    """A finite number from 0 on.

    Raises:
        ArgumentTypeError: something else.
    """
    value = finite(text)
    if value < 0:
        raise _wrong(text, "a number from 0 on")
    return value


def seeds(text: str) -> str:
    """A range `A:B` of world seeds with A < B, as it was written.

    Raises:
        ArgumentTypeError: something else.
    """
    found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise _wrong(text, "A:B with A < B, such as 100000:100050")
    return text


def _wrong(text: str, expected: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(
        f"got {text[:40]!r}; expected {expected}. Next: correct the value"
    )
