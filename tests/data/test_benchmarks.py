"""Public question sets: each schema is read, in one shape, and only training rows may train."""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.data.benchmark_rows import documents_of
from forethought.data.benchmarks import BENCHMARKS, file_rows, read_benchmark, split_named
from forethought.data.tasks import load_tasks, save_tasks
from forethought.envs.base import HIDDEN_COLUMNS
from forethought.errors import InputError, MissingError
from forethought.types import Task

FIXTURES = Path(__file__).parents[1] / "fixtures"
SETS = [name for name, benchmark in BENCHMARKS.items() if benchmark.hub_id is not None]
WITH_CONTEXT = ("hotpotqa", "2wiki", "musique")


def hub_fixture(name: str) -> list[dict[str, Any]]:
    return [row for _, row in file_rows(FIXTURES / "hub" / f"{name}.jsonl")]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """A library `datasets` that knows the recorded rows; yields what it was asked for."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(hub_id: str, config: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((hub_id, config, split))
        (name,) = (name for name, each in BENCHMARKS.items() if each.hub_id == hub_id)
        return hub_fixture(name)

    module = SimpleNamespace(load_dataset=load_dataset, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "datasets", module)
    yield asked


@pytest.fixture(autouse=True)
def no_local_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORETHOUGHT_DATA", raising=False)


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_read_from_the_hub_by_its_own_columns(
    name: str, hub: list[tuple[Any, ...]]
) -> None:
    benchmark = BENCHMARKS[name]
    split = next(reversed(benchmark.splits))
    tasks = list(read_benchmark(name, split=split))
    assert hub == [(benchmark.hub_id, benchmark.config, benchmark.splits[split])]
    assert len(tasks) == 5 and len({task.id for task in tasks}) == 5
    assert {(task.kind, task.split, task.columns["benchmark"]) for task in tasks} == {
        (benchmark.kind, split, name)
    }
    assert all(task.id.startswith(f"{name}/") and task.question and task.answers for task in tasks)


def test_aliases_are_kept_whatever_form_they_have(hub: list[tuple[Any, ...]]) -> None:
    def first(name: str, split: str) -> Task:
        return next(iter(read_benchmark(name, split=split)))

    assert first("nq", "val").answers == ("14 December 1972 UTC", "December 1972")
    assert first("triviaqa", "val").answers == ("The Rhine", "Rhine", "Rhein", "River Rhine")
    assert first("popqa", "test").answers == ("Lima", "City of Kings")
    assert first("popqa", "test").columns["group"] == "capital"
    assert first("musique", "val").answers == ("Gmina Ryki", "Ryki")
    assert first("bamboogle", "test").answers == ("Austria-Hungary",)


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_hub_columns_and_the_published_form_give_the_same_tasks(
    name: str, hub: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    published = []
    for row in hub_fixture(name):
        for key in ("supporting_facts", "context"):
            if key in row:
                row[key] = [list(pair) for pair in zip(*row[key].values(), strict=True)]
        if name != "musique":
            row["_id"] = row.pop("id")
        published.append(row)
    lines = write(tmp_path / "dev.jsonl", *published)
    array = tmp_path / "dev.json"
    array.write_text(json.dumps(published))
    packed = tmp_path / "dev.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.read_bytes()))
    tasks = list(read_benchmark(name, split="val"))
    for path in (lines, array, packed):
        assert list(read_benchmark(name, path=path)) == tasks


def published(name: str) -> list[Task]:
    return list(read_benchmark(name, path=FIXTURES / "search_qa" / f"{name}.jsonl.gz"))


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_a_row_s_own_split_decides_and_dev_is_never_train(name: str) -> None:
    path = FIXTURES / "search_qa" / f"{name}.jsonl.gz"
    said = Counter(row["split"] for _, row in file_rows(path))
    tasks = published(name)
    assert Counter(task.split for task in tasks) == {"train": said["train"], "val": said["dev"]}
    train = list(read_benchmark(name, path=path, split="train"))
    assert train == [task for task in tasks if task.split == "train"]


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_gold_facts_point_to_sentences_of_the_paragraphs(name: str) -> None:
    for task in published(name):
        pages = {page["id"]: page for page in task.columns["paragraphs"]}
        assert len(pages) >= 2
        for fact in task.columns["supporting"]:
            page = pages[fact["paragraph"]]
            assert page["title"] == fact["title"]
            assert (fact["sentence"] is None) is (name == "musique")
            if fact["sentence"] is not None:
                assert page["sentences"][fact["sentence"]]


def test_steps_are_sub_questions_or_triples_and_end_in_the_answer() -> None:
    for task in published("musique"):
        steps = task.columns["decomposition"]
        assert task.columns["group"] == f"{len(steps)} hops"
        assert steps[-1]["answer"] in task.answers
        gold = {fact["paragraph"] for fact in task.columns["supporting"]}
        for step in steps:
            assert step["question"] and step["triple"] is None and step["paragraph"] in gold
    simple = [t for t in published("2wiki") if t.columns["group"] in ("compositional", "inference")]
    assert simple
    for task in simple:
        steps = task.columns["decomposition"]
        assert all(step["triple"][2] == step["answer"] for step in steps)
        assert all(step["question"] is None for step in steps)
        assert steps[-1]["answer"] == task.answers[0]
    assert all("decomposition" not in task.columns for task in published("hotpotqa"))


def test_an_environment_is_not_told_the_way_to_the_answer() -> None:
    assert {"supporting", "decomposition", "answers"} <= set(HIDDEN_COLUMNS)


def test_tasks_survive_their_file(tmp_path: Path) -> None:
    for name in WITH_CONTEXT:
        tasks = published(name)
        save_tasks(tmp_path / "tasks.jsonl", tasks)
        assert load_tasks(tmp_path / "tasks.jsonl") == tasks
        assert list(read_benchmark(name, path=tmp_path / "tasks.jsonl")) == tasks


sentences = st.lists(st.sampled_from(["A b.", " A b.", "", "C d. "]), min_size=1, max_size=4)


@given(sentences, sentences, st.sampled_from(["T", "U "]), st.sampled_from(["T", "U "]))
def test_the_id_of_a_paragraph_is_a_function_of_title_and_text(
    tmp_path_factory: pytest.TempPathFactory,
    mine: list[str],
    other: list[str],
    title: str,
    second: str,
) -> None:
    path = tmp_path_factory.mktemp("rows") / "r.jsonl"
    for number, (name, text) in enumerate(((title, mine), (second, other))):
        row = {"_id": str(number), "question": "q", "answer": "a", "context": [[name, text]]}
        write(path.with_name(f"{number}.jsonl"), row)
    pages = [
        next(documents_of(task), None)
        for number in (0, 1)
        for task in read_benchmark("hotpotqa", path=path.with_name(f"{number}.jsonl"))
    ]
    if None not in pages:
        a, b = pages
        assert a and b
        assert (a.id == b.id) is ((a.title, a.text) == (b.title, b.text))
        assert a.title == title.strip() and a.text == " ".join(s.strip() for s in mine if s.strip())


def test_empty_sentences_keep_the_count_of_the_others(tmp_path: Path) -> None:
    row = {"id": "1", "question": "q", "answer": "a", "context": [["T", ["", "yes."]]],
           "supporting_facts": [["T", 1]]}  # fmt: skip
    (task,) = read_benchmark("hotpotqa", path=write(tmp_path / "r.jsonl", row))
    assert task.columns["paragraphs"][0]["sentences"] == ["", "yes."]


def test_of_two_paragraphs_of_one_title_a_fact_means_the_one_with_its_sentence(
    tmp_path: Path,
) -> None:
    row = {"id": "1", "question": "q", "answer": "a",
           "context": [["T", ["one"]], ["T", ["one", "two"]]],
           "supporting_facts": [["T", 1], ["T", 0], ["T", 9], ["V", 0]]}  # fmt: skip
    (task,) = read_benchmark("hotpotqa", path=write(tmp_path / "r.jsonl", row))
    first, second = (page["id"] for page in task.columns["paragraphs"])
    found = [fact["paragraph"] for fact in task.columns["supporting"]]
    assert found == [second, first, first, None]


QA = {"question": "Who?", "answer": "Ada"}


@pytest.mark.parametrize(
    ("file", "row", "asked", "split"),
    [
        ("x.jsonl", {}, None, "test"),
        ("x.jsonl", {}, "train", "train"),
        ("x_dev.jsonl", {}, None, "val"),
        ("x-train-10k.jsonl", {}, None, "train"),
        ("train_or_test.jsonl", {}, None, "test"),
        ("trainer.jsonl", {}, None, "test"),
        ("x_train.jsonl", {"split": "dev"}, None, "val"),
        ("x.jsonl", {"split": "Validation"}, None, "val"),
        ("x_dev.jsonl", {"split": "train"}, None, "train"),
        ("x.jsonl", {"id": "1", "kind": "qa", "answers": ["Ada"]}, None, "train"),
        ("x_dev.jsonl", {"id": "1", "kind": "qa", "answers": ["Ada"]}, None, "val"),
    ],
)
def test_row_then_file_name_then_caller_say_the_split(
    tmp_path: Path, file: str, row: dict[str, Any], asked: str | None, split: str
) -> None:
    path = write(tmp_path / file, {**QA, **row})
    (task,) = read_benchmark("plain", path=path, split=asked)
    assert task.split == split


def test_no_flag_makes_a_file_that_measures_train(tmp_path: Path) -> None:
    dev = write(tmp_path / "x_dev.jsonl", QA, QA)
    with pytest.raises(InputError, match=r"2 rows of split val.*split train"):
        list(read_benchmark("hotpotqa", path=dev, split="train"))
    for name in ("popqa", "bamboogle"):
        for row in ({**QA, "split": "train"}, QA):
            path = write(tmp_path / "x.jsonl", row)
            with pytest.raises(InputError, match="must not train"):
                list(read_benchmark(name, path=path, split="train"))


@given(st.sampled_from(["dev", "validation", "val", "valid", "devtest", "test"]),
       st.sampled_from(["train", "val", "test", None]), st.sampled_from(SETS))  # fmt: skip
def test_no_row_that_measures_becomes_a_training_task(
    tmp_path_factory: pytest.TempPathFactory, said: str, asked: str | None, name: str
) -> None:
    path = write(tmp_path_factory.mktemp("f") / "train.jsonl", {**QA, "split": said})
    try:
        tasks = list(read_benchmark(name, path=path, split=asked))
    except InputError:
        return
    assert [task.split for task in tasks] in (["val"], ["test"])


def test_split_names() -> None:
    assert [split_named(t) for t in ("a_train.json", "b.dev.gz", "c", "TEST")] == [
        "train", "val", None, "test"
    ]  # fmt: skip


def test_other_published_forms_are_read(tmp_path: Path) -> None:
    official = tmp_path / "unfiltered-web-dev.json"
    answer = {"Value": "Rhine", "Aliases": ["Rhine", "Rhein"]}
    rows = [{"Question": "Which river?", "QuestionId": "tc_1", "Answer": answer}]
    official.write_text(json.dumps({"Data": rows, "Version": 1.0}))
    (task,) = read_benchmark("triviaqa", path=official)
    assert (task.id, task.answers, task.split) == ("triviaqa/tc_1", ("Rhine", "Rhein"), "val")

    table = tmp_path / "test.tsv"
    table.write_text('id\tprop\tquestion\tpossible_answers\n7\tcapital\tWho?\t"[""A"", ""B""]"\n')
    (task,) = read_benchmark("popqa", path=table)
    assert (task.id, task.answers) == ("popqa/7", ("A", "B"))

    flash = {"id": "dev_0", "question": "Who?", "golden_answers": ["Ada"], "metadata": {
        "type": "bridge", "supporting_facts": {"title": ["T"], "sent_id": [0]},
        "context": {"title": ["T"], "content": [["one"]]}}}  # fmt: skip
    (task,) = read_benchmark("hotpotqa", path=write(tmp_path / "f.jsonl", flash))
    assert task.columns["group"] == "bridge" and task.columns["supporting"][0]["paragraph"]

    pages = [{"title": "", "text": "Ada did.", "isgold": True}, {"title": "U", "text": "No."}]
    oracle = {"question": "Who?", "answers": ["Ada"], "ctxs": pages}
    (task,) = read_benchmark("nq", path=write(tmp_path / "o.jsonl", oracle))
    assert [page.text for page in documents_of(task)] == ["Ada did.", "No."]
    assert [fact["title"] for fact in task.columns["supporting"]] == [""]
    gold = {"question": "Who?", "answers": ["Ada"], "title": "T", "paragraph": "Ada did."}
    (task,) = read_benchmark("nq", path=write(tmp_path / "g.jsonl", gold))
    assert task.columns["supporting"][0]["paragraph"] == task.columns["paragraphs"][0]["id"]

    yes = {"question": "Is it?", "answer": True}
    (task,) = read_benchmark("plain", path=write(tmp_path / "y.jsonl", yes))
    assert task.answers == ("yes",)


def test_rows_that_become_no_task_are_counted(tmp_path: Path) -> None:
    full = {**hub_fixture("musique")[0], "answerable": False}
    path = write(tmp_path / "dev.jsonl", *hub_fixture("musique")[:2], full,
                 hub_fixture("musique")[1], {**QA, "split": "test"})  # fmt: skip
    left: Counter[str] = Counter()
    assert len(list(read_benchmark("musique", path=path, split="val", left_out=left))) == 2
    assert left == {"without an answer": 1, "said before": 1, "of split test": 1}
    hidden = {"question": "Q?", "question_id": "1", "answer": {"value": "<unk>", "aliases": []}}
    with pytest.raises(InputError, match="1 rows without an answer"):
        list(read_benchmark("triviaqa", path=write(tmp_path / "t.jsonl", hidden)))


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("nq", {"question": "q"}, 'fields question; expected the answers as "answer"'),
        ("nq", {"question": "q", "answer": {"a": 1}}, "a text or a list of texts"),
        ("nq", {"question": "q", "answer": [["a"]]}, "a text or a list of texts"),
        ("nq", {"question": " ", "answer": "a"}, "question = ' '"),
        ("nq", {"query": "q", "answer": "a"}, 'a text "question"'),
        ("nq", {**QA, "split": "later"}, "split = 'later'"),
        ("nq", {**QA, "ctxs": ["x"]}, "a list of objects"),
        ("popqa", {"question": "q", "possible_answers": "Lima"}, "a JSON list"),
        ("hotpotqa", {**QA, "context": [["T"]]}, "lists of"),
        ("hotpotqa", {**QA, "context": {"title": ["T"], "sentences": []}}, "lists of"),
        ("hotpotqa", {**QA, "context": {"name": ["T"]}}, "lists of"),
        ("hotpotqa", {**QA, "context": [["T", "text"]]}, "a title and sentences"),
        ("hotpotqa", {**QA, "context": 3}, "lists of"),
        ("hotpotqa", {**QA, "supporting_facts": [["T", "0"]]}, "sentence's number"),
        ("2wiki", {**QA, "evidences": [["a", "b"]]}, "lists of"),
        ("2wiki", {**QA, "evidences": [["a", "b", 3]]}, "triples of texts"),
        ("musique", {**QA, "paragraphs": [{"title": "T"}]}, "paragraph_text"),
        ("musique", {**QA, "question_decomposition": [{"question": "q"}]}, '"answer"'),
        ("hotpotqa", {**QA, "id": "1"}, "id 'hotpotqa/1' again"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(
    tmp_path: Path, name: str, row: dict[str, Any], words: str
) -> None:
    first = {"id": "1", "question": "Another?", "answer": "Ada", "possible_answers": '["Ada"]'}
    path = write(tmp_path / "r.jsonl", first, row)
    with pytest.raises(InputError, match=words) as caught:
        list(read_benchmark(name, path=path))
    assert str(caught.value).startswith(f"{path}:2: got ") and "Next: " in str(caught.value)


def test_files_that_are_no_rows_are_refused(tmp_path: Path) -> None:
    cases = {"e.jsonl": "", "e.json": "[]", "a.json": "[1]", "b.json": "{oops", "c.json.gz": "x"}
    for name, text in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            list(read_benchmark("nq", path=tmp_path / name))
    with pytest.raises(InputError, match="no such file"):
        list(read_benchmark("nq", path=tmp_path / "absent.json"))
    with pytest.raises(InputError, match=r"'squad'.*hotpotqa"):
        list(read_benchmark("squad"))


def test_what_is_nowhere_is_missing_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    for name in SETS:
        with pytest.raises(MissingError, match=r"pip install 'forethought\[datasets\]'"):
            list(read_benchmark(name))
    with pytest.raises(MissingError, match="--from"):
        list(read_benchmark("plain", split="val"))

    def offline(*words: Any, **more: Any) -> Any:
        raise ConnectionError("Couldn't reach the hub\nat all")

    module = SimpleNamespace(load_dataset=offline, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(MissingError, match=r"Couldn't reach the hub\. Next: .*pip install"):
        list(read_benchmark("hotpotqa", split="val"))
    with pytest.raises(InputError, match="split test: got a split that the hub does not have"):
        list(read_benchmark("hotpotqa", split="test"))


@pytest.mark.parametrize(
    "name", ["nq_val.jsonl", "nq_validation.json", "search_qa/nq_val.jsonl", "nq/val.jsonl"]
)
def test_a_local_copy_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    write(tmp_path / name, QA)
    (task,) = read_benchmark("nq")
    assert (task.split, task.answers) == ("val", ("Ada",))
