"""docs/method.md keeps up with the code: metrics, baselines, departures, codes.

Names of metrics come from rows that stages really wrote: the committed records, and stages that
train for a moment here.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from forethought.algos.batching import SupervisedRule, supervised
from forethought.config import config_names, load_config
from forethought.domains.atlas import atlas_format, atlas_tokenizer
from forethought.jsonl import read_jsonl
from forethought.rollout.author import AuthoredTurn, author
from forethought.schema import RunConfig
from forethought.stages import rl
from forethought.stages.context import open_run
from forethought.stages.supervised import Corpus, train_supervised
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.types import Rollout, Task
from tests.test_baselines import flat

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "method.md").read_text("utf-8")
OF_A_RECORD = {"arm", "stage"}
"""What a record adds to the rows of a stage."""
SIZES = {
    "rl.updates": "2",
    "rl.prompts": "2",
    "rl.group_size": "2",
    "rl.refit_rollouts": "8",
}
RUNS: dict[str, dict[str, str]] = {
    "causal": {},
    "paper": {"rl.profile": "paper"},
    "grpo": {"rl.profile": "grpo"},
    "gigpo": {"rl.profile": "gigpo"},
}
"""Settings of stage 3 that log names of their own."""


PLACES = {"SPAN": "[a-z]+", "P": "[0-9]+"}
"""What a capital word in a name of the table stands for."""


def section(number: int) -> str:
    """The text of a numbered section of the page."""
    return PAGE.split(f"\n## {number}. ")[1].split("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """What stands in backticks in the first cell of each row of a table."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def unlisted(names: set[str], text: str) -> set[str]:
    """The names that no row of a table covers."""
    rows = [re.sub("[A-Z]+", lambda word: PLACES[word[0]], row) for row in first_cells(text)]
    return {name for name in names if not any(re.fullmatch(row, name) for row in rows)}


@pytest.fixture(scope="module")
def recorded() -> set[str]:
    """Names in the committed records."""
    names: set[str] = set()
    for file in (ROOT / "records").rglob("metrics.jsonl.gz"):
        for line in gzip.decompress(file.read_bytes()).splitlines():
            names |= set(re.findall(rb'"(\w+)":', line))
    return {name.decode() for name in names} - OF_A_RECORD


def played(task_id: str, member: int) -> Rollout:
    """Two turns with readable blocks; odd members answer right."""
    block = (
        "<imaginary> a mentor flint , reply ; 1 links open </imaginary> <keyword> flint </keyword> "
        "<analysis> mentor kept , 0 spare </analysis> <confidence> 40 % </confidence> <think> a "
    )
    turns = [
        AuthoredTurn(
            text=f"{block}gera </think> <search> mentor gera </search>",
            observation="mentor east flint gera banok north",
        ),
        AuthoredTurn(
            text=f"{block}</think> <answer> {'gera' if member % 2 else 'banok'} </answer>",
            observation="",
        ),
    ]
    task = Task(id=task_id, question="gera of east : a mentor ; 2", answers=("gera",), kind="qa")
    return replace(
        author(task, turns, atlas_format(), atlas_tokenizer(), "foresight"), index=member
    )


def policy() -> Policy:
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=1, kv_heads=1, ffn=16, max_positions=256)
    return Policy(model=build_tiny_llama(len(tokenizer), shape, seed=0), tokenizer=tokenizer)


def names_in(file: Path) -> set[str]:
    return {name for _, row in read_jsonl(file) for name in row}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names that stages log here: each profile of stage 3 on blocks that parse, and stage 2."""

    def sampled(*_: Any, **__: Any) -> list[Rollout]:
        return [played(task, member) for task in ("a", "b") for member in range(2)]

    names: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl, "_sample", sampled)
        for name, settings in RUNS.items():
            config = load_config("demo/atlas-fast", SIZES | settings)
            context = open_run(config, tmp_path_factory.mktemp("run") / name, resume=False)
            rl.run(context, policy())
            names |= names_in(context.stage_dir("rl") / "metrics.jsonl")
    sequence = supervised(played("a", 0), SupervisedRule())
    train_supervised(context, "sft", policy(), Corpus(sequences=[sequence]), config.sft)
    return names | names_in(context.stage_dir("sft") / "metrics.jsonl")


def test_every_metric_that_a_stage_logs_has_a_row(logged: set[str], recorded: set[str]) -> None:
    assert not unlisted(logged | recorded, section(11))


def test_every_row_is_a_metric_that_a_stage_logs(logged: set[str], recorded: set[str]) -> None:
    listed = first_cells(section(11))
    assert len(listed) == len(set(listed))
    for row in listed:
        assert unlisted(logged | recorded, f"| `{row}` |") < logged | recorded, row


@pytest.mark.parametrize("row", ["refit_slots", "q_at_P", "length_SPAN"])
def test_a_metric_without_a_row_would_be_seen(row: str, logged: set[str]) -> None:
    assert unlisted(logged, section(11).replace(f"| `{row}` |", "| |"))


def test_the_table_of_baselines_lists_exactly_the_shipped_ones() -> None:
    listed = first_cells(section(7))
    shipped = [name for name in config_names() if name.startswith("baselines/")]
    assert sorted(f"baselines/{name}" for name in listed) == sorted(shipped)


def departures() -> list[list[str]]:
    rows = re.findall(r"^\| (.*) \|$", section(10), re.MULTILINE)[2:]
    cells = [[cell.strip() for cell in row.split(" | ")] for row in rows]
    return [row for row in cells if not row[0].startswith("*")]


def test_every_departure_says_what_restores_the_paper_and_which_configuration_does() -> None:
    keys = flat(RunConfig().model_dump())
    assert len(departures()) > 30
    for what, paper, here, why, restored, shipped in departures():
        assert paper and here and why, what
        named = re.findall(r"`((?:[a-z]+\.)[a-z0-9_.]+)[`*]?", restored)
        assert named or restored.startswith(("none", "(costs nothing)")), what
        for name in named:
            assert name in keys or any(key.startswith(name) for key in keys), (what, name)
        for name in re.findall(r"`([^`]+)`", shipped):
            assert name in config_names(), (what, name)


def test_every_configuration_that_restores_sets_the_key_that_it_is_said_to_set() -> None:
    for what, *_, restored, shipped in departures():
        for name in re.findall(r"`([^`]+)`", shipped):
            mine, ours = flat(load_config(name).model_dump()), flat(RunConfig().model_dump())
            named = re.findall(r"`([a-z]+\.[a-z0-9_.]+)`", restored)
            assert any(mine[key] != ours[key] for key in named), (what, name)


def test_links_of_the_page_lead_somewhere() -> None:
    for file, place in re.findall(r"\]\(([\w.-]*)#([\w-]+)\)", PAGE):
        text = (ROOT / "docs" / file).read_text("utf-8") if file else PAGE
        titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        made = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert place in made, (file, place)
    for file in re.findall(r"\]\(([\w.-]+\.md)", PAGE):
        assert (ROOT / "docs" / file).is_file(), file
