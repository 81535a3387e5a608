"""Recorded attempts of other systems: what each format says, and laws of the account of a file."""

from __future__ import annotations

import copy
import gzip
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forethought.errors import InputError
from forethought.foresight.block import parse, render
from forethought.foresight.elements import REPLY_NAMES, scan
from forethought.hindsight.importers import FORMATS
from forethought.hindsight.importers.attempt import REASONS
from forethought.hindsight.importers.build import ImportOptions, style_of
from forethought.hindsight.importers.file import import_file, read_tests, told
from forethought.hindsight.importers.write import Source, write_import
from forethought.hindsight.records import read_labelled
from forethought.hindsight.trajectory import Trajectory
from forethought.jsonl import read_json
from forethought.rollout.render import TextFormat
from forethought.types import Foresight, JsonRow

FIXTURES = Path(__file__).parents[1] / "fixtures"
BLOCK = Foresight(roadmap="look , then say", keywords=("a year",), analysis="open", q=0.35)


def fixture(form: str) -> Path:
    return FIXTURES / "import" / f"{form}.jsonl"


def rows_of(form: str) -> list[JsonRow]:
    return [json.loads(line) for line in fixture(form).read_text("utf-8").splitlines()]


def imported(
    lines: Sequence[Any], form: str, options: ImportOptions | None = None, tests: Any = ()
) -> tuple[list[Trajectory], JsonRow]:
    """Imports rows, or lines of text as they are, from a file of their own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        texts = (each if isinstance(each, str) else json.dumps(each) for each in lines)
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return import_file(str(file), form, options or ImportOptions(), tests)


def one(row: JsonRow, form: str, options: ImportOptions | None = None) -> Trajectory | str:
    """The trajectory of a row, or the reason why there is none."""
    found, account = imported([row], form, options)
    return found[0] if found else next(iter(account["left_out"]))


@pytest.mark.parametrize("form", FORMATS)
def test_every_row_of_a_fixture_is_imported_or_left_out_as_it_says(form: str) -> None:
    found, account = import_file(str(fixture(form)), form, ImportOptions())
    got = {task.task.id.rpartition("/")[2]: "imported" for task in found}
    for reason, lines in account["lines"].items():
        got |= dict.fromkeys(map(str, lines), reason)
    assert got == {str(n): row["expect"] for n, row in enumerate(rows_of(form), start=1)}
    assert len(rows_of(form)) <= 10 and found


def test_a_react_chat_has_thought_action_and_observation_of_each_turn() -> None:
    found = one(rows_of("react")[0], "react")
    assert isinstance(found, Trajectory)
    assert [(s.think, s.action.kind, s.action.text, s.observation) for s in found.steps] == [
        (
            "I need the town first.",
            "search",
            "Orla Venn birthplace",
            "Orla Venn was born in Tarnhof.",
        ),
        (
            "Now the lake.",
            "search",
            "lake east of Tarnhof",
            "East of Tarnhof lies the Blue Mere.",
        ),
        ("It is the Blue Mere.", "answer", "Blue Mere", ""),
    ]
    assert found.success and found.task.answers == ("Blue Mere",), "accepted by the recording"
    assert found.task.question == "Which lake lies east of the town where Orla Venn was born?"


def test_of_several_questions_in_a_react_text_the_last_is_asked() -> None:
    found = one(rows_of("react")[1], "react")
    assert isinstance(found, Trajectory)
    assert found.task.question == "In which year was the bridge of Sollmark built?"
    assert [step.action.text for step in found.steps] == ["bridge of Sollmark", "1874"]


def test_names_of_react_tools_are_taken_in_lower_case() -> None:
    text = "Question: Who?\nThought: a\nAction: Lookup[page]\nObservation: (Result 1 / 2) x\n"
    found = one({"text": text + "Thought: b\nAction: FINISH[Ida]", "gold": "Ida"}, "react")
    assert isinstance(found, Trajectory)
    assert [step.action.kind for step in found.steps] == ["lookup", "answer"]
    assert found.steps[0].observation == "(Result 1 / 2) x"
    written_is_read_back(found)


def test_calls_saved_as_json_texts_are_calls() -> None:
    found = one(rows_of("verifiers")[0], "verifiers")
    assert isinstance(found, Trajectory)
    assert found.steps[0].action.text == "light of Skar"
    assert found.steps[0].think == "Call search.", "no thought was recorded"


def test_arguments_that_are_not_one_text_are_kept_as_json() -> None:
    row = copy.deepcopy(rows_of("verifiers")[2])
    call = row["completion"][0]["tool_calls"][0]["function"]
    call |= {"name": "read", "arguments": json.dumps({"page": "skar", "part": 2})}
    found = one(row, "verifiers")
    assert isinstance(found, Trajectory)
    assert json.loads(found.steps[0].action.text) == {"page": "skar", "part": 2}
    call["name"] = "search"
    assert one(row, "verifiers") == "bad_arguments"


def test_a_recorded_verdict_stands_and_the_grader_is_asked_where_there_is_none() -> None:
    row = rows_of("verifiers")[0]  # a sentence that holds the answer, which exact match refuses
    _, account = imported([row], "verifiers")
    assert account["success"] == 1 and account["verdicts"]["grader_differs"] == 1
    _, account = imported([{**row, "reward": None}], "verifiers")
    assert account["success"] == 0 and account["verdicts"]["graded"] == 1
    partial = {**row, "reward": 0.7}
    assert imported([partial], "verifiers")[1]["success"] == 0, "0.7 says nothing by itself"
    options = ImportOptions(success_at=0.5)
    assert imported([partial], "verifiers", options)[1]["success"] == 1
    assert imported([row], "verifiers", ImportOptions(success_at=1.5))[1]["success"] == 0


def test_tools_are_those_of_the_environment_by_its_names() -> None:
    row = rows_of("openai")[0]
    row = json.loads(json.dumps(row).replace('"name": "search"', '"name": "look_up"'))
    search = frozenset({"search"})
    assert one(row, "openai", ImportOptions(tools=search)) == "unknown_tool"
    _, account = imported([row], "openai", ImportOptions(tools=search))
    assert account["unknown_tools"] == {"look_up": 1}
    found = one(row, "openai", ImportOptions(tools=search, rename={"look_up": "search"}))
    assert isinstance(found, Trajectory) and found.steps[0].action.kind == "search"


def test_a_tool_that_ends_the_attempt_can_be_named_answer() -> None:
    row = copy.deepcopy(rows_of("openai")[0])
    end = copy.deepcopy(row["messages"][2])
    end["tool_calls"][0]["function"] = {"name": "submit", "arguments": '{"text": "Tove Lind"}'}
    row["messages"][-1] = end
    assert one(row, "openai") == "unfinished"
    found = one(row, "openai", ImportOptions(rename={"submit": "answer"}))
    assert isinstance(found, Trajectory) and found.steps[-1].action.text == "Tove Lind"


def test_thoughts_can_be_asked_for() -> None:
    options = ImportOptions(need_thoughts=True)
    assert one(rows_of("verifiers")[0], "verifiers", options) == "no_thought"
    assert isinstance(one(rows_of("react")[0], "react", options), Trajectory)


def test_gsm8k_answers_stand_behind_their_mark() -> None:
    row = {**rows_of("tora")[0], "gt": None, "answer": "4 * 6 = <<4*6=24>>24\n#### 24"}
    found = one(row, "tora")
    assert isinstance(found, Trajectory)
    assert found.success and found.task.answers == ("24",) and found.task.kind == "maths"


@pytest.mark.parametrize("split", ["dev", "test", "validation", "holdout", "", 3, ["train"]])
@pytest.mark.parametrize("inside", [None, "extra_info", "metadata", "info", "task"])
def test_a_row_of_another_split_than_train_never_trains(split: Any, inside: str | None) -> None:
    row = rows_of("react")[0]
    assert isinstance(one({**row, "split": "train"}, "react"), Trajectory)
    held = {"split": split} if inside is None else {inside: {"split": split}}
    assert one({**row, **held}, "react") == "held_out"


def benchmark() -> list[JsonRow]:
    with gzip.open(FIXTURES / "search_qa" / "hotpotqa.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def answered(question: str, answer: str, form: str) -> JsonRow:
    """An attempt at a question, right, in a format."""
    if form == "react":
        text = f"Question: {question}\nThought: I look.\nAction: Search[it]\nObservation: Here.\n"
        return {"text": text + f"Thought: So.\nAction: Finish[{answer}]", "answer": answer}
    text = f"I look. <search>it</search><information>x</information> <answer>{answer}</answer>"
    if form == "search-r1":
        return {"question": question, "response": text, "answer": answer}
    prompt = [{"role": "user", "content": f"Use the tools well.\n\nQuestion: {question}"}]
    completion = [{"role": "assistant", "content": text}]
    return {"prompt": prompt, "completion": completion, "answer": answer}


@pytest.mark.parametrize("form", ["react", "search-r1", "trl", "verifiers"])
def test_attempts_at_test_questions_are_refused_and_named(form: str, tmp_path: Path) -> None:
    rows = benchmark()
    tests = [row for row in rows if row["split"] != "train"]
    file = tmp_path / "tests.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in tests), encoding="utf-8")
    attempts = [answered(row["question"], row["answer"], form) for row in rows]
    found, account = imported(attempts, form, tests=read_tests([str(file)]))
    asked = " ".join(each.task.question for each in found)
    assert len(found) == len(rows) - len(tests) == account["imported"] == 10
    assert not any(row["question"] in asked for row in tests)
    assert account["left_out"] == {"contaminated": len(tests)}
    named = {hit["test_id"] for hit in account["contaminated"]}
    assert named == {row["_id"] for row in tests}
    assert {hit["test_file"] for hit in account["contaminated"]} == {str(file)}


def test_a_question_of_few_words_is_found_behind_its_instructions(tmp_path: Path) -> None:
    file = tmp_path / "tests.jsonl"
    file.write_text('{"id": "t", "question": "Who wrote Winter Ledger?"}\n', encoding="utf-8")
    row = answered("Who wrote Winter Ledger?", "Piet Orr", "trl")
    _, account = imported([row], "trl", tests=read_tests([str(file)]))
    assert account["left_out"] == {"contaminated": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        "Thought: x",
        "\nAction: search[a]",
        "\nObservation: b",
        "<search>",
        "</search>",
        "<answer>b</answer>",
        "<|begin_of_query|>",
        "```python\nprint(1)\n```\n",
        "```output\n1\n```\n",
        "\\boxed{2}",
        "</think>",
        "Question: ",
        "<information>",
        "</information>",
        "### Instruction:\n",
    ]
)
VALUES = JSON | st.lists(PIECES, max_size=8).map("".join)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a row."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    return [path, *(way for key, each in inside for way in places(each, (*path, key)))]


@st.composite
def broken_rows(draw: Any, form: str) -> str:
    """A row of a fixture with something else in up to two places of it, or any JSON at all."""
    row = copy.deepcopy(draw(st.sampled_from(rows_of(form))))
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(places(row)))
        new = draw(VALUES)
        if not path:
            return json.dumps(new)
        inner = row
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = new
    return json.dumps(row)


LINES = st.sampled_from(
    ["{", "[1]", "null", '{"a": NaN}', '"\\ud800"', "\u00e9", '{"messages": 3}']
)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=150)
@given(data=st.data())
def test_the_account_adds_up_and_reading_never_raises(form: str, data: st.DataObject) -> None:
    lines = data.draw(st.lists(LINES | broken_rows(form), min_size=1, max_size=8))
    found, account = imported(lines, form)
    assert account["read"] == len(lines)
    assert account["read"] == account["imported"] + sum(account["left_out"].values())
    assert account["imported"] == len(found) <= len(lines)
    assert set(account["left_out"]) <= set(REASONS)
    assert account["success"] == sum(each.success for each in found)
    assert sum(1 for _ in told(account)) >= 1 + len(account["left_out"])
    assert imported(lines, form)[0] == found, "a function of the file"
    for each in found:
        written_is_read_back(each)


def written_is_read_back(found: Trajectory) -> None:
    """Thought, action and observation of every step, written in our format."""
    style: Any = style_of(found.steps)
    layout = TextFormat(name="any", style=style)
    assert found.task.split == "train" and found.task.answers
    assert found.steps[-1].action.kind == "answer"
    for step in found.steps:
        for block in (None, BLOCK):
            text = render(block, step.think, step.action, style=style)
            read = parse(text, style, expect_foresight=block is not None)
            assert read.format_ok and (read.think, read.action) == (step.think, step.action)
            assert (read.foresight is None) == (block is None)
        if step.action.kind != "answer":
            (reply,) = scan(layout.wrap_observation(step.observation), REPLY_NAMES).elements
            assert reply.text == step.observation


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_imported_from_fixtures_is_read_back_from_our_format(form: str) -> None:
    for each in import_file(str(fixture(form)), form, ImportOptions())[0]:
        written_is_read_back(each)


def test_the_order_of_rows_changes_nothing_but_which_of_two_equal_ones_stays() -> None:
    rows = rows_of("react")
    mixed = random.Random(3).sample(rows, len(rows))
    one_way, other_way = imported(rows, "react"), imported(mixed, "react")
    assert one_way[1]["left_out"] == other_way[1]["left_out"]
    assert {t.task.question for t in one_way[0]} == {t.task.question for t in other_way[0]}


def test_files_on_disk_hold_the_account_and_the_trajectories(tmp_path: Path) -> None:
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(fixture("react").read_bytes()))
    source = Source(file=str(packed), form="react", options=ImportOptions())
    items, account = write_import(tmp_path / "out", source)
    assert read_json(tmp_path / "out" / "import.json") == account
    assert read_labelled(tmp_path / "out" / "imported.jsonl") == items
    assert {label.source for item in items for label in item.labels} == {"outcome"}
    for item in items:
        assert {label.value for label in item.labels} == {float(item.trajectory.success)}


def test_an_empty_file_and_an_unknown_format_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n")
    with pytest.raises(InputError, match="no rows"):
        import_file(str(file), "react", ImportOptions())
    with pytest.raises(InputError, match="search-r1"):
        import_file(str(file), "search", ImportOptions())


def test_every_reason_is_documented() -> None:
    page = (FIXTURES.parents[1] / "docs" / "import.md").read_text("utf-8")
    for reason, meaning in REASONS.items():
        assert f"| `{reason}` | {meaning} |" in page
    for form in FORMATS:
        assert f"| `{form}` |" in page
