"""Public maths sets: each schema is read, answers have one spelling, what measures never trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.data.benchmarks import BENCHMARKS, find_benchmark, read_benchmark
from forethought.data.gsm8k import load_gsm8k
from forethought.data.maths_rows import answer_text
from forethought.data.tasks import load_tasks, save_tasks
from forethought.errors import InputError
from forethought.rewards.grading import grade
from forethought.types import Task

FIXTURES = Path(__file__).parents[1] / "fixtures"
MATHS = [name for name, benchmark in BENCHMARKS.items() if benchmark.kind == "maths"]
MEASURING = ("math500", "aime24", "aime25", "aime26", "amc23", "gsm-hard")


def recorded(name: str, **asked: Any) -> list[Task]:
    return list(read_benchmark(name, path=FIXTURES / "hub" / f"{name}.jsonl", **asked))


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def one(tmp_path: Path, name: str, row: dict[str, Any], file: str = "rows.jsonl") -> Task:
    (task,) = read_benchmark(name, path=write(tmp_path / file, row))
    return task


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("gsm8k", ["260", "45", "13", "125", "7"]),
        ("math", ["-\\frac{1}{8}", "\\frac{10}{11}", "-5", "\\text{neither}", "499"]),
        ("math500", ["\\frac{14}{3}", "3"]),
        ("aime24", ["25", "28", "75", "80", "42"]),
        ("aime25", ["1", "80", "400", "10", "25"]),
        ("aime26", ["112", "129", "48", "77", "40"]),
        ("amc23", ["9", "12", "6", "7", "-5"]),
        ("svamp", ["51", "1", "17", "22", "2"]),
        ("gsm-hard", ["4513538", "854808", "1875000", "4938.25", "-7654306"]),
    ],
)
def test_answers_have_their_plainest_spelling(name: str, answers: list[str]) -> None:
    tasks = recorded(name)
    assert [task.answers for task in tasks][: len(answers)] == [(answer,) for answer in answers]
    assert all(grade("maths", task.answers[0], task.answers).correct for task in tasks)


def test_the_box_of_a_solution_is_the_answer_of_a_row_without_one(tmp_path: Path) -> None:
    for task, (_, row) in zip(recorded("math"), rows_of("math"), strict=True):
        assert f"\\boxed{{{task.answers[0]}}}" in row["solution"]
    row = {"problem": "P?", "solution": "First \\boxed{\\frac{1}{2}}, then \\boxed{\\{3\\}}."}
    assert one(tmp_path, "math", row).answers == ("\\{3\\}",)
    assert one(tmp_path, "math", {**row, "answer": "4"}).answers == ("4",)
    with pytest.raises(InputError, match="1 rows without an answer"):
        one(tmp_path, "math", {"problem": "P?", "solution": "There is none: \\boxed{}."})


def rows_of(name: str) -> list[tuple[int, dict[str, Any]]]:
    text = (FIXTURES / "hub" / f"{name}.jsonl").read_text("utf-8")
    return [(i, json.loads(line)) for i, line in enumerate(text.splitlines(), start=1)]


def test_groups_and_levels_are_those_of_the_set() -> None:
    assert {task.columns["level"] for task in recorded("math")} <= {1, 2, 3, 4, 5}
    for name in ("math", "math500"):
        assert [task.columns["group"] for task in recorded(name)] == [
            row.get("type", row.get("subject")) for _, row in rows_of(name)
        ]
    assert recorded("svamp")[0].columns["group"] == "Subtraction"
    assert recorded("math500")[0].id == "math500/test/algebra/2584.json"


def test_gsm8k_is_the_set_that_its_own_loader_reads(tmp_path: Path) -> None:
    path = FIXTURES / "gsm8k.jsonl"
    ours = list(read_benchmark("gsm8k", path=path, split="train"))
    theirs = load_gsm8k("train", path)
    assert [(t.id, t.question, t.answers, t.split) for t in ours] == [
        (r.task.id, r.task.question, r.task.answers, r.task.split) for r in theirs
    ]
    assert all("<<" in task.columns["solution"] for task in ours)


def test_the_two_parts_of_svamp_are_one_problem(tmp_path: Path) -> None:
    row = {"Body": "Two cows and 3 hens", "Question": "How many?", "Answer": 5.0, "ID": "c"}
    assert one(tmp_path, "svamp", row).question == "Two cows and 3 hens. How many?"
    row["Body"] = "Two cows, "
    assert one(tmp_path, "svamp", row).question == "Two cows, How many?"


@given(st.integers(-(10**15), 10**15))
def test_a_whole_number_is_printed_as_one_whatever_it_was(number: int) -> None:
    assert answer_text(float(number)) == answer_text(number) == str(number)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_printed_number_is_that_number(number: float) -> None:
    text = answer_text(number)
    assert float(text) == number and "e" not in text and not text.endswith((".", ".0"))


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("aime25", {"problem": "P?", "answer": "1000"}, "0 to 999"),
        ("aime25", {"problem": "P?", "answer": "\\frac{1}{2}"}, "0 to 999"),
        ("aime25", {"Problem": "P?", "Solution": "So 5."}, 'an "answer", or a "solution"'),
        ("amc23", {"question": "P?", "answer": "B"}, "a number"),
        ("gsm-hard", {"input": "P?", "code": "def"}, 'an "answer"'),
        ("svamp", {"Question": "P?", "Answer": 3}, 'a text "Body"'),
        ("svamp", {"Body": " ", "Question": "P?", "Answer": 3}, "Body = ' '"),
        ("math", {"problem": "P?", "answer": {"a": 1}}, "a text or a number"),
        ("math", {"answer": "3"}, 'a text "problem"'),
        ("plain-maths", {"question": "P?", "options": ["A)1"], "correct": "A"}, "not the letter"),
        ("plain-maths", {"nums": [1, 2], "target": 3}, 'a text "problem"'),
        ("plain-maths", {"problem": "P?", "answer": True}, "a text or a number"),
    ],
)
def test_a_row_of_another_form_is_refused_with_its_reason(
    tmp_path: Path, name: str, row: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        one(tmp_path, name, row)
    assert str(caught.value).startswith(f"{tmp_path / 'rows.jsonl'}:1: got ")


@pytest.mark.parametrize(
    ("row", "question", "answers"),
    [
        ({"problem": "P?", "answer": "3"}, "P?", ("3",)),
        ({"question": "P?", "answers": ["3", "3", " ", "6/2"]}, "P?", ("3", "6/2")),
        ({"input": "P?", "target": 43.0}, "P?", ("43",)),
        ({"problem": "P?", "context": "Let x.", "answer": ["$2$"]}, "Let x.\nP?", ("$2$",)),
        ({"problem": "P?", "context": None, "answer": 11.5}, "P?", ("11.5",)),
    ],
)  # fmt: skip
def test_a_plain_file_is_read_by_the_usual_names(
    tmp_path: Path, row: dict[str, Any], question: str, answers: tuple[str, ...]
) -> None:
    task = one(tmp_path, "plain-maths", row)
    assert (task.question, task.answers, task.kind, task.split) == (
        question,
        answers,
        "maths",
        "test",
    )


@pytest.mark.parametrize(
    ("row", "own"),
    [
        ({"ID": "2024-II-4", "Problem": "P?", "Solution": "S.", "Answer": 33}, "2024-II-4"),
        ({"question": "P?", "answer": "033"}, "test/0"),
        ({"problem_idx": 7, "problem": "P?", "answer": 33, "problem_type": ["Algebra"]}, "7"),
        ({"id": 0, "problem": "P?", "solution": "\\boxed{033}", "url": "u", "year": "2024"}, "0"),
    ],
)
def test_other_copies_of_an_exam_are_read_from_files(
    tmp_path: Path, row: dict[str, Any], own: str
) -> None:
    task = one(tmp_path, "aime24", row)
    assert (task.id, task.question, task.answers) == (f"aime24/{own}", "P?", ("33",))


@pytest.mark.parametrize("name", MEASURING)
def test_what_measures_cannot_be_made_to_train(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="what only measures must not train"):
        recorded(name, split="train")
    (_, first), *_ = rows_of(name)
    with pytest.raises(InputError, match="what only measures must not train"):
        one(tmp_path, name, {**first, "split": "train"})
    # `train` is what the hub calls the only split of some of them.
    published = BENCHMARKS[name].splits["test"]
    assert one(tmp_path, name, first, f"{published}.jsonl").split == "test"
    save_tasks(tmp_path / "tasks.jsonl", recorded(name))
    assert {task.split for task in load_tasks(tmp_path / "tasks.jsonl")} == {"test"}


def test_a_training_file_of_a_set_without_one_does_not_train(tmp_path: Path) -> None:
    (_, first), *_ = rows_of("math500")
    with pytest.raises(InputError, match="must not train"):
        one(tmp_path, "math500", first, "train.jsonl")


@pytest.mark.parametrize("name", MATHS)
def test_tasks_are_read_back_from_their_file(name: str, tmp_path: Path) -> None:
    if name == "plain-maths":
        tasks = [one(tmp_path, name, {"problem": "P?", "answer": "3"})]
    else:
        tasks = recorded(name)
    save_tasks(tmp_path / "tasks.jsonl", tasks)
    assert list(read_benchmark(name, path=tmp_path / "tasks.jsonl")) == tasks


@pytest.mark.parametrize(
    ("file", "name", "split"),
    [
        ("math/math_train.jsonl.gz", "math", "train"),
        ("math/aime24.jsonl.gz", "aime24", "test"),
        ("aime24_train.jsonl", "aime24", "test"),
        ("amc23/test.json", "amc23", "test"),
    ],
)
def test_a_local_copy_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, name: str, split: str
) -> None:
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    assert find_benchmark(name, split) is None
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert find_benchmark(name, split) == path


def test_a_set_with_two_splits_is_not_found_by_its_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    (tmp_path / "math.jsonl").touch()
    assert find_benchmark("math", "train") is None
