"""What a call prints: sums of at most three operations, loops that burn fuel, numbers of a size.

Pure arithmetic on whole numbers. The environment runs the same calls as Python programs in the
sandbox; a test holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

FUEL = 256  # operations of a loop: days times operations a day
LIMIT = 999_999  # the largest number that is printed, either sign
MAX_OPERATIONS = 3  # of a sum
MAX_BITS = 4096  # of a number inside a call; a larger one is too big without being worked out

OUT_OF_FUEL = "out of fuel"
TOO_BIG = "too big"
NO_INTEGER = "no integer"
MALFORMED = "malformed"
FAILURES = (OUT_OF_FUEL, TOO_BIG, NO_INTEGER, MALFORMED)
"""All that a call may print in place of a number."""

Operator = Literal["+", "-", "*"]
Rule = tuple[tuple[Operator, int], ...]
"""The operations of a day, left to right."""

_OPERATORS: dict[str, Operator] = {"+": "+", "-": "-", "*": "*"}
_RULE = re.compile(r"(?:[-+*] \d{1,6} ?)+")
_TOKEN = re.compile(r"digits|\d{1,6}|\*\*|[-+*/()]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopCall:
    """A loop: `rule` applied `days` times to `start`."""

    start: int
    rule: Rule
    days: int

    @property
    def fuel(self) -> int:
        """Operations that it takes."""
        return self.days * len(self.rule)


def render_rule(rule: Rule) -> str:
    """`* 1 + 12 - 5`."""
    return " ".join(f"{operator} {number}" for operator, number in rule)


def parse_rule(text: str) -> Rule | None:
    """Reads what `render_rule` writes; None for any other text."""
    if not _RULE.fullmatch(text):
        return None
    words = text.split()
    return tuple((_OPERATORS[words[i]], int(words[i + 1])) for i in range(0, len(words), 2))


def parse_loop(text: str) -> LoopCall | None:
    """Reads `37 , * 1 + 12 - 5 , 140`: start, rule, days; None for any other text."""
    parts = [" ".join(part.split()) for part in text.split(",")]
    if len(parts) != 3 or not all(re.fullmatch(r"-?\d{1,6}", parts[i]) for i in (0, 2)):
        return None
    rule, days = parse_rule(parts[1]), int(parts[2])
    if rule is None or days < 1:
        return None
    return LoopCall(start=int(parts[0]), rule=rule, days=days)


def apply_rule(value: int, rule: Rule, days: int) -> int | None:
    """The value after `days`; None where a number on the way has more than `MAX_BITS`."""
    for _ in range(days):
        for operator, number in rule:
            if operator == "+":
                value += number
            elif operator == "-":
                value -= number
            else:
                value *= number
        if value.bit_length() > MAX_BITS:
            return None
    return value


def loop_prints(text: str) -> str:
    """What a loop prints."""
    call = parse_loop(text)
    if call is None:
        return MALFORMED
    if call.fuel > FUEL:
        return OUT_OF_FUEL
    return printed(apply_rule(call.start, call.rule, call.days))


def printed(value: int | None) -> str:
    """A number as it is printed; None stands for one too large to be worked out."""
    return TOO_BIG if value is None or abs(value) > LIMIT else str(value)


def shown(text: str) -> str:
    """What a tool shows of what was printed: a number with its length and parity, `527 d3 odd`.

    Keywords foretell these properties, never the number itself.
    """
    if text in FAILURES:
        return text
    return f"{text} d{len(text.lstrip('-'))} {'odd' if int(text) % 2 else 'even'}"


def read_shown(text: str) -> str:
    """What was printed, from what a tool showed."""
    text = text.strip()
    return text if text in FAILURES or not text else text.split()[0]


class _MalformedError(Exception):
    """Not an expression of this grammar, or one of too many operations."""


def calc_prints(text: str) -> str:
    """What a sum prints.

    The grammar: whole numbers, `+ - * /`, `**` (powers), `digits ( .. )` (the sum of the digits)
    and brackets, with the usual precedence, three operations at most. `/` must divide.
    """
    try:
        found = _Sum(text)
        value = found.value()
    except _MalformedError:
        return MALFORMED
    return found.failure or printed(value)


class _Sum:
    """A recursive-descent parser that works out what it reads.

    A sum that cannot be worked out is read to its end all the same: what is no sum is malformed,
    whatever its beginning comes to.
    """

    def __init__(self, text: str) -> None:
        self.failure = ""  # the first one
        self._words: list[str] = _TOKEN.findall(text)
        if "".join(self._words) != "".join(text.split()):
            raise _MalformedError
        self._at = 0
        self._operations = 0

    def value(self) -> int:
        value = self._terms()
        if self._at < len(self._words):
            raise _MalformedError
        return value

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _take(self, wanted: str = "") -> str:
        word = self._peek()
        if not word or (wanted and word != wanted):
            raise _MalformedError
        self._at += 1
        return word

    def _count(self) -> None:
        self._operations += 1
        if self._operations > MAX_OPERATIONS:
            raise _MalformedError

    def _terms(self) -> int:
        value = self._factors()
        while self._peek() in ("+", "-"):
            operator = self._take()
            self._count()
            other = self._factors()
            value = value + other if operator == "+" else value - other
        return value

    def _factors(self) -> int:
        value = self._powers()
        while self._peek() in ("*", "/"):
            operator = self._take()
            self._count()
            other = self._powers()
            if operator == "*":
                value = self._checked(value * other)
            elif other == 0 or value % other:
                value = self._fail(NO_INTEGER)
            else:
                value //= other
        return value

    def _powers(self) -> int:
        base = self._atom()
        if self._peek() != "**":
            return base
        self._take()
        self._count()
        exponent = self._powers()
        if exponent < 0:
            raise _MalformedError
        if abs(base) > 1 and exponent * (abs(base).bit_length() - 1) > MAX_BITS:
            return self._fail(TOO_BIG)
        return self._checked(base**exponent)

    def _atom(self) -> int:
        word = self._take()
        if word == "-":
            number = self._take()
            if not number.isdecimal() or self._peek() == "**":  # -2 ** 2 is read in two ways
                raise _MalformedError
            return -int(number)
        if word == "digits":
            self._count()
            return digit_sum(self._bracket())
        if word == "(":
            self._at -= 1
            return self._bracket()
        if not word.isdecimal():
            raise _MalformedError
        return int(word)

    def _fail(self, failure: str) -> int:
        self.failure = self.failure or failure
        return 1  # in place of a number that there is not

    def _checked(self, value: int) -> int:
        return self._fail(TOO_BIG) if value.bit_length() > MAX_BITS else value

    def _bracket(self) -> int:
        self._take("(")
        value = self._terms()
        self._take(")")
        return value


def digit_sum(value: int) -> int:
    """The sum of the decimal digits, sign left out."""
    return sum(map(int, str(abs(value))))
