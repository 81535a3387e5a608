"""docs/paper-index.md names every configuration key, and nothing that the tree does not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forethought.config import config_names
from forethought.schema import RunConfig
from tests.test_baselines import flat

ROOT = Path(__file__).parents[1]
BY_KEY, BY_PLACE = (
    (ROOT / "docs" / "paper-index.md").read_text("utf-8").split("## By place in the paper")
)
KEYS = flat(RunConfig().model_dump())
NAMED = sorted(set(re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\|.*$", BY_PLACE, re.M)))))


def cells(text: str) -> list[list[str]]:
    """The cells of the rows whose first one is a name in backticks."""
    rows = re.findall(r"^\| `.*\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def is_there(name: str) -> bool:
    """Whether the tree has a file, a definition in it, a key or a configuration of this name."""
    file, _, inside = name.partition(":")
    if file.endswith(".py"):
        text = (ROOT / file).read_text("utf-8") if (ROOT / file).is_file() else ""
        defined = rf"^\s*(?:async )?(?:def|class) {re.escape(inside.lstrip(':'))}\b"
        return bool(text) and re.search(defined, text, re.MULTILINE) is not None
    return name in KEYS or name in config_names()


def test_the_index_has_each_key_once_with_its_default() -> None:
    listed = [(row[0].strip("`"), row[1].strip("`")) for row in cells(BY_KEY)]
    assert listed == [(key, repr(value)) for key, value in KEYS.items()]


def test_every_key_says_what_the_paper_has_and_a_value_says_where() -> None:
    for key, _, value, where in cells(BY_KEY):
        assert value and (where == "-" or re.fullmatch(r"\[P(, [\w .,]+)?\]", where)), key
        silent = value.startswith(("no such thing", "not stated"))
        assert silent or where != "-" or key.startswith("`eval."), key


@pytest.mark.parametrize("name", NAMED)
def test_what_the_index_points_at_is_there(name: str) -> None:
    assert is_there(name)


@pytest.mark.parametrize(
    "name",
    [
        "rl.omegas",
        "baselines/none",
        "forethought/algos/none.py:paper",
        "forethought/algos/profiles.py:none",
        "tests/algos/test_credit.py::test_none",
    ],
)
def test_what_is_not_there_is_seen(name: str) -> None:
    assert not is_there(name)
