"""Laws of the strict parser and of its inverse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.cli.parse import as_row
from forethought.errors import InputError
from forethought.foresight.block import PROBLEMS, STYLES, parse, render
from forethought.foresight.elements import BLOCK_NAMES
from forethought.types import Action, Foresight, Span

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests/cases/blocks.json").read_text("utf-8"))
TAGS = [
    f"<{slash}{name}>"
    for name in (*BLOCK_NAMES, "think", "search", "answer", "information", "tool_call")
    for slash in ("", "/")
]
PIECES = [
    *TAGS, "a", "b, c", " ", "\n", "85%", "150%", "<Think>", "<search >", "**Imaginary**",
    "**Keyword**", "**Analysis**", "**Confidence**", "Answer: 4", "\\boxed{4}", "\\boxed{",
    '{"name":"python","arguments":{"code":"1"}}', "</", "<", "%", ",",
]  # fmt: skip
SOUP = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
NASTY = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PIECES), max_size=4).map("".join))
LEVEL = st.integers(0, 20).map(lambda i: i / 20)


def ids(case: dict[str, str]) -> str:
    return f"{case['style']}: {case['name']}"


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_case(case):
    parsed = parse(case["text"], case["style"], not case.get("plain", False))
    assert as_row(parsed) == case["expected"]


def test_the_cases_show_every_problem_and_every_style():
    shown = {code for case in CASES for code in case["expected"]["problems"]}
    assert shown == set(PROBLEMS)
    assert {case["style"] for case in CASES} == set(STYLES)
    assert len(CASES) >= 120


def test_the_table_of_the_documentation_lists_exactly_the_codes():
    text = (ROOT / "docs/format.md").read_text("utf-8").split("## Problem codes")[1]
    listed = re.findall(r"^\| `(\w+)` \|", text.split("\n## ")[0], re.MULTILINE)
    assert listed == list(PROBLEMS)


def test_the_percentages_of_the_documentation_are_read_as_it_says():
    text = (ROOT / "docs/format.md").read_text("utf-8").split("## Percentages")[1]
    rows = re.findall(r"^\| (`.*`) \| (\S+) \| (.*?)\|$", text.split("\n## ")[0], re.MULTILINE)
    assert len(rows) >= 8
    for examples, q, code in rows:
        for example in re.findall(r"`([^`]*)`", examples):
            parsed = parse(
                "<imaginary>r</imaginary><keyword>k</keyword><analysis>a</analysis>"
                f"<confidence>{example}</confidence><think>t</think><search>q</search>"
            )
            assert parsed.foresight is not None
            assert parsed.foresight.q == (None if q == "null" else float(q))
            assert list(parsed.problems) == re.findall(r"`(\w+)`", code)


def test_an_unknown_style_is_the_users_mistake():
    with pytest.raises(InputError, match="search"):
        parse("x", style="json")
    with pytest.raises(InputError, match="search"):
        render(None, "t", Action(kind="answer", text="x"), style="free")


@given(SOUP, st.sampled_from(STYLES), st.booleans())
def test_any_text_is_parsed_with_sorted_disjoint_spans_and_consistent_codes(text, style, expect):
    parsed = parse(text, style, expect)
    end = 0
    for span in parsed.spans:
        assert end <= span.start < span.end <= len(text)
        end = span.end
        assert not text[span.start].isspace() and not text[span.end - 1].isspace()
    codes = set(parsed.problems)
    assert list(parsed.problems) == [code for code in PROBLEMS if code in codes]
    assert (parsed.action is None) is bool(codes & {"no_action", "two_actions"})
    if parsed.foresight is not None:
        unreadable = bool(codes & {"confidence_text", "confidence_range"})
        assert (parsed.foresight.q is None) is unreadable
        assert expect and style != "free"
    if parsed.format_ok and expect and style != "free":
        assert parsed.foresight is not None and parsed.action is not None and parsed.think


@given(SOUP)
def test_a_turn_without_problems_is_written_back_from_its_parts(text):
    parsed = parse(text)
    if parsed.format_ok:
        assert parsed.action is not None
        again = parse(render(parsed.foresight, parsed.think, parsed.action))
        assert (again.foresight, again.think, again.action) == (
            parsed.foresight,
            parsed.think,
            parsed.action,
        )


@given(
    st.tuples(NASTY, st.lists(NASTY, min_size=1, max_size=5), NASTY, NASTY, NASTY),
    st.one_of(LEVEL, st.floats(0, 1)),
    st.sampled_from(["search", "maths"]),
    st.booleans(),
    st.sampled_from(["search", "python", "answer"]),
)
def test_what_is_written_is_read_back_exactly_or_refused(parts, q, style, spaced, kind):
    roadmap, keywords, analysis, think, act = parts
    block = Foresight(roadmap=roadmap, keywords=tuple(keywords), analysis=analysis, q=q)
    action = Action(kind=kind, text=act)

    def tidy(text: str) -> str:
        return " ".join(text.split()) if spaced else text.strip()

    for foresight in (block, None):
        try:
            text = render(foresight, think, action, style, spaced)
        except InputError:
            continue
        parsed = parse(text, style, foresight is not None)
        assert parsed.problems == ()
        assert parsed.think == tidy(think)
        call = style == "maths" and kind != "answer"
        assert parsed.action == Action(kind=kind, text=act if call else tidy(act))
        if foresight is not None:
            read = parsed.foresight
            assert read is not None and read.q == q
            assert read.roadmap == tidy(roadmap) and read.analysis == tidy(analysis)
            assert read.keywords == tuple(map(tidy, keywords))


WORD = st.text("abcxyz<>&;:0-9", min_size=1, max_size=6).filter(lambda w: ":" not in w)


@given(
    st.lists(WORD, min_size=1, max_size=6).map(" ".join),
    st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=5, unique=True),
    LEVEL,
    st.sampled_from(["search", "maths"]),
    st.booleans(),
)
def test_ordinary_parts_are_never_refused(words, keywords, q, style, spaced):
    block = Foresight(roadmap=words, keywords=tuple(keywords), analysis=words, q=q)
    for kind in ("search" if style == "search" else "python", "answer"):
        text = render(block, words, Action(kind=kind, text=words), style, spaced)
        assert parse(text, style).problems == ()
        if spaced:
            assert text == " ".join(text.split())


@pytest.mark.parametrize("tag", ["<think>", "</search>", "<information>", "<Keyword >"])
@pytest.mark.parametrize("where", ["roadmap", "keyword", "analysis", "think", "action"])
def test_a_tag_inside_a_part_is_refused(tag, where):
    parts = dict.fromkeys(["roadmap", "keyword", "analysis", "think", "action"], "word")
    parts[where] += f" {tag}"
    block = Foresight(
        roadmap=parts["roadmap"], keywords=(parts["keyword"],), analysis=parts["analysis"], q=0.5
    )
    with pytest.raises(InputError, match=r"docs/format\.md"):
        render(block, parts["think"], Action(kind="search", text=parts["action"]))


@pytest.mark.parametrize(
    "block",
    [
        Foresight(roadmap="r", keywords=("a, b",), analysis="a", q=0.5),
        Foresight(roadmap="r", keywords=(), analysis="a", q=0.5),
        Foresight(roadmap="r", keywords=("a", "A"), analysis="a", q=0.5),
        Foresight(roadmap="r", keywords=tuple("abcdef"), analysis="a", q=0.5),
        Foresight(roadmap=" ", keywords=("a",), analysis="a", q=0.5),
        Foresight(roadmap="r", keywords=("a",), analysis="a", q=None),
        Foresight(roadmap="r", keywords=("a",), analysis="a", q=0.5, q_text="60%"),
        Foresight(roadmap="r", keywords=("a",), analysis="a", q=0.5, q_text="0.5"),
        Foresight(roadmap="r", keywords=("a",), analysis="a", q=1.5),
    ],
)
def test_a_block_that_could_not_be_read_back_is_refused(block):
    with pytest.raises(InputError):
        render(block, "t", Action(kind="search", text="q"))


def test_word_level_text_is_the_documented_one():
    block = Foresight(
        roadmap="c mentor flint coast , c mill gone , a ; 2 links open",
        keywords=("flint", "coast"),
        analysis="seat stale , 0 spare",
        q=0.65,
        q_text="65%",
    )
    assert render(block, "c banok", Action(kind="search", text="employer banok"), spaced=True) == (
        "<imaginary> c mentor flint coast , c mill gone , a ; 2 links open </imaginary> "
        "<keyword> flint , coast </keyword> <analysis> seat stale , 0 spare </analysis> "
        "<confidence> 65 % </confidence> <think> c banok </think> "
        "<search> employer banok </search>"
    )


def test_tags_belong_to_the_span_they_open_or_close():
    block = Foresight(roadmap="r", keywords=("k",), analysis="a", q=0.5)
    text = render(block, "t", Action(kind="search", text="q"))
    spans = [(s.span, text[s.start : s.end]) for s in parse(text).spans]
    assert spans == [
        (Span.IMAGINARY, "<imaginary>r</imaginary>"),
        (Span.KEYWORD, "<keyword>k</keyword>"),
        (Span.ANALYSIS, "<analysis>a</analysis>"),
        (Span.CONFIDENCE, "<confidence>50%</confidence>"),
        (Span.THINK, "<think>t</think>"),
        (Span.ACTION, "<search>q</search>"),
    ]


def test_headings_belong_to_the_span_they_open_and_the_rest_of_the_thinking_is_thought():
    block = Foresight(roadmap="r", keywords=("k",), analysis="a", q=0.5)
    text = render(block, "t", Action(kind="answer", text="4"), "maths")
    spans = [(s.span, text[s.start : s.end]) for s in parse(text, "maths").spans]
    assert spans == [
        (Span.THINK, "<think>"),
        (Span.IMAGINARY, "**Imaginary**\nr"),
        (Span.KEYWORD, "**Keyword**\nk"),
        (Span.ANALYSIS, "**Analysis**\na"),
        (Span.CONFIDENCE, "**Confidence**\n50%"),
        (Span.THINK, "t\n</think>"),
        (Span.ACTION, "Answer: 4"),
    ]


def test_code_with_a_closing_tag_survives():
    action = Action(kind="python", text='print("</tool_call>")\nif 1 < 2: pass')
    text = render(None, "t", action, "maths")
    assert text.count("</tool_call>") == 1
    assert parse(text, "maths", expect_foresight=False).action == action
    plain = render(None, "t", Action(kind="python", text="1 < 2"), "maths")
    assert "1 < 2" in plain  # without a tag nothing is escaped
