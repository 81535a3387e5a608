"""tasks.jsonl: what is read, what is refused and with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.data.tasks import load_tasks, save_tasks
from forethought.errors import InputError
from forethought.types import Task

GOOD: dict[str, Any] = {"id": "a", "question": "Who?", "answers": ["Ada"], "kind": "qa"}
words = st.text(min_size=1, max_size=10).filter(lambda text: text.strip() != "")


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_a_row_becomes_a_task_and_further_columns_are_kept(tmp_path: Path) -> None:
    row = {**GOOD, "budget": 3, "world_seed": 9, "split": "test", "note": None}
    (task,) = load_tasks(write(tmp_path / "t.jsonl", row))
    assert task == Task(
        id="a",
        question="Who?",
        answers=("Ada",),
        kind="qa",
        split="test",
        world_seed=9,
        columns={"budget": 3, "note": None},
    )


@given(
    st.lists(
        st.builds(
            Task,
            id=words,
            question=words,
            answers=st.lists(words, min_size=1, max_size=3).map(tuple),
            kind=st.sampled_from(["qa", "maths"]),
            split=st.sampled_from(["train", "val", "test"]),
            world_seed=st.none() | st.integers(0, 10**6),
            columns=st.dictionaries(st.sampled_from(["budget", "x"]), st.integers(), max_size=2),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda task: task.id,
    )
)
def test_saved_tasks_are_loaded_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, tasks: list[Task]
) -> None:
    path = tmp_path_factory.mktemp("tasks") / "t.jsonl"
    assert save_tasks(path, tasks) == len(tasks)
    assert load_tasks(path) == tasks


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": ""}, 'got id = "".*not blank'),
        ({"id": 3}, "got id = 3"),
        ({"question": "  "}, "question"),
        ({"question": None}, "question = null"),
        ({"answers": []}, "one or more texts"),
        ({"answers": "Ada"}, "answers"),
        ({"answers": ["Ada", 3]}, "one or more texts"),
        ({"answers": [" "]}, "one or more texts"),
        ({"kind": "poetry"}, 'kind = "poetry".*qa, maths'),
        ({"split": "dev"}, "train, val, test"),
        ({"world_seed": "9"}, "whole number"),
        ({"world_seed": True}, "whole number"),
        ({"self": 1}, "another name"),
    ],
)
def test_a_malformed_field_is_named_with_file_and_line(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "t.jsonl", {**GOOD, "id": "first"}, {**GOOD, **change})
    with pytest.raises(InputError, match=words) as caught:
        load_tasks(path)
    assert str(caught.value).startswith(f"{path}:2: got ") and "Next: " in str(caught.value)


@pytest.mark.parametrize("field", ["id", "question", "answers", "kind"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    row = {key: value for key, value in GOOD.items() if key != field}
    with pytest.raises(InputError, match=f'"{field}"'):
        load_tasks(write(tmp_path / "t.jsonl", row))


def test_an_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", GOOD, {**GOOD, "id": "b"}, GOOD)
    with pytest.raises(InputError, match=r":3: got id 'a' again \(first in line 1\)"):
        load_tasks(path)


def test_no_rows_no_file_and_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        load_tasks(write(tmp_path / "empty.jsonl"))
    with pytest.raises(InputError, match="no such file"):
        load_tasks(tmp_path / "absent.jsonl")
    (tmp_path / "bad.jsonl").write_text(json.dumps(GOOD) + "\n{oops\n")
    with pytest.raises(InputError, match=r"bad\.jsonl:2"):
        load_tasks(tmp_path / "bad.jsonl")
