"""Laws of the spellings: numbers, dates, initials and names read equal however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.hindsight.spellings import dates, initialisms, initials, joins, plain, years

UNITS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen")
SMALL = (*UNITS, *TEENS, "eighteen", "nineteen")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(number: int) -> str:
    if number < 20:
        return SMALL[number]
    if number < 100:
        rest = number % 10
        return TENS[number // 10 - 2] + (f"-{SMALL[rest]}" if rest else "")
    if number < 1000:
        rest = number % 100
        return f"{SMALL[number // 100]} hundred" + (f" and {in_words(rest)}" if rest else "")
    scale, name = (10**6, "million") if number >= 10**6 else (1000, "thousand")
    rest = number % scale
    return f"{in_words(number // scale)} {name}" + (f" {in_words(rest)}" if rest else "")


@given(st.integers(10, 999_999_999))
def test_a_number_in_words_reads_as_its_digits(number: int) -> None:
    assert plain(f"about {in_words(number)} of them") == f"about {number} of them"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nineteen eighty-four", "1984"),
        ("Twenty Twelve", "2012"),
        ("1.2 million people", "1200000 people"),
        ("nine links, two or three hops", "nine links, two or three hops"),
        ("one two", "one two"),
        ("\u0160koda and \u00d8rsted at \u0141\u00f3d\u017a", "Skoda and Orsted at Lodz"),
    ],
)
def test_other_spellings(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(st.text(max_size=80))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert plain(plain(text)) == plain(text)


DAYS = (
    "12 March 1954",
    "March 12, 1954",
    "1954-03-12",
    "12/03/1954",
    "the 12th of March, 1954",
    "Mar. 12 1954",
    "on the twelfth of March 1954",
    "12.3.1954",
)


@pytest.mark.parametrize("text", DAYS)
def test_a_day_is_the_same_in_every_format(text: str) -> None:
    assert (3, 12) in dates(text) and (years(text) == {"1954"})


@pytest.mark.parametrize(
    "text", ["the first may fail", "it may second that", "step 3 of 12", "1.2.3", "march on"]
)
def test_what_is_no_day(text: str) -> None:
    assert dates(text) == set()


def test_initials_and_the_names_they_stand_for() -> None:
    text = "The Hugo Award went to Kurt Vonnegut of the United States of America."
    assert {"HA", "KV" + "USA"} <= initialisms(text)
    assert initials("K. V. and J.F.K. of NASA, US", shortest=3) == {"KV", "JFK", "NASA"}
    assert "US" in initials("US", shortest=2)


def test_joins_are_neighbours_without_gaps() -> None:
    assert joins(["a", "b", "c"], longest=2) == {"ab", "bc"}
