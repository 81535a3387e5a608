"""Which training questions are test questions, or share a long run of words with one?

Two findings, by row: `question`, the texts are equal after normalisation; `13gram`, they share 13
tokens in a row, or one of them, of 6 to 12 tokens, stands in the other as a whole (Brown et al.,
arXiv 2005.14165, appendix C, remove by 13-grams, or by the whole of a short example). Both are
symmetric. The test side is held in memory, the training side passes by once.

Normalisation: Unicode compatibility form without marks, no case; punctuation and symbols part
words, except that an apostrophe or a point inside a word is dropped (`U.S.` = `US`), a comma
inside a number too, and a sign between two digits stays (`3-4` is not `34`). For `question`
articles (a, an, the) and white space are dropped as well (`ice cream` = `icecream`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from forethought.errors import InputError
from forethought.types import JsonRow

GRAM = 13
SHORTEST = 6  # tokens; a shorter text is found as a whole question only
FIELDS = ("question", "task.question", "problem", "prompt", "messages")
"""Where the question of a row is looked for, in this order."""

_IDS = ("id", "_id", "task_id", "question_id", "qid", "uid", "example_id")
_ARTICLES = frozenset(("a", "an", "the"))
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-")
_INSIDE = re.compile(r"(?<=\w)['\u2018\u2019.](?=[^\W\d])|(?<=\d),(?=\d{3}(?!\d))")
_TOKEN = re.compile(r"\d+(?:\.\d+)+|[^\W_]+|(?<=\d)\s*[-+*/=<>^:]\s*(?=\d)")


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


def tokens_of(text: str) -> list[str]:
    """The tokens of a text after normalisation, articles included."""
    plain = unicodedata.normalize("NFKD", text.translate(_DASHES))
    if not plain.isascii():
        plain = "".join(each for each in plain if not unicodedata.combining(each))
    return [token.strip() for token in _TOKEN.findall(_INSIDE.sub("", plain.casefold()))]


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
    key: str
    text: str  # tokens between blanks, with a blank at either end
    length: int


@dataclass(slots=True)
class TestIndex:
    """The test questions, by normalised question and by what runs of tokens they hold.

    `_grams` has every run of 13 tokens of the longer texts, `_short` the first `SHORTEST` tokens
    of the short ones, `_runs` every run of `SHORTEST` tokens: the text of a short training
    question is looked for in the test texts that hold its rarest run.
    """

    __test__ = False  # for pytest: no test class

    known: list[_Known] = field(default_factory=list)
    _keys: dict[str, list[int]] = field(default_factory=dict)
    _grams: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _short: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    _runs: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    def add(self, question: Asked) -> None:
        """One more test question."""
        tokens = tokens_of(question.text)
        number = len(self.known)
        row = _Known(
            id=question.id,
            key=question_key(tokens),
            text=_joined(tokens),
            length=len(tokens),
        )
        self.known.append(row)
        if row.key:
            self._keys.setdefault(row.key, []).append(number)
        if row.length >= GRAM:
            for gram in set(_runs_of(tokens, GRAM)):
                self._grams.setdefault(gram, []).append(number)
        elif row.length >= SHORTEST:
            self._short.setdefault(tuple(tokens[:SHORTEST]), []).append(number)
        for run in set(_runs_of(tokens, SHORTEST)):
            self._runs.setdefault(run, []).append(number)

    def hits(self, question: Asked) -> Iterator[Hit]:
        """Every test question that a training question is, or overlaps with, in their order."""
        tokens = tokens_of(question.text)
        found = dict.fromkeys(self._overlaps(tokens), f"{GRAM}gram")
        key = question_key(tokens)
        found |= dict.fromkeys(self._keys.get(key, ()) if key else (), "question")
        for number in sorted(found):
            yield Hit(train_id=question.id, test_id=self.known[number].id, why=found[number])

    def _overlaps(self, tokens: list[str]) -> set[int]:
        if len(tokens) < SHORTEST:
            return set()
        text = _joined(tokens)
        starts = set(_runs_of(tokens, SHORTEST))
        near = (number for run in starts for number in self._short.get(run, ()))
        found = {number for number in near if self.known[number].text in text}
        if len(tokens) >= GRAM:
            for gram in _runs_of(tokens, GRAM):
                found.update(self._grams.get(gram, ()))
            return found
        holders = min((self._runs.get(run, []) for run in starts), key=len)
        return found | {number for number in holders if text in self.known[number].text}


def _joined(tokens: Iterable[str]) -> str:
    return f" {' '.join(tokens)} "


def _runs_of(tokens: list[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[i:] for i in range(size)), strict=False)


def find_hits(
    train: Iterable[tuple[Asked, JsonRow]], test: TestIndex, counts: Counter[str]
) -> Iterator[tuple[JsonRow, list[Hit]]]:
    """Each training row with its hits, in the order of the rows.

    Args:
        train: questions and the rows they stand in; read once.
        test: the other side.
        counts: gains the number of rows by field that their question was found in.
    """
    for question, row in train:
        counts[question.field] += 1
        yield row, list(test.hits(question))
