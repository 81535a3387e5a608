r"""One spelling for what mathematics writes in many ways: Unicode, LaTeX blanks, `$..$`, numbers.

Nothing here decides whether two answers are equal; what is read differently stays different.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

_TEXT_COMMAND = (
    r"\\(?:text|textrm|textbf|textit|textnormal|mathrm|mathbf|mbox|operatorname|boldsymbol|bm)\s*"
)
TEXT = re.compile(_TEXT_COMMAND + r"\{([^{}]*)\}")
"""A LaTeX command around plain text."""

_SPACES = re.compile(r"\\[,;:!>]|\\ |\\q?quad\b|~|\s+")
_POWER = re.compile(r"\*\*\s*(\d+)")
_BRACED_POWER = re.compile(r"\^\s*\{\s*(\d)\s*\}")
_SIZES = re.compile(
    r"\\(?:left|right|[bB]ig[glr]?|[bB]igg[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])"
)
_SYMBOLS = {
    "\u2212": "-", "\uff0d": "-", "\ufe63": "-", "\u2010": "-", "\u2011": "-",
    "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u00f7": "/", "\u2215": "/",
    "\u2044": "/", "\u03c0": r"\pi ", "\u221e": r"\infty ", "\u221a": "sqrt", "\u2264": r"\le ",
    "\u2265": r"\ge ", "\u2260": r"\neq ", "\u222a": r"\cup ", "\u2229": r"\cap ",
    "\u00b1": r"\pm ", "\u2208": r"\in ", "\u00b2": "^2", "\u00b3": "^3", "\u2074": "^4",
    "\u00bc": r"\frac{1}{4}", "\u00bd": r"\frac{1}{2}", "\u00be": r"\frac{3}{4}", "\u2205":
    r"\emptyset ", "\uff0b": "+", "\uff1d": "=", "\uff08": "(", "\uff09": ")", "\uff0c": ",",
    "\uff0e": ".", "\uff0f": "/", "\uff05": "%", "\u202f": " ", "\u2009": " ", "\u00a0": " ",
    "\u03b8": r"\theta ", "\u2032": "'", "\u00a2": r"\text{ cents}",
}  # fmt: skip
_DIGITS = r"(?:(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(r"[+-]?" + _DIGITS)
_RATIO = re.compile(rf"([+-]?)\s*({_DIGITS})\s*/\s*({_DIGITS})")
_FRACTION = re.compile(
    rf"([+-]?)\s*\\frac\s*\{{\s*([+-]?{_DIGITS})\s*\}}\s*\{{\s*([+-]?{_DIGITS})\s*\}}"
)
_SCIENTIFIC = re.compile(r"([+-]?\d+(?:\.\d+)?)e([+-]?\d{1,3})", re.I)
_GROUPED = re.compile(r"(?<![\d,.])\d{1,3}(?:\s\d{3})+(?!\d)")
_BRACED_COMMA = re.compile(r"(?<=\d)(?:\{,\}|,\\!\s*|\\!\s*,(?:\\!\s*)?)(?=\d{3}(?!\d))")


_COLOUR = re.compile(r"\\(?:text)?color\s*\{\w+\}")
_UNIT_RATIO = re.compile(rf"\\frac\s*\{{\s*{TEXT.pattern}\s*\}}\s*\{{\s*{TEXT.pattern}\s*\}}")
_SAID = (
    (re.compile(_TEXT_COMMAND + r"\{\s*infinity\s*\}"), r"\\infty "),
    (re.compile(r"\\(?:varnothing|empty)(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"^~(?=\s*\d)"), r"\\approx "),
    (re.compile(r"\\([pb]?mod)\s*\{(\w+)\}"), r"\\\1 \2"),
    (re.compile(r"^\$?\s*\\mathbb\s*(?:R|\{\s*R\s*\})\s*\$?$"), r"(-\\infty, \\infty)"),
)
_EMPHASIS = re.compile(r"^(\*\*|__|`)([^*_`]+)\1(?=\.?$)")  # of Markdown
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar)\s*(?:\{(\d{1,20})\}|(\d))(?!\d)")


def one_spelling(text: str) -> str:
    """Plain ASCII where there is one, without the dollars or brackets of a formula around it.

    Digits of other scripts are digits; raised ones are powers.
    """
    found = "".join(map(_ascii, text)).strip()
    found = _EMPHASIS.sub(r"\2", found)
    found = _POWER.sub(r"^{\1}", found).replace("**", "^")
    found = _SIZES.sub("", _BRACED_COMMA.sub(",", found)).replace("\n", " ")
    found = _UNIT_RATIO.sub(r"\\text{ \1/\2}", _COLOUR.sub("", found))
    for pattern, spelling in _SAID:
        found = pattern.sub(spelling, found)
    found = found.replace(r"\lbrace", r"\{").replace(r"\rbrace", r"\}")
    found = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", found).rstrip(".").strip()
    found = _REPEATING.sub(_as_fraction, found)
    for left, right in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        inside = found[len(left) : len(found) - len(right)]
        wrapped = (
            found.startswith(left) and found.endswith(right) and len(found) > len(left + right)
        )
        if wrapped and left not in inside.replace(r"\$", ""):
            return inside.strip().rstrip(".").strip()
    return found


def _ascii(char: str) -> str:
    if char < "\x80":
        return char
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.decimal(char))
    return _SYMBOLS.get(char, char)


def _as_fraction(found: re.Match[str]) -> str:
    """A repeating decimal as a fraction: 0.1(6) is (16 - 1) / 90."""
    whole, fixed, period = found[1], found[2], found[3] or found[4]
    top = int(whole + fixed + period) - int((whole + fixed) or "0")
    return rf"\frac{{{top}}}{{{'9' * len(period) + '0' * len(fixed)}}}"


def plain(text: str) -> str:
    """Text commands, LaTeX blanks and braces of one digit as plain text."""
    return _BRACED_POWER.sub(r"^\1", _SPACES.sub(" ", TEXT.sub(r" \1 ", text))).strip()


@dataclass(frozen=True, slots=True)
class Number:
    """The exact value of a number in digits."""

    value: Fraction
    is_decimal: bool  # written with a point, so that it may be rounded


def number(text: str) -> Number | None:
    r"""The number that a text is: "1,234.5", "-.5", "1e5", "3/4", "\frac{3}{4}", or None."""
    flat = _GROUPED.sub(lambda found: found[0].replace(" ", ""), plain(text))
    flat = re.sub(r"^([+-])\s+", r"\1", flat)
    parts = _RATIO.fullmatch(flat) or _FRACTION.fullmatch(flat)
    if parts:
        top, bottom = number(parts[2]), number(parts[3])
        if top is None or bottom is None or bottom.value == 0:
            return None
        value = top.value / bottom.value * (-1 if parts[1] == "-" else 1)
        return Number(value, top.is_decimal or bottom.is_decimal)
    if not (_NUMBER.fullmatch(flat) or _SCIENTIFIC.fullmatch(flat)):
        return None
    return Number(Fraction(flat.replace(",", "").rstrip(".")), "." in flat)


def same_number(mine: Number, gold: Number) -> bool:
    """Whether two numbers are the same, or one is the other rounded to six decimals.

    That is the rule of math-verify, with a bound for small numbers: they must agree to one part in
    ten thousand.
    """
    a, b = mine.value, gold.value
    if a == b or not (mine.is_decimal or gold.is_decimal):
        return a == b
    return round(a, 6) == round(b, 6) and abs(a - b) <= max(abs(a), abs(b)) / 10_000
