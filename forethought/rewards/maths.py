r"""Are two mathematical answers equal? math-verify decides, with guards around it.

Four things are decided before it is asked, because it would say yes: units that differ (5 km and
5 m), number bases that differ (101_2 and 101), numbers set apart (4 2 and 42, or 1 1/2 and
11/2), and words. Like a unit, a percent sign may be understood: 50% is accepted for 0.5 and for 50,
which are not accepted for each other.

Its own time limit is an alarm signal, which works in the main thread only and is switched off here;
instead, expressions that could keep it busy for long are compared as texts.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_MAX_CHARS = 300
_MAX_DEPTH = 20
_TEXT_COMMAND = r"\\(?:text|textrm|textbf|textit|mathrm|mbox|operatorname)\s*"
_TEXT = re.compile(_TEXT_COMMAND + r"\{([^{}]*)\}")
_SPACES = re.compile(r"\\[,;:!>]|\\ |\\q?quad\b|~|\s+")
_BASED = re.compile(r"(-?[0-9A-Z]+)_(?:\{\s*(\d{1,2})\s*\}|(\d{1,2}))")
_BASE_WORDS = re.compile(r"(-?[0-9A-Z]+)\s*\(?\s*base\s*-?(\d{1,2})\s*\)?")
_PREFIXED = re.compile(r"0([xbo])([0-9a-f]+)", re.I)
_PREFIX_BASE = {"x": 16, "b": 2, "o": 8}
_UNIT = re.compile(
    r"(?P<number>.*[\d})\]])(?P<gap>\s*)(?P<unit>[A-Za-z]+(?:[ /*^.]+[A-Za-z0-9]+)*)", re.DOTALL
)
_GROUPED = re.compile(r"(?<![\d,])\d{1,3}(?:\s\d{3})+(?!\d)")
_FRACTION = re.compile(r"\\[dt]?frac\s*\d\s+\d|\d+\s+\d+\s*/\s*\d+")
_MIXED = re.compile(r"\d\s+\d+\s*/")
_POWER = re.compile(r"\*\*\s*(\d+)")
_DEGREE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\u00b0")
_POWER_WORDS = {"square": "2", "sq": "2", "cubic": "3"}
_ONE_LETTER_UNITS = frozenset("mgslLhKNJWVAC")
_UNIT_WORDS = {
    "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km", "centimeter": "cm",
    "centimetre": "cm", "millimeter": "mm", "gram": "g", "kilogram": "kg", "second": "s",
    "sec": "s", "minute": "min", "hour": "h", "hr": "h", "foot": "ft", "feet": "ft",
    "inch": "in", "inche": "in", "mile": "mi", "pound": "lb", "lb": "lb", "liter": "l",
    "litre": "l", "dollar": "$", "usd": "$", "deg": "degree", "unit": "",
}  # fmt: skip
# What could keep a computer algebra system busy for long.
_SLOW = re.compile(
    r"\\(?:sum|prod|int|iint|oint|lim|binom)(?![A-Za-z])"
    r"|\^\s*\{?\s*\(?\s*-?\d{4,}"  # a large exponent
    r"|[A-Za-z)\]}]\s*\^\s*\{?\s*\(?\s*-?\d{3}"  # of something that may be expanded
    r"|\^[^^]{0,12}\^\s*\{?\s*(?:\d{2,}|[5-9])"  # a tower
    r"|\d{4,}\s*!|!\s*!|\)\s*!|\}\s*!"
    r"|\d[eE][+-]?\d{4,}|\d{60,}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equality:
    """A comparison; `symbolic` is False where only the texts could be compared."""

    equal: bool
    symbolic: bool


def equal(mine: str, gold: str) -> Equality:
    """Compares an answer with an accepted one; the same units and the same number base count.

    A unit that only one of the two names is taken as understood.
    """
    left, right = _bare(mine), _bare(gold)
    if not left or not right:
        return Equality(equal=False, symbolic=True)
    based = _based(left), _based(right)
    if any(based):
        return Equality(equal=based[0] == based[1], symbolic=True)
    (number, unit), (gold_number, gold_unit) = _split_unit(left), _split_unit(right)
    if unit and gold_unit:
        if unit != gold_unit:
            return Equality(equal=False, symbolic=True)
        left, right = number, gold_number
    if _apart(number) or _apart(gold_number):  # "4 2" is two numbers, "1 000" is one
        return Equality(equal=_plain(left).lower() == _plain(right).lower(), symbolic=True)
    if _words(left) == _words(right) and not (_MIXED.search(left) or _MIXED.search(right)):
        return Equality(equal=True, symbolic=True)
    if _is_words(right):
        return Equality(equal=False, symbolic=True)
    if _risky(left) or _risky(right):
        return Equality(equal=False, symbolic=False)
    return Equality(equal=_verify(_latex(left), _latex(right)), symbolic=True)


def _bare(text: str) -> str:
    """Without the dollars or brackets of a formula around it; powers as in LaTeX."""
    text = _POWER.sub(r"^{\1}", text.strip()).replace("**", "^").rstrip(".").strip()
    for left, right in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        inside = text[len(left) : len(text) - len(right)]
        wrapped = text.startswith(left) and text.endswith(right) and len(text) > len(left + right)
        if wrapped and left not in inside:
            return inside.strip()
    return text


def _plain(text: str) -> str:
    """Text commands and LaTeX spaces as plain text."""
    return _SPACES.sub(" ", _TEXT.sub(r" \1 ", text)).strip()


def _words(text: str) -> str:
    """For comparing texts: plain, lower case, no spaces, no brackets around a choice letter."""
    flat = _plain(text).replace(" ", "").lower()
    choice = re.fullmatch(r"\(?([a-z])\)?", flat)
    return choice[1] if choice else flat


def _apart(text: str) -> bool:
    """True where a blank keeps two numbers apart; digits in groups of three are one number."""
    joined = _GROUPED.sub("0", _FRACTION.sub(" ", _plain(text)))
    return re.search(r"\d\s+[\d.]", joined) is not None


def _is_words(text: str) -> bool:
    """True for an answer in words (a name, a day, yes), which is no product of letters."""
    plain = _plain(text)
    named = bool(_TEXT.fullmatch(text)) or (len(plain) > 2 and plain not in ("sqrt", "infty"))
    return named and re.fullmatch(r"[A-Za-z][A-Za-z' -]*", plain) is not None


def _based(text: str) -> tuple[str, int] | None:
    """Digits and base of a number in a stated base: "101_2", "2A_{16}", "0xff", "12 (base 8)"."""
    plain = _plain(text)
    prefixed = _PREFIXED.fullmatch(plain.replace(" ", ""))
    if prefixed:
        return prefixed[2].upper().lstrip("0") or "0", _PREFIX_BASE[prefixed[1].lower()]
    found = _BASED.fullmatch(plain.replace(" ", "")) or _BASE_WORDS.fullmatch(plain)
    if found is None:
        return None
    base = int(next(group for group in found.groups()[1:] if group))
    digits = found[1]
    # Letters alone are a variable with an index unless the base has such digits.
    if not 2 <= base <= 36 or (digits.lstrip("-").isalpha() and base < 11):
        return None
    sign = "-" if digits.startswith("-") else ""
    return sign + (digits.lstrip("-").lstrip("0") or "0"), base


def _split_unit(text: str) -> tuple[str, str]:
    """The number and its unit in one spelling; the unit is "" where none is named."""
    if re.match(r"\\?\$", text):
        return text.lstrip("\\$"), "$"
    plain = _plain(_DEGREE.sub(" degree", text))
    found = _UNIT.fullmatch(plain)
    if found is None or not re.search(r"\d", found["number"]):
        return text, ""
    unit = found["unit"]
    # Letters that touch a number, or one letter alone, may be a variable: "2xy", "3 x".
    doubtful = not found["gap"] or (len(unit) == 1 and unit not in _ONE_LETTER_UNITS)
    if doubtful and not _TEXT.search(text):
        return text, ""
    return found["number"], _unit_in_one_spelling(unit)


def _unit_in_one_spelling(unit: str) -> str:
    words = [word.lower() for word in re.findall(r"[A-Za-z]+|\d+", unit)]
    if len(words) == 2 and words[0] in _POWER_WORDS:
        words = [words[1], _POWER_WORDS[words[0]]]
    return " ".join(filter(None, map(_unit_word, words)))


def _unit_word(word: str) -> str:
    single = word[:-1] if len(word) > 2 and word.endswith("s") else word
    return _UNIT_WORDS.get(single, _UNIT_WORDS.get(word, single))


def _risky(text: str) -> bool:
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return len(text) > _MAX_CHARS or deepest > _MAX_DEPTH or _SLOW.search(text) is not None


def _latex(text: str) -> str:
    """Plain spellings as LaTeX: "sqrt(2)", "pi", "1e5", "1 1/2"."""
    text = re.sub(r"(?<![\\A-Za-z])sqrt\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi", text).replace("\u00b0", "^\\circ")
    text = re.sub(r"(?<=\d)[eE]([+-]?\d+)(?![A-Za-z\d])", r"\\times 10^{\1}", text)
    text = re.sub(r"(?<=\d)\s+(\d+)/(\d+)$", r"\\frac{\1}{\2}", text)
    return f"${text}$"


@lru_cache(maxsize=1)
def _library() -> Any:
    """math-verify, without its two warnings that time limits are off: they are, see above."""
    import math_verify

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return math_verify


def _verify(mine: str, gold: str) -> bool:
    library = _library()
    left = library.parse(mine, parsing_timeout=None)
    right = library.parse(gold, parsing_timeout=None)
    return bool(left and right and library.verify(right, left, timeout_seconds=None))
