r"""Are two mathematical answers equal? math-verify decides, with rules around it.

What it would get wrong is decided before it is asked: units, money, number bases and times of day
that differ (5 km and 5 m), numbers set apart (4 2 and 42), several answers instead of one, brackets
of another kind ([1,2] and (1,2)), words, and doubts in words (42 or 43, not 42). Like a unit, a
percent sign may be understood: 50% is accepted for 0.5 and for 50, which are not accepted for each
other. Equal texts and numbers in digits are decided here, too; the rest is compared in a process of
its own (`forethought.rewards.equality`) within 3 seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forethought.rewards.equality import Pairs, any_equal
from forethought.rewards.quantity import based, clock, quantity
from forethought.rewards.spelling import TEXT, number, one_spelling, plain, same_number

_MAX_CHARS = 1000
"""Of an expression that is looked at: the patterns here need time by the square of its length."""
_MAX_DEPTH = 20
_GROUPED = re.compile(r"(?<![\d,])\d{1,3}(?:\s\d{3})+(?!\d)")
_FRACTION = re.compile(r"\\frac\s*\d\s+\d|_\s*\d\s|\d+\s+\d+\s*/\s*\d+")
_MIXED = re.compile(r"\d\s+\d+\s*/")
# What math-verify, when asked, never comes to an end with; a test asks it.
_SLOW = re.compile(
    r"\^\s*\{?\s*-?[\w.]+\s*\^\s*\{?\s*(?:\d{2,}|[6-9]|\w+\s*\^)"  # a tower
    r"|(?:\^\s*\{?\s*\(?\s*-?|\d[eE][+-]?)\d{8,}"
    r"|(?:!\s*\)*\s*){2}!"
)
_NAMED = re.compile(r"\\(?:angle|triangle|overline|overrightarrow|widehat)(?![A-Za-z])")
_ENDLESS = re.compile(r"\[\s*[+-]?\s*\\infty|\\infty\s*\]")  # closed where there is no end
_DEGREES = re.compile(
    r"\\(sin|cos|tan|cot|sec|csc)\s*\{?\(?\s*(\d+)\s*\^\s*\{?\s*\\circ\s*\}?\s*\)?\}?"
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SMALL_WORDS = frozenset(("no", "is", "if", "to", "by", "at", "of", "in", "as", "an", "on"))
_FUNCTION_WORDS = (
    "sqrt infty infinity inf sin cos tan cot sec csc log exp arcsin arccos arctan sinh cosh tanh "
    "gcd lcm max min det deg and"
)
_FUNCTIONS = frozenset(_FUNCTION_WORDS.split())
_SEPARATOR = re.compile(r"\s*(?:,|;|(?<![A-Za-z\\])(?:,\s*)?(?:and|or)(?![A-Za-z]))\s*")
_NAME = re.compile(
    r"^\s*(?:(?:m\s*)?(?:\\angle\s*)?[A-Za-z]+|\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])+\s*\))"
    r"\s*(?:=(?!.*=)|\\in(?![A-Za-z]))\s*"
)
_NAMED_VALUE = re.compile(r"\s*([A-Za-z])\s*=([^=<>]+)")
_AND = re.compile(r",\s*(?:\\text\s*\{\s*and\s*\}|and\b)?|\\text\s*\{\s*and\s*\}|\band\b")
_OR = re.compile(r"\\text\s*\{\s*or\s*\}|\\lor(?![A-Za-z])|\bor\b")
_BOUND = re.compile(r"\s*([A-Za-z])\s*(<|>|\\(?:le|ge)q?(?![A-Za-z]))\s*([^<>=,]*?[^<>=,\s])\s*")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equality:
    """A comparison, and how it was reached.

    mark: "" = decided; "+text" = too long or too large to be looked at, so only the texts were
    compared; "+timeout" = no end within the limits of time and memory, which counts as not equal.
    """

    equal: bool
    mark: str = ""


_Finding = bool | Pairs | None
"""A verdict; else the pairs of which one must be equal; None: more than may be looked at."""


def equal(mine: str, *golds: str) -> Equality:
    """Compares an answer with accepted ones; the same units and the same number base count.

    A unit that only one of the two names is taken as understood.

    Raises:
        MissingError: math-verify is needed and cannot be asked.
    """
    asked: dict[tuple[str, str], None] = {}  # each pair once
    mark = ""
    for gold in golds:
        if max(len(mine), len(gold)) > _MAX_CHARS:
            found: _Finding = mine.split() == gold.split() or None
        else:
            found = _decided(one_spelling(mine), one_spelling(gold))
        if found is True:
            return Equality(equal=True)
        if found is None:
            mark = "+text"
        elif found is not False:
            asked |= dict.fromkeys(found)
    verdict = any_equal(tuple(asked)) if asked else False
    if verdict is None:
        return Equality(equal=False, mark="+timeout")
    return Equality(equal=verdict, mark="" if verdict else mark)


def _decided(left: str, right: str) -> _Finding:
    """What can be said of two spellings without algebra."""
    if not left or not right:
        return False
    left, right = _union(left), _union(right)
    left, right = _without_name(left, right), _without_name(right, left)
    if based(left) or based(right):
        return based(left) == based(right)
    if ":" in left + right or (clock(left) and clock(right)):
        return _same_time(left, right)
    if _flat(left) == _flat(right):
        return _compared(left, right)
    mine, gold = quantity(left), quantity(right)
    if mine.unit and gold.unit and mine.unit != gold.unit:
        return False
    if (mine.is_percent and gold.unit) or (gold.is_percent and mine.unit):
        return False
    left, right = mine.number, gold.number
    if mine.is_percent and not gold.is_percent:
        return _either(_compared(left, right), _compared(_hundredth(left), right))
    if gold.is_percent and not mine.is_percent:
        return _either(_compared(left, right), _compared(left, _hundredth(right)))
    return _compared(left, right)


def _either(one: _Finding, other: _Finding) -> _Finding:
    if one is True or other is True:
        return True
    if one is None or other is None:
        return None
    return (*(one or ()), *(other or ()))


def _hundredth(text: str) -> str:
    return rf"\frac{{{text}}}{{100}}"


def _same_time(left: str, right: str) -> bool:
    """Times and ratios are equal as they stand; a or p may be understood."""
    mine, gold = clock(left), clock(right)
    if mine is None or gold is None:
        return _flat(left) == _flat(right)
    return mine[0] == gold[0] and (mine[1] == gold[1] or not (mine[1] and gold[1]))


def _compared(left: str, right: str) -> _Finding:
    """As `_decided`, of what is left without units."""
    values = number(left), number(right)
    if values[0] is not None and values[1] is not None:
        return same_number(values[0], values[1])
    if _apart(left) or _apart(right):  # "4 2" is two numbers, "1 000" is one
        return _flat(left) == _flat(right) and plain(left).split() == plain(right).split()
    if _same_text(left, right) and not (_MIXED.search(left) or _MIXED.search(right)):
        return True
    if _is_words(right) or _is_words(left) or _NAMED.search(left + right):
        return False
    if (
        re.search(r"\.\d*\.\d|\d\s*_", left)
        or "$" in left + right
        or re.search(r"%\s*\\?%", left)
        or "\\boxed" in left
        or not _prose(left) <= _prose(right)
    ):
        return False
    if bool(_ENDLESS.search(left)) != bool(_ENDLESS.search(right)):
        return False
    if not _same_shape(left, right) or not _same_case(left, right):
        return False
    if _too_much(left) or _too_much(right):
        return None
    return ((_latex(left), _latex(right)),)


def _flat(text: str) -> str:
    return plain(text).replace(" ", "")


def _same_text(left: str, right: str) -> bool:
    mine, gold = _flat(left), _flat(right)
    if mine == gold:
        return True
    # Case tells variables apart, and neither words nor the letters of a choice.
    choices = [re.fullmatch(r"\(?([A-Ja-j])(?:[).](.*))?", side) for side in (mine, gold)]
    said = [choice[2] for choice in choices if choice and choice[2]]  # "(D) 5" says what D is
    if all(choices) and all(re.fullmatch(r"\$?\d[\d.,/]*", text) for text in said):
        mine, gold = (choice[1] for choice in choices if choice)
    elif not (_is_words(left) and _is_words(right)):
        return False
    return mine.lower() == gold.lower()


def _apart(text: str) -> bool:
    """True where a blank keeps two numbers apart; digits in groups of three are one number."""
    joined = _GROUPED.sub("0", _FRACTION.sub(" ", plain(text)))
    return re.search(r"\d\s+[\d.]", joined) is not None


def _is_words(text: str) -> bool:
    """True for an answer in words (a name, a day, yes), which is no product of letters."""
    flat = plain(text)
    if re.fullmatch(r"[A-Za-z][A-Za-z' -]*", flat) is None or flat.lower() in _FUNCTIONS:
        return False
    pieces = re.split(r"[ '-]+", flat)
    return bool(TEXT.fullmatch(text)) or flat.lower() == "no" or max(map(len, pieces)) > 2


def _without_name(text: str, other: str) -> str:
    r"""Without the `x =`, `(x, y) =` or `x \in` before a value, where the other side has none.

    Of several, `x = 1, y = 2`, the values in the order of their names: a tuple.
    """
    if "=" in other or re.search(r"\\in(?![A-Za-z])", other):
        return text
    pieces = [_NAMED_VALUE.fullmatch(piece) for piece in _AND.split(text)]
    named = {piece[1]: piece[2] for piece in pieces if piece}
    if len(named) == len(pieces) > 1:
        return f"({', '.join(named[name] for name in sorted(named))})"
    return _NAME.sub("", text)


def _union(text: str) -> str:
    r"""Two bounds of one variable, `x < 1 or x \ge 2`, as the union of their intervals."""
    pieces = [_BOUND.fullmatch(piece) for piece in _OR.split(text)]
    found = [piece for piece in pieces if piece]
    if len(found) != len(pieces) or len(found) < 2 or len({piece[1] for piece in found}) > 1:
        return text
    intervals = []
    for _, sign, value in (piece.groups() for piece in found):
        closed = sign not in "<>"
        below = sign.startswith(("<", r"\l"))
        intervals.append(
            rf"(-\infty, {value}{']' if closed else ')'}"
            if below
            else rf"{'[' if closed else '('}{value}, \infty)"
        )
    return r" \cup ".join(intervals)


def _prose(text: str) -> set[str]:
    """The words in it, each as its letters in order: a product may be written in any."""
    bare = _COMMAND.sub(" ", re.sub(r"\\(?:begin|end)\s*\{\w*\}", " ", TEXT.sub(r" \1 ", text)))
    words = re.findall(r"[A-Za-z]+", bare)
    return {
        "".join(sorted(word))
        for word in words
        if (len(word) > 2 and word.lower() not in _FUNCTIONS) or word.lower() in _SMALL_WORDS
    }


def _letters(text: str) -> set[str]:
    return {c for c in _COMMAND.sub(" ", TEXT.sub(" ", text)) if c.isalpha()}


def _same_case(left: str, right: str) -> bool:
    """False where a letter has another case, or both: math-verify takes r and R for one."""
    mine, gold = _letters(left), _letters(right)
    both = {letter.lower() for letter in mine | gold}
    return len(both) == len(mine | gold)


def _same_shape(left: str, right: str) -> bool:
    """Whether brackets are of one kind and there are as many elements, as far as one can see."""
    if any(re.search(r"\\pm|\\mp|\\cup|\\setminus", side) for side in (left, right)):
        return True
    related = [re.search(r"[<>]|\\(?:leq?|geq?|lt|gt|neq?)(?![A-Za-z])", s) for s in (left, right)]
    if bool(related[0]) != bool(related[1]):
        return True
    (kind, count), (gold_kind, gold_count) = _shape(left), _shape(right)
    if count != gold_count:
        return False
    if kind and gold_kind:
        return kind == gold_kind
    return {kind, gold_kind} <= {"", "()", "{}"}


def _shape(text: str) -> tuple[str, int]:
    """The brackets around several elements, "" without, and how many elements there are."""
    kind, inside = "", _outer(text)
    count = _num_elements(text if inside is None else inside)
    if inside is not None and count > 1:
        kind = text.replace("\\", "")[0] + text[-1]
    return kind, count


def _outer(text: str) -> str | None:
    """What stands inside the brackets around the whole of it."""
    flat = text.replace("\\{", "{").replace("\\}", "}")
    if text.startswith("{") or not flat or flat[0] not in _OPEN or flat[-1] not in _CLOSE:
        return None
    depth = 0
    for place, char in enumerate(flat):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0 and place < len(flat) - 1:
            return None
    return flat[1:-1]


def _num_elements(text: str) -> int:
    flat = re.sub(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])", "0", plain(text))
    depth, top = 0, []
    for char in flat:
        depth += (char in _OPEN) - (char in _CLOSE)
        top.append(char if depth == 0 else "_")
    return len([piece for piece in _SEPARATOR.split("".join(top)) if piece])


def _too_much(text: str) -> bool:
    depth = deepest = 0
    for char in text:
        depth += (char in _OPEN) - (char in _CLOSE)
        deepest = max(deepest, depth)
    return deepest > _MAX_DEPTH or _SLOW.search(text) is not None


def _latex(text: str) -> str:
    """Plain spellings as LaTeX: "sqrt(2)", "pi", "1e5", "1 1/2"."""
    text = re.sub(r"(?<![\\A-Za-z])sqrt\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi ", text)
    text = re.sub(
        r"(?<![\w.)}^])(\d+)/(\d+)(?=\s*(?:\\pi|\\sqrt|i(?!\w)))", r"\\frac{\1}{\2}", text
    )
    text = _DEGREES.sub(r"\\\1(\\frac{\2\\pi}{180})", text)
    text = re.sub(r"(?<=\d)[eE]([+-]?\d+)(?![A-Za-z\d])", r"\\times 10^{\1}", text)
    text = re.sub(r"(?<=\d)\s+(\d+)/(\d+)$", r"\\frac{\1}{\2}", text)
    parts = re.split(r"(>|\\geq?(?![A-Za-z]))", text)
    if len(parts) == 5:  # math-verify knows 1 < x < 2 and not 2 > x > 1
        turned = [
            "<" if part == ">" else r"\le " if i % 2 else part for i, part in enumerate(parts)
        ]
        text = "".join(reversed(turned))
    return f"${text}$"
