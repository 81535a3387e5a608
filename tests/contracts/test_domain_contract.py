"""What every domain promises to the stages. A new one adds a case.

The sources that are files hold planted repeats: questions that two splits ask.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from forethought.config import load_config
from forethought.data.decontaminate import question_key, tokens_of
from forethought.domains import Domain, make_domain
from forethought.domains.atlas import atlas_tokenizer
from forethought.domains.files import FileSearchDomain
from forethought.domains.workbook import workbook_tokenizer
from forethought.envs import env_class
from forethought.envs.base import HIDDEN_COLUMNS, call_tool, check_class, row_of
from forethought.errors import InputError
from forethought.foresight.block import parse, render
from forethought.foresight.grounding import contains
from forethought.hindsight.steps import leaks_of
from forethought.hindsight.trajectory import Trajectory
from forethought.rewards.grading import grade
from forethought.schema import DataConfig
from forethought.stages.labels import as_rollout
from forethought.tools.retrievers import SearchSource
from forethought.types import Task
from tests.domains.qa_builders import ENTRIES, overrides
from tests.training.training_builders import byte_tokenizer

SPLITS = ("train", "val", "test")
GSM8K = Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl"


@dataclass(frozen=True)
class Case:
    """A source, and what is particular about it."""

    make: Callable[..., Domain]  # a fresh one; a seed may be named
    tokenizer: Callable[[], Any] = lambda: None  # real text needs none
    num: int = 60  # tasks of a split that are looked at
    attempts: int = 200  # trajectories; 0 = the source has none
    replays: int = 200  # those of them that are played again
    has_worlds: bool = False  # a question is about the pages of its world
    refused: float = 0.0  # share of blocks that the leak filters may refuse


def configured(name: str, changed: dict[str, str], seed: int | None = None) -> Domain:
    more = {} if seed is None else {"seed": str(seed)}
    return make_domain(load_config(name, changed | more))


def lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def gsm8k_files(folder: Path) -> None:
    """The shipped rows, of which the last are for validation; repeats in other spelling."""
    rows = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    again = {**rows[-1], "question": rows[-1]["question"].upper()}
    tests = [{**row, "question": f"Again: {row['question']}"} for row in rows]
    lines(folder / "gsm8k_train.jsonl", [again, *rows])
    lines(folder / "gsm8k_test.jsonl", [*tests, rows[3], rows[-2]])


def maths_sets(folder: Path) -> dict[str, str]:
    """The shipped rows, two of which a test set has, too, and what development rows ask twice."""
    rows = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    lines(folder / "sums_train.jsonl", rows)
    lines(folder / "sums_test.jsonl", [rows[3], rows[-2]])
    dev = [
        {"question": f"What is {n // 2} plus {n // 2}?", "answer": str(n // 2 * 2), "split": "val"}
        for n in range(12)
    ]
    lines(folder / "sums.jsonl", dev)
    names = ("gsm8k:sums_train", "gsm8k:sums_test", "plain-maths:sums")
    entries = [name.replace(":", f":{folder}/") + ".jsonl" for name in names]
    return {"data.source": "maths", "data.benchmarks": json.dumps(entries)}


def qa_rows(folder: Path) -> dict[str, str]:
    """The shipped rows, and questions that several splits ask."""
    splits = ("train", "val", "test", "train", *["val"] * 12)
    asked = (*["Who was the caf\u00e9 for?"] * 3, *(f"Who was it in {n // 4}?" for n in range(13)))
    rows = [
        {"id": f"r{n}", "question": question, "answer": "Somebody", "split": split}
        for n, (question, split) in enumerate(zip(asked, splits, strict=True))
    ]
    rows.append({**rows[1], "id": "other", "question": "who was cafe for", "split": "train"})
    return overrides(*ENTRIES, f"plain:{lines(folder / 'rows.jsonl', rows)}")


def files_of(folder: Path, make: Callable[..., Domain]) -> Callable[..., Domain]:
    """Tasks of another domain as a file of tasks, searched in a page of their own."""
    rows = [
        {**task.columns, "id": task.id, "question": task.question, "kind": task.kind}
        | {"answers": list(task.answers), "split": task.split}
        for split in SPLITS
        for task in {task.id: task for task in make().tasks(split, 10)}.values()
    ]
    tasks = lines(folder / "tasks.jsonl", rows)
    page = {"id": "p", "title": "Film", "text": "There is nothing about a film here."}
    corpus = lines(folder / "corpus.jsonl", [page])

    def made(seed: int | None = None) -> Domain:
        config = load_config("demo/atlas", {} if seed is None else {"seed": str(seed)})
        return FileSearchDomain.from_files(config, str(tasks), SearchSource(corpus=str(corpus)))

    return made


def cases(folder: Path) -> dict[str, Case]:
    changed = qa_rows(folder)

    def qa(seed: int | None = None) -> Domain:
        return configured("search/multihop-smollm2", changed, seed)

    return {
        "atlas": Case(
            make=lambda seed=None: configured("demo/atlas", {}, seed),
            tokenizer=atlas_tokenizer,
            num=300,
            replays=50,
            has_worlds=True,
        ),
        "workbook": Case(
            make=lambda seed=None: configured("demo/workbook", {}, seed),
            tokenizer=workbook_tokenizer,
            num=300,
            replays=50,
            refused=0.002,  # a count of operations may be the answer by chance
        ),
        "gsm8k": Case(
            make=lambda seed=None: configured("maths/gsm8k-smollm2", {}, seed),
            replays=8,  # each call is a process
        ),
        "maths": Case(
            make=lambda seed=None: configured("maths/gsm8k-smollm2", maths_sets(folder), seed),
            replays=8,
        ),
        "qa": Case(make=qa),
        "files": Case(make=files_of(folder, qa), attempts=0),
    }


KINDS = ("atlas", "workbook", "gsm8k", "maths", "qa", "files")


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("sources")
    gsm8k_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORETHOUGHT_DATA", str(folder))
        yield cases(folder)[request.param]


@pytest.fixture(scope="module")
def domain(case: Case) -> Domain:
    return case.make()


@pytest.fixture(scope="module")
def attempts(case: Case, domain: Domain) -> list[Trajectory]:
    return domain.trajectories(case.attempts, case.tokenizer())


@pytest.fixture(scope="module")
def tasks(case: Case, domain: Domain) -> dict[str, list[Task]]:
    return {split: domain.tasks(split, case.num) for split in SPLITS}


def asked(case: Case, task: Task) -> tuple[int | None, str]:
    """What equal questions have in common."""
    seed = task.world_seed if case.has_worlds else None
    return seed, question_key(tokens_of(task.question))


def test_every_source_has_a_case() -> None:
    named = typing.get_args(DataConfig.model_fields["source"].annotation)
    assert {*named, "files"} == set(KINDS)


def test_tasks_are_a_function_of_the_seed(case: Case, tasks: dict[str, list[Task]]) -> None:
    for seed in (None, 7):
        again, other = case.make(seed=seed), case.make(seed=seed)
        for split in reversed(SPLITS):
            found = again.tasks(split, case.num)
            other.tasks(split, 3, offset=5)
            assert found == other.tasks(split, case.num)
            assert found and {task.split for task in found} == {split}
            assert seed is not None or found == tasks[split]


def test_tasks_behind_an_offset_are_others_until_there_are_no_more(
    case: Case, domain: Domain, tasks: dict[str, list[Task]]
) -> None:
    for split in SPLITS:
        held = {task.id for task in tasks[split]}
        step = len(held) // 3
        windows = [domain.tasks(split, step, offset=start) for start in range(0, 3 * step, step)]
        told = [task.id for window in windows for task in window]
        assert len(told) == len(set(told)) == 3 * step <= len(held) and step
        assert domain.tasks(split, 0) == []
        if len(held) < case.num and split != "train":
            assert domain.tasks(split, 3, offset=10**6) == []


def test_no_two_splits_share_a_task_or_a_question(case: Case, tasks: dict[str, list[Task]]) -> None:
    for one, other in combinations(SPLITS, 2):
        assert not {t.id for t in tasks[one]} & {t.id for t in tasks[other]}
        assert not {asked(case, t) for t in tasks[one]} & {asked(case, t) for t in tasks[other]}
    for split in SPLITS[1:]:
        assert len({task.id for task in tasks[split]}) == len(tasks[split])


def test_answers_and_the_way_to_them_never_reach_an_environment(
    case: Case,
    domain: Domain,
    tasks: dict[str, list[Task]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: dict[str, dict[str, Any]] = {}
    env_type = type(domain.make_env())
    reset = env_type.reset

    def watched(self: Any, **row: Any) -> Any:
        rows[row["id"]] = row
        return reset(self, **row)

    monkeypatch.setattr(env_type, "reset", watched)
    case.make().trajectories(min(case.attempts, 20), case.tokenizer())
    told = {task.id: task for split in SPLITS for task in tasks[split]}
    for task in told.values():
        env = domain.make_env()
        assert not env.reset(**row_of(task))
        assert set(row_of(task)) >= {"id", "question", "kind", "world_seed"}
    assert len(rows) >= len(told)
    for name, row in rows.items():
        assert not set(HIDDEN_COLUMNS) & set(row)
        seen = json.dumps([v for k, v in row.items() if k not in ("id", "question", "world_seed")])
        for answer in told[name].answers if name in told else ():
            assert len(answer) < 3 or not contains(answer, seen), (answer, row)


def test_an_environment_is_fresh_and_shares_nothing(
    domain: Domain, tasks: dict[str, list[Task]]
) -> None:
    first, other = domain.make_env(), domain.make_env()
    assert type(first) is env_class(domain.env_name) and first is not other
    before = domain.make_env().state
    tool = next(iter(check_class(type(first))))
    calls = [task.question for task in tasks["val"][:3]]

    def play(task: Task) -> list[Any]:
        env = domain.make_env()
        env.reset(**row_of(task))
        return [call_tool(env, tool, query) for query in calls]

    one, two = tasks["val"][:2]
    alone = [play(one), play(two)]
    first.reset(**row_of(one))
    other.reset(**row_of(two))
    mixed = [(call_tool(first, tool, query), call_tool(other, tool, query)) for query in calls]
    assert [list(replies) for replies in zip(*mixed, strict=True)] == alone
    assert domain.make_env().state == before


def test_attempts_are_a_function_of_the_seed_and_more_of_them_begin_alike(
    case: Case, domain: Domain, attempts: list[Trajectory]
) -> None:
    half = case.attempts // 2
    assert case.make().trajectories(half, case.tokenizer()) == attempts[:half]
    assert domain.trajectories(0, case.tokenizer()) == []
    assert (case.attempts > 0) == bool(attempts)


def test_attempts_are_at_tasks_of_training_alone(
    case: Case, domain: Domain, tasks: dict[str, list[Task]], attempts: list[Trajectory]
) -> None:
    held = {asked(case, task) for split in SPLITS[1:] for task in tasks[split]}
    trained = {task.id: task for task in domain.tasks("train", max(case.num, case.attempts))}
    for made in attempts:
        assert made.task.split == "train" and asked(case, made.task) not in held
        assert made.task == trained[made.task.id]
    if attempts and domain.env_name != "maths":
        other = domain.trajectories(5, case.tokenizer(), split="val")
        assert {made.task.split for made in other} == {"val"}


def test_a_success_is_an_answer_that_the_grader_accepts_and_there_are_failures(
    attempts: list[Trajectory],
) -> None:
    for made in attempts:
        last = made.steps[-1].action
        told = last.text if last.kind == "answer" else None
        assert made.success == grade(made.task.kind, told, made.task.answers).correct, made
        assert all(step.action.kind != "answer" for step in made.steps[:-1])
    lost = sum(not made.success for made in attempts)
    assert 0.2 * len(attempts) <= lost <= 0.7 * len(attempts)


def test_an_attempt_played_again_in_a_fresh_environment_sees_the_same(
    case: Case, domain: Domain, attempts: list[Trajectory]
) -> None:
    tools = check_class(env_class(domain.env_name))
    for made in attempts:
        assert {step.action.kind for step in made.steps} <= {*tools, "answer"}
    for made in attempts[: case.replays]:
        env = domain.make_env()
        env.reset(**row_of(made.task))
        for step in made.steps:
            if step.action.kind == "answer":
                assert step.observation == ""
                continue
            reply = call_tool(env, step.action.kind, step.action.text)
            assert (str(reply), reply.failed) == (step.observation, step.failed)


def test_no_attempt_says_the_answer_before_it_was_shown(attempts: list[Trajectory]) -> None:
    for made in attempts:
        for number, step in enumerate(made.steps):
            if step.action.kind == "answer":
                continue
            told = f"{step.think}\n{step.action.text}"
            for answer in made.task.answers:
                # A quotient that is no whole number is written as the call that asks for it.
                new = len(answer) > 2 and "/" not in answer
                new = new and not contains(answer, made.state(number))
                assert not (new and contains(answer, told)), (answer, made)


@pytest.mark.parametrize("part", ["write", "recap"])
def test_blocks_read_back_as_they_were_written(
    domain: Domain, attempts: list[Trajectory], part: str
) -> None:
    form = domain.text_format
    for made in attempts:
        assert domain.writer.can_tell(made.steps)
        for number, step in enumerate(made.steps):
            for q in (0.0, 0.34, 1.0):
                block = getattr(domain.writer, part)(made, number, q)
                text = render(block, step.think, step.action, style=form.style, spaced=form.spaced)
                found = parse(text, form.style)
                assert found.problems == () and found.format_ok
                assert (found.foresight, found.action) == (block, step.action)
                assert abs(block.q - q) <= 0.025 and block.q_text


def test_blocks_tell_nothing_that_they_must_not(
    case: Case, domain: Domain, attempts: list[Trajectory]
) -> None:
    names = domain.entities()
    verdicts = [
        leaks_of(made, step, getattr(domain.writer, part)(made, step, 0.6), names)
        for made in attempts
        for step in range(len(made.steps))
        for part in ("write", "recap")
    ]
    refused = sum(not verdict.accepted for verdict in verdicts)
    assert refused <= case.refused * len(verdicts)


def test_a_recap_does_not_look_ahead(domain: Domain, attempts: list[Trajectory]) -> None:
    for made in attempts:
        for step in range(len(made.steps)):
            past = replace(made, steps=made.steps[: step + 1])
            now = replace(past.steps[-1], observation="", failed=False)
            unseen = replace(past, steps=(*past.steps[:-1], now), success=not made.success)
            assert domain.writer.recap(unseen, step, 0.6) == domain.writer.recap(made, step, 0.6)


def test_what_the_world_knows_is_one_probability_a_turn_or_nothing(
    case: Case, domain: Domain, attempts: list[Trajectory]
) -> None:
    tokenizer = case.tokenizer() or byte_tokenizer()
    for made in attempts[:40]:
        rollout = as_rollout(made, domain.text_format, tokenizer)
        truth = domain.truth(rollout)
        assert len(truth.p) in (0, len(made.steps)) and len(truth.copied) == len(truth.p)
        assert all(p is None or 0 <= p <= 1 for p in truth.p)


def test_worlds_are_those_of_a_split_or_are_refused(case: Case, domain: Domain) -> None:
    if domain.tasks("val", 1)[0].world_seed is None:
        with pytest.raises(InputError, match="world"):
            domain.tasks_of_worlds(range(2), None)
        return
    first = domain.tasks("val", 1)[0].world_seed or 0
    assert domain.tasks_of_worlds(range(first, first + 3), 8) == domain.tasks("val", 8)
