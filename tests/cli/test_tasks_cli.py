"""`forethought tasks` as a command, and what evaluates the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forethought import cli
from forethought.config import load_config
from forethought.data.corpora import load_corpus
from forethought.data.tasks import load_tasks
from forethought.domains.atlas import atlas_tokenizer
from forethought.domains.files import FileSearchDomain
from forethought.tools.retrievers import SearchSource
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama

FIXTURES = Path(__file__).parents[1] / "fixtures"
SETS = ("hotpotqa", "2wiki", "musique")


@pytest.fixture(autouse=True)
def no_local_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORETHOUGHT_DATA", raising=False)


def written(name: str, out: Path, *words: str) -> int:
    file = FIXTURES / "search_qa" / f"{name}.jsonl.gz"
    return cli.main(["tasks", name, "--from", str(file), "--out", str(out), *words])


@pytest.mark.parametrize("name", SETS)
def test_the_files_load_and_gold_facts_point_into_the_corpus(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert written(name, tmp_path, "--json") == 0
    counts = json.loads(capsys.readouterr().out)
    tasks, corpus = load_tasks(tmp_path / "tasks.jsonl"), load_corpus(tmp_path / "corpus.jsonl")
    assert counts["splits"] == {"train": 10, "val": 10} and counts["tasks"] == len(tasks) == 20
    assert counts["documents"] == len(corpus)
    assert len({(page.title, page.text) for page in corpus}) == len(corpus), "each page once"
    pages = {page.id: page for page in corpus}
    for task in tasks:
        for page in task.columns["paragraphs"]:
            assert pages[page["id"]].title == page["title"]
        for fact in task.columns["supporting"]:
            page = pages[fact["paragraph"]]
            number = fact["sentence"]
            paragraph = next(p for p in task.columns["paragraphs"] if p["id"] == page.id)
            assert number is None or paragraph["sentences"][number] in page.text


def test_split_and_number_are_those_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert written("musique", tmp_path, "--split", "val", "--num", "3") == 0
    tasks = load_tasks(tmp_path / "tasks.jsonl")
    assert [task.split for task in tasks] == ["val"] * 3
    shown = capsys.readouterr()
    assert "3 tasks (3 val)" in shown.out and "10 rows of split train" in shown.err
    used = {page["id"] for task in tasks for page in task.columns["paragraphs"]}
    assert used == {page.id for page in load_corpus(tmp_path / "corpus.jsonl")}


def test_a_set_without_paragraphs_makes_no_corpus_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(FIXTURES / "hub" / "nq.jsonl")
    (tmp_path / "corpus.jsonl").write_text("old")
    assert cli.main(["tasks", "nq", "--from", file, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "no paragraphs" in said and "of an earlier command" in said
    assert (tmp_path / "corpus.jsonl").read_text() == "old"


def test_what_cannot_be_written_leaves_no_half_file(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question":"q","answer":"a"}\n{"question":"q"}\n')
    out = tmp_path / "out"
    assert cli.main(["tasks", "nq", "--from", str(rows), "--out", str(out)]) == 2
    assert list(out.iterdir()) == []
    assert cli.main(["tasks", "nq", "--from", str(tmp_path / "absent"), "--out", str(out)]) == 2
    assert cli.main(["tasks", "squad", "--out", str(out)]) == 2
    assert cli.main(["tasks", "popqa", "--split", "train", "--out", str(out)]) == 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was never trained."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=512)
    Policy(model=build_tiny_llama(len(tokenizer), shape, seed=0), tokenizer=tokenizer).save(folder)
    return folder


@pytest.mark.parametrize("config", ["demo/atlas", "maths/gsm8k-smollm2"])
def test_the_files_can_be_evaluated(
    config: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert written("2wiki", tmp_path) == 0
    words = ["--tasks", str(tmp_path / "tasks.jsonl"), "--corpus", str(tmp_path / "corpus.jsonl")]
    words += ["--model", str(model), "--split", "val", "--num", "2", "--out", str(tmp_path / "e")]
    capsys.readouterr()
    assert cli.main(["eval", config, *words, "--json", "--eval.resamples", "20"]) == 0
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (summary["num_tasks"], summary["num_failed"], summary["split"]) == (2, 0, "val")
    assert any(name.startswith("group=") for name in summary["groups"])


def test_questions_from_files_are_asked_with_a_search_whatever_the_source_uses(
    tmp_path: Path,
) -> None:
    assert written("hotpotqa", tmp_path) == 0
    config = load_config("maths/gsm8k-smollm2", {"model.prompt_style": "instruct"})
    source = SearchSource(corpus=str(tmp_path / "corpus.jsonl"))
    domain = FileSearchDomain.from_files(config, str(tmp_path / "tasks.jsonl"), source)
    prompt = domain.text_format.prompt_text(domain.rows[0], "foresight")
    assert domain.text_format.style == "search"
    assert "<search>" in prompt and "python" not in prompt
    env = domain.make_env()
    task = domain.rows[0]
    env.reset(id=task.id, **task.columns)
    assert not {"supporting", "decomposition"} & set(env.state.row)
    gold = {fact["paragraph"] for fact in task.columns["supporting"]}
    title = task.columns["supporting"][0]["title"]
    assert gold & set(env.search(title).info["documents"])


def test_a_set_of_problems_is_written_without_a_word_on_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(FIXTURES / "hub" / "math500.jsonl")
    assert cli.main(["tasks", "math500", "--from", file, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "" and not (tmp_path / "corpus.jsonl").exists()
    tasks = load_tasks(tmp_path / "tasks.jsonl")
    assert {(task.kind, task.split) for task in tasks} == {("maths", "test")} and len(tasks) == 5
    words = ["tasks", "math500", "--from", file, "--split", "train", "--out", str(tmp_path)]
    assert cli.main(words) == 2 and "must not train" in capsys.readouterr().err
