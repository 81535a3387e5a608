"""Numbers with something behind or before them: units, money, percentages, bases, times of day.

math-verify ignores most of it, or reads it as a product of letters; here a change of it is seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forethought.rewards.spelling import TEXT, number, plain

_BASED = re.compile(
    r"(-?(?=[A-Z.]*[0-9]|[A-Z]+_)[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)_(?:\{\s*(\d{1,2})\s*\}|(\d{1,2}))"
)
_BASE_WORDS = re.compile(r"(-?[0-9A-Z]+)\s*\(?\s*(?:in )?base\s*-?(\d{1,2})\s*\)?", re.I)
_PREFIXED = re.compile(r"0([xbo])([0-9a-f]+)", re.I)
_PREFIX_BASE = {"x": 16, "b": 2, "o": 8}
_CLOCK = re.compile(r"(\d{1,2}:\d{2}(?::\d{2})?|\d{1,2}) ?(?:([ap])\.? ?m\.?)?", re.I)
_UNIT = re.compile(
    r"(?P<number>.*(?:[\d})\]]|\\pi))(?P<gap>\s*)"
    r"(?P<unit>[A-Za-z]+(?:(?:\s*\^\s*)?\d(?![\d.])|[ /*.]+[A-Za-z]+)*)",
    re.DOTALL,
)
_POWERED = re.compile(r"([A-Za-z]+)(?=\d)")
_DEGREE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|\u00b0")
_ANGLED = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")  # of an angle in degrees
_PERCENT = re.compile(r"(.*?)\s*(?:\\?%|(?<![A-Za-z])(?:percent|per cent|pct)\b)", re.DOTALL | re.I)
_MONEY = {"$": "$", "\u20ac": "euro", "\u00a3": "gbp", "\u00a5": "yen", "\u20b9": "rupee"}
_BEFORE = re.compile(rf"([+-]?)\s*\\?([{''.join(_MONEY)}])\s*(.+)", re.DOTALL)
_BEHIND = re.compile(rf"(.*\d)\s*\\?([{''.join(_MONEY)}])", re.DOTALL)
_MARK = re.compile(r"(.*\d)\s*('|''|\")", re.DOTALL)
_TIMES = re.compile(
    r"(.*\d)\s*(hundred|thousand|million|billion|trillion|dozen)s?\b(.*)", re.DOTALL
)
_FACTORS = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9,
    "trillion": 10**12,
}  # fmt: skip
_POWER_WORDS = {"square": "2", "sq": "2", "cubic": "3", "cu": "3"}
_ONE_LETTER_UNITS = frozenset("mgslLhKNJWVACF")
_UNIT_WORDS = {
    "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km", "centimeter": "cm",
    "centimetre": "cm", "millimeter": "mm", "millimetre": "mm", "gram": "g", "kilogram": "kg",
    "milligram": "mg", "second": "s", "sec": "s", "minute": "min", "hour": "h", "hr": "h",
    "foot": "ft", "feet": "ft", "inch": "in", "inche": "in", "mile": "mi", "pound": "lb",
    "lb": "lb", "ounce": "oz", "liter": "l", "litre": "l", "milliliter": "ml", "millilitre": "ml",
    "yard": "yd", "dollar": "$", "usd": "$", "euro": "euro", "deg": "degree", "celsius": "c",
    "fahrenheit": "f", "radian": "rad", "unit": "", "cent": "cent", "mph": "mi per h",
    "kmh": "km per h", "kph": "km per h",
}  # fmt: skip
_JOINED_WORDS = (
    "km cm mm kg mg ml lb lbs oz ft mi yd min hr hrs sec mph kmh kph cents usd degrees deg"
)
_JOINED = frozenset(_JOINED_WORDS.split())
"""Units that are known as such without a blank before them: `5cm`."""

_NO_UNIT_WORDS = (
    "or and not no nor but maybe perhaps possibly probably about approximately approx roughly "
    "around almost nearly to from between if unless plus minus times over under above below is "
    "isn are was were be wrong right correct incorrect false true unsure guess either neither both "
    "also more less fewer least most than then else otherwise instead remainder rem r mod modulo "
    "half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh "
    "eighth ninth tenth tenths hundredth hundredths thousandth thousandths squared cubed percent "
    "pi sqrt infty infinity inf sin cos tan log ln exp factorial negative positive base i e x y z "
    "hundred thousand million billion trillion dozen "
    "zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty "
    "alternatively alternately alternative versus vs wait actually hopefully presumably likely "
    "unlikely impossible never cannot excluded except unlike"
)
_NO_UNITS = frozenset(_NO_UNIT_WORDS.split())
"""Words behind a number that are no unit: they change, doubt or continue it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number as text, and what it counts."""

    number: str
    unit: str = ""  # in one spelling; "" = none is named
    is_percent: bool = False


def quantity(text: str) -> Quantity:
    """Splits a number from its unit, currency or percent sign.

    Words that may be part of the mathematics stay with it: variables ("2xy"), functions, doubts.
    """
    percent = _PERCENT.fullmatch(plain(text))
    if percent and "%" not in percent[1]:
        return Quantity(number=percent[1], is_percent=True)
    money = _BEFORE.fullmatch(text) or _BEHIND.fullmatch(text)
    if money:
        inner = _counted(money[1] if money.re is _BEHIND else money[1] + money[3])
        return Quantity(number=inner.number, unit=_MONEY[money[2]])
    marked = _MARK.fullmatch(text)
    return Quantity(number=marked[1], unit=marked[2]) if marked else _counted(text)


def _counted(text: str) -> Quantity:
    """The number, multiplied out ("2.5 million"), and its unit in words."""
    flat = plain(_DEGREE.sub(" degree ", text)).rstrip(". ")
    many = _TIMES.fullmatch(flat)
    value = number(many[1]) if many else None
    if many and value is not None:
        inner = _counted(f"{value.value * _FACTORS[many[2]]}{many[3]}")
        if not re.search(r"[A-Za-z]", inner.number):
            return inner
    found = None if _ANGLED.search(text) else _UNIT.fullmatch(flat)
    if found is None or not re.search(r"\d", found["number"]):
        return Quantity(number=text)
    words = re.findall(r"[A-Za-z]+", found["unit"])
    # Letters that touch a number, or one letter alone, may be a variable: "2xy", "3 x".
    joined = not found["gap"] and found["unit"].lower() not in _JOINED
    lonely = len(found["unit"]) == 1 and found["unit"] not in _ONE_LETTER_UNITS
    if (joined or lonely) and not TEXT.search(text):
        return Quantity(number=text)
    # 5k is five thousand, 5 K is a temperature.
    if any(word == "k" or word.lower() in _NO_UNITS for word in words):
        return Quantity(number=text)
    # A digit is a power of a unit: "5 km2", and not another answer.
    if any(len(word) > 2 and word not in _UNIT_WORDS for word in _POWERED.findall(flat)):
        return Quantity(number=text)
    return Quantity(number=found["number"], unit=_in_one_spelling(found["unit"]))


def _in_one_spelling(unit: str) -> str:
    words = [word.lower() for word in re.findall(r"[A-Za-z]+|\d+|/", unit)]
    words = ["per" if word in ("/", "per") else word for word in words]
    if len(words) == 2 and words[0] in _POWER_WORDS:
        words = [words[1], _POWER_WORDS[words[0]]]
    return " ".join(filter(None, map(_unit_word, words)))


def _unit_word(word: str) -> str:
    single = word[:-1] if len(word) > 2 and word.endswith("s") else word
    return _UNIT_WORDS.get(single, _UNIT_WORDS.get(word, single))


def based(text: str) -> tuple[str, int] | None:
    """Digits and base of a number in a stated base: "101_2", "2A_{16}", "0xff", "12 (base 8)"."""
    flat = plain(text)
    prefixed = _PREFIXED.fullmatch(flat.replace(" ", ""))
    if prefixed:
        return prefixed[2].upper().lstrip("0") or "0", _PREFIX_BASE[prefixed[1].lower()]
    found = _BASED.fullmatch(flat.replace(" ", "")) or _BASE_WORDS.fullmatch(flat)
    if found is None:
        return None
    base = int(next(group for group in found.groups()[1:] if group))
    digits = found[1].upper()
    # Letters alone are a variable with an index unless the base has such digits.
    if not 2 <= base <= 36 or (digits.lstrip("-").isalpha() and base < 11):
        return None
    sign = "-" if digits.startswith("-") else ""
    return sign + (digits.lstrip("-").lstrip("0") or "0"), base


def clock(text: str) -> tuple[str, str] | None:
    """What stands with colons between digits, and a or p: a time of day or a ratio, no division.

    "1:03 PM" is ("1:03", "p"), "3 : 1" is ("3:1", ""), "9 a.m." is ("9", "a").
    """
    flat = re.sub(r"\s*:\s*", ":", plain(text))
    found = _CLOCK.fullmatch(flat)
    if found and (found[2] or ":" in found[1]):
        hour, *rest = found[1].split(":")
        return ":".join([hour.lstrip("0") or "0", *rest]), (found[2] or "").lower()
    return (flat, "") if re.fullmatch(r"[\w.\\ ]+(?::[\w.\\ ]+)+", flat) else None
