"""Test questions among training rows: what is found, what is not, and in which order it matters."""

from __future__ import annotations

import json
import random
import string
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought import cli
from forethought.data.decontaminate import (
    GRAM,
    SHORTEST,
    Asked,
    TestIndex,
    asked,
    question_key,
    tokens_of,
)
from forethought.errors import InputError


def found(train: Sequence[str], test: Sequence[str]) -> set[tuple[int, int, str]]:
    index = TestIndex()
    for number, text in enumerate(test):
        index.add(Asked(id=number, text=text, field="question"))
    hits = [
        hit
        for number, text in enumerate(train)
        for hit in index.hits(Asked(id=number, text=text, field="question"))
    ]
    pairs = [(hit.train_id, hit.test_id) for hit in hits]
    assert len(set(pairs)) == len(pairs), "one line a pair"
    return {(int(hit.train_id), int(hit.test_id), hit.why) for hit in hits}


LONG = (
    "Which composer of the nineteenth century wrote an opera about a ship that may never come "
    "home and conducted it himself in the city of Dresden?"
)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("Who wrote Hamlet?", "who wrote  hamlet"),
        ("Who wrote the Hamlet?", "WHO WROTE A HAMLET !!"),
        ("Where is S\u00e3o Paulo?", "where is Sao Paulo"),
        ("Where is Sa\u0303o Paulo?", "Where is S\u00e3o Paulo?"),
        ("What\u2019s the U.S. capital?", "What's the US capital"),
        ("Who is Spider-Man?", "Who is Spider Man?"),
        ("Who is Spider-Man?", "Who is Spiderman?"),
        ("How much is 1,000 x 2?", "how much is 1000 x 2"),
        ("When was Stra\u00dfe built?", "when was STRASSE built"),
        ("What is x\u00b2 + 1?", "What is x2 + 1?"),
        ("\uff37ho wrote it?", "Who wrote it?"),
        ("line\nbreaks and\ttabs", "Line breaks and\u00a0tabs"),
        ("1998\u20132000: what?", "1998-2000, what?"),
        ("\u6771\u4eac \u3067\u3059\u304b\uff1f", "\u6771\u4eac\u3067\u3059\u304b?"),
    ],
)
def test_spellings_of_one_question_are_one(mine: str, theirs: str) -> None:
    assert found([mine], [theirs]) == found([theirs], [mine]) == {(0, 0, "question")}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("Who wrote Hamlet?", "Who wrote Macbeth?"),
        ("What is 3+4?", "What is 3-4?"),
        ("What is 3 + 4?", "What is 34?"),
        ("What is 3.5?", "What is 35?"),
        ("What is 4, 3?", "What is 43?"),
        ("What is 1,000,5?", "What is 10005?"),
        ("12 of 3?", "1 of 23?"),
        ("???", "!!!"),
        ("", "?"),
        ("the", "a"),
    ],
)
def test_other_questions_are_not(mine: str, theirs: str) -> None:
    assert found([mine], [theirs]) == found([theirs], [mine]) == set()


def test_thirteen_tokens_in_a_row_are_found_and_twelve_are_not() -> None:
    words = tokens_of(LONG)
    assert len(words) > GRAM
    thirteen = " ".join(["Tell", "me:", *words[4 : 4 + GRAM], "or", "not?"])
    twelve = " ".join(["Tell", "me:", *words[4 : 3 + GRAM], "or", "not?"])
    for this, other in ((thirteen, LONG), (LONG, thirteen)):
        assert found([this], [other]) == {(0, 0, "13gram")}
    assert found([twelve], [LONG]) == found([LONG], [twelve]) == set()


def test_a_short_question_is_found_as_a_whole_inside_a_longer_text() -> None:
    short = "Who conducted the first Dutchman in Dresden?"
    prompt = f"Answer with one word, after you have searched the pages. {short} Think first."
    assert SHORTEST <= len(tokens_of(short)) < GRAM
    for this, other in ((prompt, short), (short, prompt)):
        assert found([this], [other]) == {(0, 0, "13gram")}
    assert found([prompt], [short[:-11] + " Berlin?"]) == set()
    medium = f"Please say: {short}"
    assert len(tokens_of(medium)) < GRAM
    assert found([medium], [short]) == found([short], [medium]) == {(0, 0, "13gram")}
    assert found(["Please say now: who is it?"], ["Who is it?"]) == set()  # too short to tell


