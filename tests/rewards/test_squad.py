"""The grader of questions against a reading of SQuAD's evaluation script 1.1 of its own."""

from __future__ import annotations

import io
import itertools
import json
import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought import cli
from forethought.rewards.grading import grade

TEXTS = (
    "Paris", "paris.", "The Paris", "Paris, France", "the  city of\tParis", "PARIS!", "a paris an",
    "U.S.", "US", "U.S.A.", "u. s.", "J. R. R. Tolkien", "J.R.R. Tolkien", "Tolkien",
    "the-ater", "the ater", "theater", "an A-team", "A team", "team a", "Vitamin A", "Vitamin",
    "1,000", "1000", "1.000", "1 000", "42", "42.0", "forty two", "$42", "42%", "-5", "5", "1/2",
    "12", "19th century", "the 19th century", "1990s", "1990's", "yes", "Yes.", "yes it is", "no",
    "No, it is not", "noanswer", "no answer", "yes no", "true", "a yes", "Caf\u00e9", "Cafe",
    "cafe\u0301", "na\u00efve", "\u00c9mile Zola", "\u201cquoted\u201d", "quoted", "\"quoted\"",
    "rock \u2013 roll", "rock - roll", "rock roll", "rock\u2013roll", "\u6771\u4eac",
    "\u6771\u4eac \u90fd", "\u0130stanbul", "istanbul", "stra\u00dfe", "strasse", "STRASSE",
    "The The Band", "band", "an apple a day", "apple day", "day apple", "apple apple day",
    "apple day day", "it's", "its", "it s", "don\u2019t", "don't", "dont", "C++", "C", "c#",
    "AC/DC", "acdc", "ac dc", "line\nbreak", "line break", "non\u00a0breaking", "non breaking",
    "a1", "the2", "under_score", "underscore", "e = mc^2", "e mc2", "\u00bd", "one half",
    "Mary Ann Evans, also known as George Eliot", "George Eliot", "Eliot, George",
)  # fmt: skip


def script_words(text: str) -> list[str]:
    """Lower case; no character of string.punctuation; the words a, an and the out; split."""
    kept = "".join(each for each in text.lower() if each not in set(string.punctuation))
    words: list[str] = []
    for chunk in kept.split():
        # The script cuts articles out between word boundaries, so also beside a foreign sign.
        word = ""
        runs = ["".join(run) for _, run in itertools.groupby(chunk, _is_word)]
        for run in runs:
            word += " " if run in ("a", "an", "the") else run
        words += word.split()
    return words


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def script_em(prediction: str, answers: list[str]) -> bool:
    mine = " ".join(script_words(prediction))
    return max(mine == " ".join(script_words(answer)) for answer in answers)


def script_f1(prediction: str, answers: list[str]) -> float:
    return max(_f1(script_words(prediction), script_words(answer)) for answer in answers)


def _f1(mine: list[str], gold: list[str]) -> float:
    left = list(gold)
    common = 0
    for word in mine:
        if word in left:
            left.remove(word)
            common += 1
    if common == 0:
        return 0.0
    precision, recall = common / len(mine), common / len(gold)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("prediction", TEXTS)
def test_exact_match_and_f1_are_those_of_the_script(prediction: str) -> None:
    for answer in TEXTS:
        verdict = grade("qa", prediction, [answer])
        assert verdict.correct is script_em(prediction, [answer]), answer
        assert verdict.f1 == pytest.approx(script_f1(prediction, [answer])), answer


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5), st.sampled_from(TEXTS))
def test_the_best_of_all_aliases_counts(answers: list[str], prediction: str) -> None:
    verdict = grade("qa", prediction, answers)
    assert verdict.correct is script_em(prediction, answers)
    assert verdict.f1 == pytest.approx(script_f1(prediction, answers))


PIECES = st.sampled_from(
    [
        "a",
        "an",
        "the",
        "yes",
        "no",
        "12",
        "3.5",
        "x",
        "Bear",
        "\u00e9",
        "\u6771",
        ".",
        "-",
        "'",
        " ",
    ]
)


@given(st.lists(PIECES, max_size=7).map("".join), st.lists(PIECES, max_size=7).map("".join))
def test_any_two_texts_with_words_are_judged_as_by_the_script(left: str, right: str) -> None:
    if not script_words(left) or not script_words(right):
        return
    verdict = grade("qa", left, [right])
    assert verdict.correct is script_em(left, [right])
    assert verdict.f1 == pytest.approx(script_f1(left, [right]))


@pytest.mark.parametrize(
    ("prediction", "answer", "same"),
    [("+", "-", False), ("+", "+", True), ("The", "an", False), ("The The", "the the", True),
     ("", "the", False), ("!", "", False), (None, "the", False)],
)  # fmt: skip
def test_texts_of_which_nothing_is_left_are_compared_as_they_are(
    prediction: str | None, answer: str, same: bool
) -> None:
    verdict = grade("qa", prediction, [answer])
    assert (verdict.correct, verdict.f1) == (same, float(same))


def test_the_command_prints_both(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": i, "prediction": text, "answers": ["yes", "the city of Paris"]}
            for i, text in enumerate(TEXTS)]  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(r) + "\n" for r in rows)))
    assert cli.main(["grade", "--kind", "qa"]) == 0
    for text, line in zip(TEXTS, capsys.readouterr().out.splitlines(), strict=True):
        row = json.loads(line)
        assert set(row) == {"id", "correct", "extracted", "method", "f1"}
        assert row["correct"] is script_em(text, ["yes", "the city of Paris"])
        assert row["f1"] == pytest.approx(script_f1(text, ["yes", "the city of Paris"]))
