"""Public maths sets as the stages see them: splits, copies, trajectories and imports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forethought.config import load_config
from forethought.data.benchmarks import read_benchmark
from forethought.domains import make_domain
from forethought.domains.maths import MathsDomain
from forethought.envs.base import call_tool, row_of
from forethought.errors import InputError
from forethought.hindsight.importers.build import ImportOptions
from forethought.hindsight.importers.write import Source
from forethought.hindsight.records import read_labelled
from forethought.jsonl import read_json
from forethought.stages import imported
from forethought.stages.context import open_run

FIXTURES = Path(__file__).parents[1] / "fixtures"
ALL = 10**6


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def problems(*numbers: int) -> list[dict[str, Any]]:
    """Problems without a common word but a few."""
    return [
        {"problem": f"Find $\\dfrac{{{n}}}{{{n + 1}}}$ of ${n * n}$ {chr(97 + n % 26) * 3}.",
         "answer": str(n)}
        for n in numbers
    ]  # fmt: skip


def overrides(*entries: str, **more: str) -> dict[str, str]:
    dotted = {key.replace("__", "."): value for key, value in more.items()}
    return {"data.source": "maths", "data.benchmarks": json.dumps(entries), **dotted}


def maths_domain(*entries: str, **more: str) -> MathsDomain:
    domain = make_domain(load_config("maths/gsm8k-smollm2", overrides(*entries, **more)))
    assert isinstance(domain, MathsDomain)
    return domain


@pytest.fixture
def entries(tmp_path: Path) -> tuple[str, ...]:
    train = write(tmp_path / "mix_train.jsonl", problems(*range(1, 41)))
    return (f"plain-maths:{train}", f"aime24:{FIXTURES / 'hub' / 'aime24.jsonl'}")


def test_rows_that_measure_do_not_train_and_a_tenth_of_the_others_validates(
    entries: tuple[str, ...],
) -> None:
    domain = maths_domain(*entries)
    splits = {name: {t.id for t in domain.tasks(name, 36)} for name in ("train", "val", "test")}
    assert [len(splits[name]) for name in ("train", "val", "test")] == [36, 4, 5]
    assert not splits["train"] & splits["val"]
    assert all(name.startswith("aime24/") for name in splits["test"])
    assert [task.split for task in domain.tasks("val", ALL)] == ["val"] * 4


def test_the_deal_is_a_function_of_the_seed(entries: tuple[str, ...]) -> None:
    one, again, other = (maths_domain(*entries, seed=seed) for seed in ("1", "1", "2"))
    assert one.tasks("val", ALL) == again.tasks("val", ALL) != other.tasks("val", ALL)
    assert one.tasks("train", 2, offset=36) == one.tasks("train", 2)
    assert len(one.tasks("test", 9, offset=3)) == 2


def test_development_rows_are_dealt_out(entries: tuple[str, ...], tmp_path: Path) -> None:
    dev = write(tmp_path / "more_dev.jsonl", [{**r, "id": f"d{i}"} for i, r in
                                              enumerate(problems(*range(60, 70)))])  # fmt: skip
    domain = maths_domain(*entries, f"plain-maths:{dev}")
    assert len({task.id for task in domain.tasks("train", ALL // 100)}) == 40
    assert len(domain.tasks("val", ALL)) == 5 and len(domain.tasks("test", ALL)) == 5 + 5


def test_a_copy_of_a_test_problem_trains_nothing(entries: tuple[str, ...], tmp_path: Path) -> None:
    rows = [row.question for row in read_benchmark("aime24", path=entries[1].partition(":")[2])]
    disguised = rows[0].replace("$", "").replace("(a,b)", "(a, b)")
    longer = f"{rows[1]} Please give the value of k + m."
    copies = [{"problem": text, "answer": "1"} for text in (disguised, longer)]
    train = write(tmp_path / "mix_train.jsonl", [*problems(*range(1, 21)), *copies])
    domain = maths_domain(f"plain-maths:{train}", entries[1])
    trained = {task.question for task in domain.tasks("train", 100)}
    trained |= {task.question for task in domain.tasks("val", 100)} - {disguised, longer}
    assert len(trained) == 20 and not trained & {disguised, longer}
    alone = maths_domain(f"plain-maths:{train}")
    both = [*alone.tasks("train", 20), *alone.tasks("val", 2)]
    assert {disguised, longer} <= {task.question for task in both}


def test_annotated_rows_give_trajectories_and_others_say_where_to_get_them(
    tmp_path: Path, entries: tuple[str, ...]
) -> None:
    train = tmp_path / "gsm8k_train.jsonl"
    train.write_bytes((FIXTURES / "gsm8k.jsonl").read_bytes())
    domain = maths_domain(*entries, f"gsm8k:{train}")
    made = domain.trajectories(ALL, None)
    assert {each.success for each in made} == {True, False}
    known = {task.id for task in domain.tasks("train", 100)}
    assert {each.task.id for each in made} <= known
    assert all(each.task.id.startswith("gsm8k/train/") for each in made)
    assert all(len(each.steps) <= domain.data.max_annotations + 1 for each in made)
    assert made == maths_domain(*entries, f"gsm8k:{train}").trajectories(ALL, None)
    with pytest.raises(InputError, match=r"no solution with annotated.*teacher's.*--import"):
        maths_domain(*entries).trajectories(3, None)
    assert maths_domain(*entries).trajectories(0, None) == []


def test_the_policy_has_a_python_tool_and_is_not_told_the_solution(tmp_path: Path) -> None:
    train = tmp_path / "gsm8k_train.jsonl"
    train.write_bytes((FIXTURES / "gsm8k.jsonl").read_bytes())
    domain = maths_domain(f"gsm8k:{train}")
    task = domain.tasks("train", 1)[0]
    assert "solution" in task.columns and not {"solution", "answers"} & set(row_of(task))
    env = domain.make_env()
    env.reset(**row_of(task))
    assert call_tool(env, "python", "print(6 * 7)") == "42"


def test_sets_of_questions_are_no_problems(entries: tuple[str, ...]) -> None:
    qa = f"hotpotqa:{FIXTURES / 'search_qa' / 'hotpotqa.jsonl.gz'}"
    domain = maths_domain(qa)
    with pytest.raises(InputError, match="no row of this split"):
        domain.tasks("train", 1)
    with pytest.raises(InputError, match="in two of"):
        maths_domain(entries[0], entries[0]).tasks("train", 1)
    with pytest.raises(InputError, match='"maths" without'):
        load_config("maths/gsm8k-smollm2", {"data.source": "maths"})


PROGRAM = "```python\nprint(1)\n```\n```output\n1\n```\nIt is $\\boxed{1}$."


def test_recorded_solutions_of_test_problems_never_train(
    entries: tuple[str, ...], tmp_path: Path
) -> None:
    tests = [row.question for row in read_benchmark("aime24", path=entries[1].partition(":")[2])]
    asked = [
        *(text.replace("$", "") for text in tests),
        *(f"{text}\nPlease reason step by step and box it: \\boxed{{}}." for text in tests),
        *(row["problem"] for row in problems(1, 2, 3)),
    ]  # fmt: skip
    file = write(
        tmp_path / "tora.jsonl", [{"question": q, "code": [PROGRAM], "gt": "1"} for q in asked]
    )
    context = open_run(
        load_config("maths/gsm8k-smollm2", overrides(*entries)), tmp_path / "run", resume=False
    )
    held_out = {task.question for task in context.domain.tasks("val", ALL)}
    source = Source(file=str(file), form="tora", options=ImportOptions(kind="maths"))
    imported.run(context, source)
    account = read_json(context.stage_dir("prepare") / "import.json")
    ours = {row["problem"] for row in problems(1, 2, 3)} - held_out
    assert ours and account["left_out"] == {"contaminated": len(asked) - len(ours)}
    kept = read_labelled(context.stage_dir("prepare") / "imported.jsonl")
    assert {item.trajectory.task.question for item in kept} == ours
    assert {each["why"] for each in account["contaminated"]} >= {"question"}