words = st.lists(st.text(string.ascii_lowercase, min_size=4, max_size=8), min_size=1, max_size=30)
noise = st.lists(st.sampled_from([",", "?", " ", "!", "\t", ";", '"', "(", "\u2026"]), max_size=3)


@given(words, st.lists(noise, min_size=30, max_size=30), st.randoms(use_true_random=False))
def test_case_punctuation_articles_and_blanks_never_hide_a_question(
    question: list[str], between: list[list[str]], rng: random.Random
) -> None:
    dressed = "".join(
        f"{''.join(rng.choice((c, c.upper())) for c in word)} {''.join(gap)}"
        f"{rng.choice(('', ' the ', ' An ', ' a '))} "
        for word, gap in zip(question, between, strict=False)
    )
    assert found([dressed], [" ".join(question)]) == {(0, 0, "question")}


@given(words, words, words, st.integers(GRAM, 20))
def test_a_planted_run_is_found_wherever_it_stands(
    before: list[str], after: list[str], other: list[str], length: int
) -> None:
    run = [f"w{i}" for i in range(length)]
    mine, theirs = " ".join([*before, *run, *after]), " ".join([*other, *run])
    assert {(a, b) for a, b, _ in found([mine], [theirs])} == {(0, 0)}


@given(st.lists(words, min_size=1, max_size=6), st.lists(words, min_size=1, max_size=6))
def test_there_is_no_hit_between_texts_without_a_common_word(
    left: list[list[str]], right: list[list[str]]
) -> None:
    mine = [" ".join(f"{word}x" for word in text) for text in left]
    theirs = [" ".join(f"{word}z" for word in text) for text in right]
    assert found(mine, theirs) == set()


few = st.lists(st.sampled_from(["red", "the", "12", "Ox", "sea", "sky", "3-4"]), max_size=18)
texts = st.lists(few.map(" ".join), min_size=1, max_size=8)


@given(texts, texts)
def test_the_sides_may_be_exchanged(left: list[str], right: list[str]) -> None:
    assert found(left, right) == {(b, a, why) for a, b, why in found(right, left)}


@given(texts, texts, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    left: list[str], right: list[str], rng: random.Random
) -> None:
    mine, theirs = list(range(len(left))), list(range(len(right)))
    rng.shuffle(mine)
    rng.shuffle(theirs)
    shuffled = found([left[i] for i in mine], [right[i] for i in theirs])
    assert {(mine[a], theirs[b], why) for a, b, why in shuffled} == found(left, right)


def by_hand(mine: str, theirs: str) -> str | None:
    """The definition, read off: equal keys, or a common run of 13, or of the whole shorter text."""
    left, right = tokens_of(mine), tokens_of(theirs)
    if question_key(left) and question_key(left) == question_key(right):
        return "question"
    size = min(GRAM, len(left), len(right))
    if size < SHORTEST:
        return None
    runs = {tuple(left[i : i + size]) for i in range(len(left) - size + 1)}
    held = any(tuple(right[i : i + size]) in runs for i in range(len(right) - size + 1))
    return "13gram" if held else None


@given(texts, texts)
def test_the_index_finds_what_the_definition_says(left: list[str], right: list[str]) -> None:
    pairs = {
        (a, b, why)
        for a, mine in enumerate(left)
        for b, theirs in enumerate(right)
        if (why := by_hand(mine, theirs)) is not None
    }
    assert found(left, right) == pairs


