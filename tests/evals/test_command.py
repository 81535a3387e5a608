"""What `eval` evaluates and how it calls it: splits, modes, samples, tasks from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from forethought.cli import main  # noqa: E402
from forethought.config import load_config  # noqa: E402
from forethought.data.tasks import save_tasks  # noqa: E402
from forethought.domains.atlas import AtlasDomain, atlas_tokenizer  # noqa: E402
from forethought.evals.command import _with_budget, trained_config, with_law  # noqa: E402
from forethought.jsonl import write_json, write_jsonl  # noqa: E402
from forethought.runlog import RunPaths, read_episodes  # noqa: E402
from forethought.training.policy import Policy  # noqa: E402
from forethought.training.tiny import ModelShape, build_tiny_llama  # noqa: E402
from forethought.types import Episode, Task  # noqa: E402
from forethought.worlds.atlas.world import world  # noqa: E402

CONFIG = "demo/atlas-fast"


@pytest.fixture
def evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `eval` with the words; returns code, summary, episodes and messages."""

    def call(*words: str) -> tuple[int, dict[str, Any], list[Episode], str]:
        out = tmp_path / "out"
        code = main(["eval", CONFIG, "--json", "--out", str(out), "--eval.resamples", "20", *words])
        said = capsys.readouterr()
        if code:
            return code, {}, [], said.err
        return code, json.loads(said.out), read_episodes(out / "episodes.jsonl"), said.err

    return call


@pytest.mark.parametrize(
    ("worlds", "label", "splits"),
    [
        ("3:4", "train", {"train"}),
        ("100000:100001", "val", {"val"}),
        ("299999:300000", "test", {"test"}),
        ("300000:300001", "acceptance", {"acceptance"}),
        ("199999:200001", "mixed", {"val", "test"}),
    ],
)
def test_the_seeds_of_worlds_decide_the_label_of_the_split(
    evaluated: Any, worlds: str, label: str, splits: set[str]
) -> None:
    code, summary, episodes, _ = evaluated("--model", "reactive", "--worlds", worlds)
    assert (code, summary["split"]) == (0, label)
    assert {episode.split for episode in episodes} == splits


@pytest.mark.parametrize("worlds", ["100000:100001", "199999:200001"])
def test_a_split_that_contradicts_the_worlds_is_refused(evaluated: Any, worlds: str) -> None:
    code, _, _, said = evaluated("--model", "reactive", "--worlds", worlds, "--split", "test")
    assert code == 2 and "--split" in said


