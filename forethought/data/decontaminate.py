"""Which training questions are test questions, or share a long run of words with one?

Two findings, by row: `question`, the texts are equal after normalisation; `13gram`, they share 13
tokens in a row, or one of them, of 6 to 12 tokens, stands in the other as a whole (Brown et al.,
arXiv 2005.14165, appendix C, remove by 13-grams, or by the whole of a short example). Both are
symmetric. The test side is held in memory, the training side passes by.

A run that stands in more than ten different questions is a turn of phrase ("where m and n are
relatively prime positive integers. Find"), as in that appendix, and says nothing. Where the test
side alone does not show that (`TestIndex.learn` tells what the training side holds), it counts
after all once half of the shorter question is made of shared runs: many may have copied that one.

Normalisation: known instructions before and behind a problem are dropped, LaTeX becomes plain text
(`forethought.data.plain_text`); Unicode compatibility form without marks, no case; punctuation
parts words, except that an apostrophe inside a word, a point between single letters (`U.S.` =
`US`) and a comma inside a number are dropped. Letters and digits are tokens of their own. A sign
stays where numbers or single letters are on its sides (`3-4` is not `34`, `x+1` not `x-1`,
`Spider-Man` is `Spider Man`). For `question` articles (a, an, the) and white space are dropped as
well (`ice cream` = `icecream`), and drawings have to be equal, too; runs leave drawings out, for
they share more code than sense.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from forethought.data.plain_text import plain_maths, split_figures, without_instructions
from forethought.errors import InputError

GRAM = 13
SHORTEST = 6  # tokens; a shorter text is found as a whole question only
FIELDS = ("question", "task.question", "problem", "prompt", "messages")
"""Where the question of a row is looked for, in this order."""

FINDINGS = ("question", "13gram")
COMMON = 10  # different questions; a run in more of them is a turn of phrase
MOST = 0.5  # of the runs of the shorter question; so much in common is no turn of phrase
_IDS = ("id", "_id", "unique_id", "ID", "task_id", "question_id", "qid", "uid", "example_id")
_ARTICLES = frozenset(("a", "an", "the"))
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-")
_INSIDE = re.compile(
    r"(?<=\w)['\u2018\u2019](?=[^\W\d])|(?<=\b[^\W\d_])\.(?=[^\W\d_]\b)|(?<=\d),(?=\d{3}(?!\d))"
)
_MINUS = "\x00"  # before a number, behind no word
_NEGATIVE = re.compile(r"(?<![\w)\]}])-(?=\d)")
_TOKEN = re.compile(r"\d+(?:\.\d+)+|\d+|[^\W\d_]+|[-+*/=<>^:\x00]")
_SIGNS = frozenset("-+*/=<>^:\x00")
_NAMED = frozenset(("sqrt", "frac", "pi", "infty", "theta", "sin", "cos", "tan", "log", "ln"))
"""Words of formulas that a sign may stand beside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The question of a row."""

    id: str | int  # the row's own; its line where it has none
    text: str
    field: str  # one of FIELDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A training row that a test row is found in, or the other way round."""

    train_id: str | int
    test_id: str | int
    why: str  # "question" | "13gram"
    test_text: str  # of the test question
    shared: float  # 1, or the part of the shorter one's runs of 13 tokens that the other one has


def tokens_of(text: str) -> list[str]:
    """The tokens of a text after normalisation, articles included, drawings left out."""
    return list(_read(text)[0])


@lru_cache(maxsize=4)  # several test sets ask about one training row after another
def _read(text: str) -> tuple[list[str], str]:
    """The tokens of a text, and its drawings; not to be changed."""
    words, drawn = split_figures(text)
    return _tokens(plain_maths(without_instructions(words))), drawn


def _tokens(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text.translate(_DASHES))
    if not plain.isascii():
        plain = "".join(each for each in plain if not unicodedata.combining(each))
    if "-" in plain:
        plain = _NEGATIVE.sub(_MINUS, plain)
    found: list[str] = _TOKEN.findall(_INSIDE.sub("", plain.casefold()))
    return found if _SIGNS.isdisjoint(found) else list(_with_signs(found))


def _with_signs(tokens: list[str]) -> Iterator[str]:
    """The tokens without the signs that are punctuation: see the head of this module."""
    rights: list[str] = []  # of each token the next one that is no sign, from the last to the first
    right = ""
    for token in reversed(tokens):
        rights.append(right)
        right = right if token in _SIGNS else token
    left = ""
    for token, right in zip(tokens, reversed(rights), strict=True):
        if token not in _SIGNS:
            left = token
            yield token
        elif token == _MINUS:
            yield "-"
        elif _is_sign(left, token, right):
            yield token


def _is_sign(left: str, token: str, right: str) -> bool:
    if token in ":^":
        return left[:1].isdigit() and right[:1].isdigit()
    if token in "+=":
        return _is_operand(left) or _is_operand(right)
    return _is_operand(left) and _is_operand(right)


def _is_operand(token: str) -> bool:
    return token[:1].isdigit() or len(token) == 1 or token in _NAMED


def question_key(tokens: Iterable[str]) -> str:
    """What equal questions have in common; only numbers are kept apart by a blank."""
    key = ""
    for token in tokens:
        if token not in _ARTICLES:
            key += f" {token}" if key[-1:].isdigit() and token[:1].isdigit() else token
    return key