@pytest.mark.parametrize(
    ("row", "text", "field", "own"),
    [
        ({"id": "a", "question": "Q?", "prompt": "P"}, "Q?", "question", "a"),
        ({"id": 4, "problem": "P?"}, "P?", "problem", 4),
        ({"task": {"id": "t", "question": "Q?"}, "steps": []}, "Q?", "task.question", "t"),
        ({"task_id": "t", "question": "Q?", "turns": []}, "Q?", "question", "t"),
        ({"prompt": "P?"}, "P?", "prompt", 7),
        ({"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "U?"}]},
         "U?", "prompt", 7),
        ({"messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]},
         "one", "messages", 7),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "one"},
                                                    {"type": "image"}]}]}, "one", "messages", 7),
        ({"question": " ", "messages": [{"role": "user", "content": "one"}]},
         "one", "messages", 7),
    ],
)  # fmt: skip
def test_the_question_is_found_in_the_row(
    row: dict[str, Any], text: str, field: str, own: str | int
) -> None:
    assert asked(row, "f", 7) == Asked(id=own, text=text, field=field)


@pytest.mark.parametrize(
    "row", [{}, {"claim": "x"}, {"question": 3}, {"messages": [{"role": "user"}]}, {"prompt": []}]
)
def test_a_row_without_a_question_is_named(row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"f:7: got fields.*question, task\.question, problem"):
        asked(row, "f", 7)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


TRAIN = [
    {"id": "t1", "question": "Who wrote Faust?", "split": "train"},
    {"id": "t2", "messages": [{"role": "user", "content": LONG + " Answer in one word."}]},
    {"id": "t3", "problem": "the boat, who sank it"},
    {"id": "t4", "question": "Something else entirely?"},
]
TEST = [
    {"id": "e1", "question": "Who sank the boat?"},
    {"id": "e2", "question": "who wrote FAUST"},
    {"id": "e3", "question": LONG},
]


def test_the_command_prints_hits_reports_and_keeps_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = write(tmp_path / "a.jsonl", TRAIN), write(tmp_path / "b.jsonl", TEST)
    clean = tmp_path / "clean.jsonl"
    words = ["decontaminate", "--train", train, "--test", test, "--report", "--clean", str(clean)]
    assert cli.main(words) == 1
    shown = capsys.readouterr()
    hits = [json.loads(line) for line in shown.out.splitlines()]
    assert hits == [
        {"train_id": "t1", "test_id": "e2", "why": "question"},
        {"train_id": "t2", "test_id": "e3", "why": "13gram"},
    ]
    assert "question (2 rows), messages (1 rows), problem (1 rows)" in shown.err
    assert [json.loads(line)["id"] for line in clean.read_text().splitlines()] == ["t3", "t4"]
    report = json.loads((tmp_path / "a.jsonl.decontamination.json").read_text())
    assert report["hits"] == {"question": 1, "13gram": 1}
    assert report["train_ids"] == {"t1": ["e2"], "t2": ["e3"]}
    assert report["train"]["fields"] == {"question": 2, "messages": 1, "problem": 1}
    assert cli.main(["decontaminate", "--train", str(clean), "--test", test]) == 0
    assert capsys.readouterr().out == ""


def test_nothing_to_compare_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, empty = write(tmp_path / "a.jsonl", TEST), write(tmp_path / "empty.jsonl", [])
    for train, test in ((good, empty), (empty, good), (good, str(tmp_path / "absent"))):
        assert cli.main(["decontaminate", "--train", train, "--test", test]) == 2
        assert "Next:" in capsys.readouterr().err
    assert cli.main(["decontaminate", "--train", "-", "--test", good, "--report"]) == 2


def test_twenty_thousand_rows_take_seconds_and_memory_of_the_test_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    vocabulary = [f"word{i}" for i in range(3000)]
    rows = [
        {"id": i, "question": " ".join(rng.choices(vocabulary, k=rng.randint(6, 40)))}
        for i in range(25_000)
    ]
    test = write(tmp_path / "test.jsonl", rows[:5000])
    train = write(tmp_path / "train.jsonl", [*rows[5000:], {**rows[0], "id": "planted"}])
    start = time.process_time()
    assert cli.main(["decontaminate", "--train", train, "--test", test]) == 1
    assert time.process_time() - start < 20  # three seconds on one free core
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"train_id": "planted", "test_id": 0, "why": "question"}
    ]
    small = write(tmp_path / "small.jsonl", rows[:50])
    tracemalloc.start()
    cli.main(["decontaminate", "--train", train, "--test", small])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000 < Path(train).stat().st_size
