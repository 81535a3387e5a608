"""One spelling for what can be written in several: accents, numbers in words, dates, initials.

A leak in another spelling is a leak. `plain` folds a text so that equal numbers and names read
equal; `dates` and `years` read days however they are written; `joins` and `initialisms` give the
forms under which a name may hide. English only, and own code: number and date parsers read far
more than is meant here (a lone "may", "second" or "10.5"), and a filter must not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

_LETTERS = str.maketrans(
    {
        "\u00f8": "o",
        "\u00d8": "O",
        "\u0142": "l",
        "\u0141": "L",
        "\u0111": "d",
        "\u0110": "D",
        "\u00df": "ss",
        "\u00e6": "ae",
        "\u00c6": "Ae",
        "\u0153": "oe",
        "\u0152": "Oe",
        "\u0131": "i",
        "\u00f0": "d",
        "\u00fe": "th",
        "\u2019": "'",
        "\u2018": "'",
    }
)
"""Letters and quotation marks that have no decomposition."""

_SMALL_TEXT = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS_TEXT = "twenty thirty forty fifty sixty seventy eighty ninety"
DIGIT_WORDS = tuple(_SMALL_TEXT.split()[:10])
_VALUES = {
    **{word: number for number, word in enumerate(_SMALL_TEXT.split())},
    **{word: 10 * number for number, word in enumerate(_TENS_TEXT.split(), start=2)},
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_WORD = "|".join([*_VALUES, "hundred", *_SCALES])
_NUMBER_WORDS = re.compile(rf"\b(?:{_WORD})(?:(?:\s+|-)(?:and\s+)?(?:{_WORD}))*\b", re.IGNORECASE)
_SCALED = re.compile(rf"\b(\d[\d,]*(?:\.\d+)?)\s+({'|'.join(_SCALES)})\b", re.IGNORECASE)

_MONTH_TEXT = (
    "january february march april may june july august september october november december"
)
_MONTHS = {
    **{word: number for number, word in enumerate(_MONTH_TEXT.split(), start=1)},
    **{word[:3]: number for number, word in enumerate(_MONTH_TEXT.split(), start=1)},
    "sept": 9,
}
_ORDINAL_TEXT = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_ORDINALS = {
    **{word: number for number, word in enumerate(_ORDINAL_TEXT.split(), start=1)},
    **{f"twenty-{word}": 20 + n for n, word in enumerate(_ORDINAL_TEXT.split()[:9], start=1)},
    "thirtieth": 30,
    "thirty-first": 31,
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = rf"\d{{1,2}}(?:st|nd|rd|th)?|{'|'.join(sorted(_ORDINALS, key=len, reverse=True))}"
_YEAR = r"(?:,?\s+(?P<year>\d{4})\b)?"
_DAY_FIRST = re.compile(
    rf"\b(?P<day>{_DAY})(?:\s+of)?\s+(?P<month>{_MONTH})\b\.?{_YEAR}", re.IGNORECASE
)
_MONTH_FIRST = re.compile(rf"\b(?P<month>{_MONTH})\.?\s+(?P<day>{_DAY})\b{_YEAR}", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(?<![\w.-])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?![\w-])")
_YEAR_LAST = re.compile(r"(?<![\w.-])(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?![\w-])")

_DOTTED = re.compile(r"(?<![A-Za-z.])(?:[A-Z]\.\s?){2,}")
_UNDOTTED = re.compile(r"\b[A-Z]{2,6}\b")
_CAP = r"[A-Z][\w'-]*"
_LINK = "of|the|and|for|da|das|de|del|der|di|do|dos|du|la|le|van|von|y"
_LONG_NAME = re.compile(rf"{_CAP}(?:\s+(?:(?:{_LINK})\s+)*{_CAP})+")
_ARTICLES = frozenset({"The", "A", "An", "In", "On", "At", "He", "She", "It", "His", "Her"})


@lru_cache(maxsize=2048)  # a state is asked about once for each block and placebo
def plain(text: str) -> str:
    """The text without accents, and with numbers from ten on in digits.

    Words below ten stay: they count links and steps far more often than they tell a result.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.translate(_LETTERS))
        text = "".join(char for char in text if not unicodedata.combining(char))
    text = _SCALED.sub(_scaled, text)
    return _NUMBER_WORDS.sub(_digits, text)