def test_a_split_that_agrees_with_the_worlds_is_taken(evaluated: Any) -> None:
    words = ["--model", "reactive", "--worlds", "100000:100001", "--split", "val"]
    assert evaluated(*words)[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--mode", "faithful"],
        ["--mode", "imagine-2"],
        ["--tasks", "T", "--corpus", "C", "--worlds", "1:2"],
        ["--corpus", "C", "--worlds", "1:2"],
        ["--tasks", "T"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_fit_together_are_refused(evaluated: Any, words: list[str]) -> None:
    assert evaluated("--model", "planner", *words)[0] == 2


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The tasks of a validation and of a test world, and the pages of the first, as files."""
    config = load_config(CONFIG)
    domain = AtlasDomain.from_config(config)
    tasks = domain.tasks_of_worlds(range(199_999, 200_001), None)
    save_tasks(tmp_path / "tasks.jsonl", tasks)
    pages = world(domain.law, 199_999).pages
    rows = [{"id": page.id, "title": page.title, "text": page.text} for page in pages]
    write_jsonl(tmp_path / "corpus.jsonl", rows)
    return ["--tasks", str(tmp_path / "tasks.jsonl"), "--corpus", str(tmp_path / "corpus.jsonl")]


def test_a_scripted_policy_acts_on_files_as_it_does_in_the_world(
    evaluated: Any, files: list[str]
) -> None:
    _, _, inside, _ = evaluated("--model", "planner", "--worlds", "199999:200000")
    code, summary, outside, _ = evaluated("--model", "planner", *files, "--split", "val")
    assert (code, summary["split"]) == (0, "val")
    mine = [(e.task_id, e.success, [t.observation for t in e.turns]) for e in outside]
    assert mine == [(e.task_id, e.success, [t.observation for t in e.turns]) for e in inside]
    assert any(e.success for e in outside)
    assert [e.choice for e in outside] == [e.choice for e in inside] != [None] * len(inside)
    assert all(turn.oracle_p is not None for e in outside for turn in e.turns)


def test_without_a_split_the_label_is_the_file_s_own(evaluated: Any, files: list[str]) -> None:
    _, summary, episodes, said = evaluated("--model", "reactive", *files, "--num", "99")
    assert summary["split"] == "mixed" and len(episodes) == 10
    assert "only 10 tasks" in said
    _, summary, _, said = evaluated("--model", "reactive", *files, "--num", "5")
    assert summary["split"] == "val" and "only" not in said


def test_a_split_without_rows_is_refused(evaluated: Any, files: list[str], tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text("".join(line for line in file.open() if '"test"' not in line))
    code, _, _, said = evaluated("--model", "reactive", *files, "--split", "test")
    assert code == 2 and "tasks.jsonl" in said


def test_a_scripted_policy_refuses_a_question_of_another_world(
    evaluated: Any, files: list[str], tmp_path: Path
) -> None:
    row = {"id": "paris", "question": "Where is Paris?", "answers": ["France"], "kind": "qa"}
    write_jsonl(tmp_path / "tasks.jsonl", [row])
    code, _, _, said = evaluated("--model", "planner", *files)
    assert code == 2 and "paris" in said


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose models were never trained."""
    paths = RunPaths(tmp_path_factory.mktemp("run"))
    config = load_config(CONFIG, {"rollout.max_turn_tokens": "24", "rollout.max_turns": "2"})
    write_json(paths.resolved, config.model_dump(mode="json"))
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=512)
    policy = Policy(model=build_tiny_llama(len(tokenizer), shape, seed=0), tokenizer=tokenizer)
    for stage in ("base", "midtrain", "sft"):
        policy.save(paths.root / stage / "model")
    return paths.root


def test_imagining_gives_every_sample_of_every_task_its_own_rollout(
    evaluated: Any, run: Path
) -> None:
    words = ["--model", f"{run}/sft", "--mode", "imagine-2", "--num", "2", "--samples", "2"]
    _, summary, episodes, _ = evaluated(*words)
    assert summary["num_rollouts"] == 4
    assert [e.rollout for e in episodes] == [0, 1, 0, 1]
    assert episodes[0].turns[0].text != episodes[1].turns[0].text


@pytest.mark.parametrize(
    ("model", "plain"),
    [("base", True), ("midtrain/model", True), ("sft", False), ("sft/model", False)],
)
def test_a_stage_before_the_format_is_taught_is_evaluated_without_blocks(
    evaluated: Any, run: Path, tmp_path: Path, model: str, plain: bool
) -> None:
    assert evaluated("--model", f"{run}/{model}", "--num", "1")[0] == 0
    row = json.loads((tmp_path / "out" / "tokens.jsonl").read_text().splitlines()[0])
    assert atlas_tokenizer().decode(row["prompt_ids"]).endswith("plain") is plain


def test_a_stage_acts_in_the_law_of_its_run_the_negative_control_included(tmp_path: Path) -> None:
    trained = load_config(CONFIG, {"seed": "107", "data.identical_cells": "true"})
    write_json(RunPaths(tmp_path).resolved, trained.model_dump(mode="json"))
    mine, stage = load_config(CONFIG), str(tmp_path / "rl")
    assert with_law(mine, stage).data == trained.data.model_copy(update={"law_seed": 107})
    assert trained_config(stage) == trained
    assert with_law(mine, "elsewhere/model") == mine
    own = load_config(CONFIG, {"data.law_seed": "5"})
    assert with_law(own, stage) == own


def test_a_question_of_the_world_brings_its_budget_and_no_other_text_does() -> None:
    def budget(question: str, **columns: int) -> object:
        task = Task(id="a", question=question, answers=("x",), kind="qa", columns=columns)
        return _with_budget(task).columns.get("budget")

    question = "gera of east : a mentor mentor b employer seat ; 3"
    assert (budget(question), budget(question, budget=2), budget("who?")) == (3, 2, None)