def asked(row: Mapping[str, Any], where: str, line: int) -> Asked:
    """The question of a row of tasks, trajectories, prompts or chats.

    A chat (`messages`, or `prompt` as a list) asks in its first message of the user.

    Raises:
        InputError: none of `FIELDS` is there, or the one that is there is no text.
    """
    task = row.get("task")
    inner = task if isinstance(task, Mapping) else {}
    for name in FIELDS:
        value = inner.get("question") if name == "task.question" else row.get(name)
        text = _said(value)
        if text.strip():
            own = next((r[k] for r in (row, inner) for k in _IDS if _is_id(r.get(k))), line)
            return Asked(id=own, text=text, field=name)
    raise InputError(
        where,
        line=line,
        got=f"fields: {', '.join(sorted(row)) or 'none'}"[:160],
        expected="a question in one of " + ", ".join(FIELDS),
        next_step="rename the field, or bring the rows into the form of tasks.jsonl "
        "(`forethought tasks`)",
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _said(value: Any) -> str:
    """A text, or the text of the first user message of a chat; "" for anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    said = (each for each in value if isinstance(each, Mapping) and each.get("role") == "user")
    content = next(said, {}).get("content")
    if isinstance(content, list):  # parts, as in OpenAI's form
        parts = (each.get("text") for each in content if isinstance(each, Mapping))
        content = "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    id: str | int
    asked: str
    key: str
    text: str  # tokens between blanks, with a blank at either end
    length: int


@dataclass(slots=True)
class TestIndex:
    """The test questions, by normalised question and by what runs of tokens they hold.

    `_grams` has every run of 13 tokens of the longer texts, `_short` the first `SHORTEST` tokens
    of the short ones, `_runs` every run of `SHORTEST` tokens: the text of a short training
    question is looked for in the test texts that hold its rarest run. `_holders` has, for each run
    of `_grams` that was seen on the training side, the first different questions that hold it.
    """

    __test__ = False  # for pytest: no test class

    known: list[_Known] = field(default_factory=list)
    _keys: dict[str, list[int]] = field(default_factory=dict)
    _grams: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _short: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _runs: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _holders: dict[tuple[str, ...], set[str]] = field(default_factory=dict)

    def add(self, question: Asked) -> None:
        """One more test question."""
        tokens, drawn = _read(question.text)
        number = len(self.known)
        row = _Known(
            id=question.id,
            asked=question.text,
            key=_key(tokens, drawn),
            text=_joined(tokens),
            length=len(tokens),
        )
        self.known.append(row)
        if row.key:
            self._keys.setdefault(row.key, []).append(number)
        if row.length >= GRAM:
            for gram in set(_runs_of(tokens, GRAM)):
                self._grams.setdefault(gram, []).append(number)
        elif row.length >= SHORTEST and not drawn:
            self._short.setdefault(tuple(tokens[:SHORTEST]), []).append(number)
        for run in set(_runs_of(tokens, SHORTEST)):
            self._runs.setdefault(run, []).append(number)

    def learn(self, question: Asked) -> None:
        """Counts a training question, so that turns of phrase of that side are known as such."""
        tokens, drawn = _read(question.text)
        key = _key(tokens, drawn)
        for gram in _runs_of(tokens, GRAM):
            if gram in self._grams:
                holders = self._holders.setdefault(gram, set())
                if len(holders) <= COMMON:
                    holders.add(key)

    def hits(self, question: Asked) -> Iterator[Hit]:
        """Every test question that a training question is, or overlaps with, in their order."""
        tokens, drawn = _read(question.text)
        found = self._overlaps(tokens, drawn)
        key = _key(tokens, drawn)
        same = set(self._keys.get(key, ())) if key else set()
        for number in sorted(found.keys() | same):
            row = self.known[number]
            yield Hit(
                train_id=question.id,
                test_id=row.id,
                why="question" if number in same else f"{GRAM}gram",
                test_text=row.asked,
                shared=1.0 if number in same else found[number],
            )

    def _overlaps(self, tokens: list[str], drawn: str) -> dict[int, float]:
        """The test questions that share a run, or are a part or the whole; how much is shared."""
        if len(tokens) < SHORTEST:
            return {}
        text = _joined(tokens)
        starts = set(_runs_of(tokens, SHORTEST))
        near = (number for run in starts for number in self._short.get(run, ()))
        found = {number: 1.0 for number in near if self.known[number].text in text}
        if len(tokens) >= GRAM:
            return found | self._sharing(set(_runs_of(tokens, GRAM)))
        if drawn:
            return found
        holders = min((self._runs.get(run, []) for run in starts), key=len)
        return found | {number: 1.0 for number in holders if text in self.known[number].text}

    def _sharing(self, grams: set[tuple[str, ...]]) -> dict[int, float]:
        """The test questions that share a run which is no turn of phrase, or most of their runs."""
        said: set[int] = set()
        counts: Counter[int] = Counter()
        for gram in grams & self._grams.keys():
            numbers = self._grams[gram]
            holders = self._different(numbers)
            if len(holders) > COMMON:
                continue  # all test prompts begin like this, or end so
            counts.update(numbers)
            if len(holders | self._holders.get(gram, set())) <= COMMON:
                said.update(numbers)
        shorter = {i: min(len(grams), self.known[i].length - GRAM + 1) for i in counts}
        shares = {i: min(1.0, number / shorter[i]) for i, number in counts.items()}
        return {i: share for i, share in shares.items() if i in said or share >= MOST}

    def _different(self, numbers: list[int]) -> set[str]:
        """The different questions among those of these numbers, up to one more than `COMMON`."""
        keys: set[str] = set()
        for number in numbers:
            keys.add(self.known[number].key)
            if len(keys) > COMMON:
                break
        return keys


def _key(tokens: list[str], drawn: str) -> str:
    """The question of a text, drawings included."""
    key = question_key(tokens)
    return f"{key}|{question_key(_tokens(drawn))}" if drawn else key


def _joined(tokens: Iterable[str]) -> str:
    return f" {' '.join(tokens)} "


def _runs_of(tokens: list[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[i:] for i in range(size)), strict=False)