def accented(text: str) -> set[str]:
    """Capitalised words with an accent, folded and in small letters: no English word is one."""
    words = re.findall(r"[^\W\d_]+", "" if text.isascii() else text)
    return {plain(word).lower() for word in words if word[0].isupper() and not word.isascii()}


def _scaled(found: re.Match[str]) -> str:
    value = float(found[1].replace(",", "")) * _SCALES[found[2].lower()]
    return str(int(value)) if value == int(value) else found[0]


def _digits(found: re.Match[str]) -> str:
    value = _value(re.split(r"[\s-]+", found[0].lower()))
    return found[0] if value is None or value < 10 else str(value)


def _value(words: Sequence[str]) -> int | None:
    """The number that words say, "nineteen eighty-four" included; None where they say several."""
    total = current = 0
    for word in words:
        if word == "and":
            continue
        if word in _SCALES:
            total += max(current, 1) * _SCALES[word]
            current = 0
        elif word == "hundred":
            if current >= 100:
                return None
            current = max(current, 1) * 100
        elif current % 100 == 0 or (_VALUES[word] < 10 and current % 10 == 0 < current % 100 - 10):
            current += _VALUES[word]
        elif 10 <= current < 100 and _VALUES[word] >= 10:
            current = 100 * current + _VALUES[word]  # a year
        else:
            return None
    return total + current


def dates(text: str) -> set[tuple[int, int]]:
    """The days that a text names, as (month, day); 3/4/1954 is read both ways."""
    return {day for day, _ in _dated(text)}


def years(text: str) -> set[str]:
    """The years of dates in digits, which number patterns do not see inside 1954-03-12."""
    return {year for _, year in _dated(text) if year}


@lru_cache(maxsize=2048)
def _dated(text: str) -> tuple[tuple[tuple[int, int], str], ...]:
    if not any(char.isdigit() for char in text) and "th" not in text and "st" not in text:
        return ()
    return tuple(_each_date(text))


def _each_date(text: str) -> Iterator[tuple[tuple[int, int], str]]:
    for pattern in (_DAY_FIRST, _MONTH_FIRST):
        for found in pattern.finditer(text):
            month, day = found["month"], found["day"]
            if month in ("may", "march") and not day[0].isdigit():
                continue  # "the first may fail"
            number = _ORDINALS.get(day.lower()) or int(re.sub(r"\D", "", day))
            if 1 <= number <= 31:
                yield (_MONTHS[month.lower()], number), found["year"] or ""
    for found in _YEAR_FIRST.finditer(text):
        yield from _valid(int(found[3]), int(found[4]), found[1])
    for found in _YEAR_LAST.finditer(text):
        yield from _valid(int(found[1]), int(found[3]), found[4])
        yield from _valid(int(found[3]), int(found[1]), found[4])


def _valid(month: int, day: int, year: str) -> Iterator[tuple[tuple[int, int], str]]:
    if 1 <= month <= 12 and 1 <= day <= 31:
        yield (month, day), year


def initialisms(text: str) -> set[str]:
    """Initials of the names in a text: Kurt Vonnegut -> KV, United States of America -> USA."""
    names = [[w for w in re.findall(_CAP, n) if w not in _ARTICLES] for n in long_names(text)]
    return {"".join(word[0] for word in words) for words in names if len(words) > 1}


def long_names(text: str) -> list[str]:
    """Names of several words, small words such as "of" inside them included."""
    return [found[0] for found in _LONG_NAME.finditer(text)]


def initials(text: str, *, shortest: int) -> set[str]:
    """Initials that a text uses: with dots (K. V.), or without from `shortest` letters on."""
    dotted = {re.sub(r"[^A-Z]", "", found[0]) for found in _DOTTED.finditer(text)}
    return dotted | {found[0] for found in _UNDOTTED.finditer(text) if len(found[0]) >= shortest}


def joins(tokens: Sequence[str], longest: int = 4) -> set[str]:
    """What 2 to `longest` neighbouring tokens read like without the gaps between them."""
    return {
        "".join(tokens[start : start + size])
        for size in range(2, longest + 1)
        for start in range(len(tokens) - size + 1)
    }
