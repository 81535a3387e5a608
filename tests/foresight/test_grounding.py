"""Laws of matching, novelty, lift and the keyword fields of episodes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.foresight.grounding import (
    READINGS,
    contains,
    distinct,
    hits,
    idf,
    keyword_record,
    keywords_of,
    match,
    normalise,
    novel,
    novel_in,
    own_hits,
    printed_first,
    rho,
)
from forethought.types import (
    Action,
    Episode,
    EpisodeTurn,
    Foresight,
    RolloutError,
    StopReason,
)

WORDS = st.lists(st.sampled_from(["ab", "cd", "ef", "gh", "ij"]), max_size=8)


def block(*keywords: str) -> Foresight:
    return Foresight(roadmap="r", keywords=keywords, analysis="a", q=0.5, q_text="50%")


def turn(observation: str, *keywords: str, acts: str = "go") -> EpisodeTurn:
    text = (
        f"<imaginary>r</imaginary><keyword>{','.join(keywords)}</keyword><analysis>a</analysis>"
        f"<confidence>50%</confidence><think>t</think><search>{acts}</search>"
    )
    return EpisodeTurn(
        text=text,
        format_ok=True,
        foresight=block(*keywords),
        action=Action(kind="search", text=acts),
        observation=observation,
    )


def episode(task: str, *turns: EpisodeTurn, question: str = "who", failed: bool = False) -> Episode:
    return Episode(
        task_id=task,
        rollout=0,
        env="e",
        split="val",
        question=question,
        answers=("x",),
        answer=None,
        success=None if failed else 0,
        reward=0.0,
        judge="",
        stop_reason=StopReason.ERROR if failed else StopReason.DONE,
        error=RolloutError(kind="tool", message="") if failed else None,
        turns=turns,
    )


def test_tokens_are_lower_case_without_punctuation():
    assert normalise("  The U.S. (2nd)-rate! ") == ["the", "u", "s", "2nd", "rate"]
    assert normalise("?!") == [] and normalise("caf\u00e9") == normalise("cafe\u0301")


@pytest.mark.parametrize(
    ("keyword", "observation", "expected"),
    [
        ("flint", "lamp flint coast", True),
        ("flint", "flints", False),
        ("red rose", "a red rose", True),
        ("red rose", "a rose red", True),  # the order inside the window does not count
        ("red rose", "red and rose", False),  # windows are as long as the keyword
        ("red rose", "rose", False),
        ("big red rose", "a big red car", False),  # 2 of 3 = .667 < .67
        ("a b c d", "a b c x", True),  # 3 of 4
        ("a b c d", "a b x y", False),
        ("a b c d e f", "a b c d x y", False),  # 4 of 6
        ("a b c d e f", "a b c d e y", True),  # 5 of 6
        ("a a b", "a b b", False),  # tokens are counted
        ("", "anything", False),
        ("...", "...", False),
        ("flint", "", False),
        ("Flint!", "FLINT", True),
    ],
)
def test_a_match_needs_a_window_of_the_keywords_length(keyword, observation, expected):
    assert match(keyword, observation) is expected


@given(WORDS, WORDS)
def test_match_agrees_with_its_definition(want, have):
    def f1(window: list[str]) -> float:
        shared = sum(min(want.count(w), window.count(w)) for w in set(want))
        return shared / len(want)

    size = len(want)
    windows = [have[i : i + size] for i in range(len(have) - size + 1)] if want else []
    expected = any(f1(window) >= 0.67 for window in windows)
    assert match(" ".join(want), " ".join(have)) is expected


@given(WORDS, WORDS, WORDS)
def test_a_text_contains_its_slices_and_contained_phrases_match(left, middle, right):
    text, phrase = " ".join([*left, *middle, *right]), " ".join(middle)
    assert contains(phrase, text) is bool(middle)
    assert match(phrase, text) is bool(middle)


def test_a_phrase_is_whole_words():
    assert not contains("art", "the start") and contains("new york", "in New-York!")


def test_windows_do_not_span_two_observations():
    assert hits(["red rose"], ["red", "rose"]) == [False]


def test_keywords_are_the_first_five_distinct_ones():
    words = ("A", "a!", "", "b", "c", "d", "e", "f")
    assert distinct(words) == ["A", "b", "c", "d", "e", "f"]
    assert keywords_of(block(*words)) == ["A", "b", "c", "d", "e"]
    assert keywords_of(None) == []


def test_words_of_the_question_and_of_the_past_are_not_novel():
    seen = ["who wrote Red Rose?", "lamp"]
    assert novel(["red rose", "rose red", "lamp", "flint", "Flint"], seen) == ["rose red", "flint"]


def test_novelty_sees_earlier_turns_and_not_the_own_one():
    item = episode("t", turn("moss", "lamp"), turn("kiln", "lamp", "moss", "kiln", "who"))
    assert novel_in(item, 0) == ["lamp"]  # its own block holds the word, too
    assert novel_in(item, 1) == ["kiln"]  # lamp was written, moss was printed, who was asked


def test_the_environment_must_print_a_keyword_before_the_policy_writes_it():
    later = [("go west", "lamp"), ("ask flint", "flint moss"), ("", "kiln")]
    assert printed_first("lamp", later) and printed_first("moss", later)
    assert not printed_first("flint", later)  # the query asked for it
    assert not printed_first("west", [*later, ("", "west")])
    assert printed_first("kiln", later) and not printed_first("reed", later)


def test_a_keyword_in_the_own_query_or_a_later_thought_earns_nothing():
    item = episode("t", turn("flint lamp", "flint", "lamp", acts="find flint"), turn("kiln"))
    assert own_hits(item, 0, ["flint", "lamp", "kiln"]) == [False, True, True]


def test_readings_of_the_papers_matcher():
    some = [True, False, True, False]
    assert {name: read(some) for name, read in READINGS.items()} == {
        "fraction": 0.5,
        "all": 0.0,
        "any": 1.0,
    }
    assert [read([]) for read in READINGS.values()] == [0.0, 0.0, 0.0]
    assert READINGS["all"]([True, True]) == 1.0


def test_rho_divides_by_five_whatever_the_number_of_keywords():
    assert rho([True], [0.0]) == pytest.approx(0.2)
    assert rho([True] * 5, [0.0] * 5) == pytest.approx(1.0)
    assert rho([], []) == 0.0


def test_generic_keywords_earn_nothing():
    assert rho([True] * 5, [1.0] * 5) == 0.0


def test_idf_is_the_mean_over_tokens_and_falls_with_frequency():
    counts = {"the": 100, "flint": 1}
    assert idf("flint", counts, 100) > idf("the flint", counts, 100) > idf("the", counts, 100)
    assert idf("?", counts, 100) == 0.0


def test_the_record_of_a_small_file_by_hand():
    items = [
        episode(
            "t1", turn("lamp moss", "lamp", "kiln", "who"), turn("reed", "reed"), turn("", "x")
        ),
        episode("t1", turn("kiln", "kiln")),
        episode("t2", turn("salt", "salt"), turn("lamp", "lamp")),
        episode("t3", turn("kiln", "kiln")),
        episode("t4", turn("lamp", "lamp"), failed=True),
    ]
    first = keyword_record(items)[0]
    assert first[0].novel == ("lamp", "kiln") and first[0].hit == ("lamp",)
    # others of turn 0: t2 (prints lamp later) and t3 (prints kiln); own task and failures are out
    assert first[0].contrast == pytest.approx((1 / 2 + 1 / 2) / 2)
    # at turn 1 only t2 is left
    assert first[1].hit == ("reed",) and first[1].contrast == 0.0
    assert first[2].novel == ("x",) and first[2].contrast is None  # no later observation
    assert keyword_record(items)[4][0].contrast is None
    assert keyword_record(items[:2])[0][0].contrast is None  # no other task


def test_the_contrast_agrees_with_its_definition_on_random_files():
    rng = random.Random(5)
    vocabulary = ["lamp", "moss", "kiln", "reed", "bell", "rope", "salt", "tide"]

    def some(count: int) -> list[str]:
        return [
            " ".join(rng.sample(vocabulary, rng.choice([1, 1, 2, 3, 4, 5]))) for _ in range(count)
        ]

    items = [
        episode(
            f"t{rng.randrange(6)}",
            *(turn(rng.choice(["", *some(3)]), *some(4), acts=some(1)[0]) for _ in range(3)),
            failed=rng.random() < 0.1,
        )
        for _ in range(30)
    ]
    records = keyword_record(items)
    for item, record in zip(items, records, strict=True):
        if item.error is not None:
            continue
        for step, entry in enumerate(record):
            future = [t.observation for t in item.turns[step:] if t.observation]
            assert list(entry.hit) == [k for k in entry.novel if any(match(k, o) for o in future)]
            rates = []
            for other in items:
                ahead = [t.observation for t in other.turns[step:] if t.observation]
                if other.task_id != item.task_id and other.error is None and ahead:
                    rates.append([any(match(k, o) for o in ahead) for k in entry.novel])
            if not (entry.novel and future and rates):
                assert entry.contrast is None
                continue
            expected = sum(map(sum, rates)) / (len(rates) * len(entry.novel))
            assert entry.contrast == pytest.approx(expected)


def test_a_file_of_600_tasks_is_scored_at_once():
    rng = random.Random(1)
    words = [f"w{i}" for i in range(200)]

    def text() -> str:
        return " ".join(rng.choices(words, k=12))

    items = [
        episode(f"t{i}", *(turn(text(), *rng.sample(words, 5)) for _ in range(3)))
        for i in range(600)
    ]
    records = keyword_record(items)
    contrasts = [r.contrast for record in records for r in record if r.contrast is not None]
    precision = [len(r.hit) / len(r.novel) for record in records for r in record if r.novel]
    # words drawn without looking: no lift
    lift = sum(precision) / len(precision) - sum(contrasts) / len(contrasts)
    assert abs(lift) < 0.02
