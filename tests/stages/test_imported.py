"""Stage 0 from recorded attempts: blocks as ever, labels by outcome, no question of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forethought.config import load_config
from forethought.data.gsm8k import load_gsm8k
from forethought.errors import InputError
from forethought.hindsight.corpus import CorpusBuilder
from forethought.hindsight.importers.build import ImportOptions
from forethought.hindsight.importers.write import Source
from forethought.hindsight.records import read_labelled
from forethought.jsonl import read_json, read_jsonl
from forethought.stages import imported
from forethought.stages.context import Context, open_run
from forethought.stages.labels import as_rollout
from tests.training.training_builders import byte_tokenizer

FIXTURES = Path(__file__).parents[1] / "fixtures"
TORA = FIXTURES / "import" / "tora.jsonl"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    (tmp_path / "gsm8k_train.jsonl").write_bytes((FIXTURES / "gsm8k.jsonl").read_bytes())
    config = load_config("maths/gsm8k-smollm2", {})
    return open_run(config, tmp_path / "run", resume=False)


def source(file: Path, form: str = "tora", **options: Any) -> Source:
    return Source(file=str(file), form=form, options=ImportOptions(kind="maths", **options))


def test_what_is_imported_becomes_the_corpus_of_stage_1(context: Context) -> None:
    report = imported.run(context, source(TORA))
    folder = context.stage_dir("prepare")
    account = read_json(folder / "import.json")
    assert account["imported"] == report["trajectories"] == report["kept"] == 2
    assert report["import"]["left_out"] == account["left_out"]
    assert report["label_sources"] == {"outcome": 4} and report["branches"] == 0
    items = read_labelled(folder / "trajectories.jsonl", report["kept"])
    assert [item.trajectory.success for item in items] == [True, False]
    assert [item.labels[0].value for item in items] == [1.0, 0.0]
    rows = [row for _, row in read_jsonl(folder / "steps.jsonl")]
    assert [row["block"]["q"] for row in rows] == [1.0, 0.0]
    assert rows[0]["block"]["roadmap"].startswith("multiply, expect a 2-digit even number")
    assert {row["split"] for row in rows} == {"train"}
    assert rows[0]["source_policy"] == "toy-1"


def test_the_episodes_can_be_written_with_their_blocks(context: Context) -> None:
    imported.run(context, source(TORA))
    items = read_labelled(context.stage_dir("prepare") / "trajectories.jsonl")
    tokenizer = byte_tokenizer()
    for item in items:
        blocks = [
            context.domain.writer.write(item.trajectory, step, label.value)
            for step, label in enumerate(item.labels)
        ]
        made = as_rollout(item.trajectory, context.domain.text_format, tokenizer, blocks)
        assert [turn.parsed.action for turn in made.turns] == [
            step.action for step in item.trajectory.steps
        ]
        assert [turn.parsed.foresight for turn in made.turns] == blocks
        assert all(turn.parsed.format_ok for turn in made.turns)


def test_stage_2_trains_on_what_was_imported(context: Context) -> None:
    imported.run(context, source(TORA))
    items = read_labelled(context.stage_dir("prepare") / "trajectories.jsonl")
    builder = CorpusBuilder(
        text_format=context.domain.text_format,
        tokenizer=byte_tokenizer(),
        writer=context.domain.writer,
        imitate_failures=context.domain.imitate_failures,
    )
    right, wrong = (builder.tagged(items, number).sequence for number in range(2))
    assert sum(right.ce_weight) / len(right.ids) > sum(wrong.ce_weight) / len(wrong.ids) > 0
    assert builder.plain(items[0]) is not None and builder.plain(items[1]) is None


def test_questions_that_the_run_is_evaluated_on_never_train(
    context: Context, tmp_path: Path
) -> None:
    own = [task.question for task in context.domain.tasks("val", 100)]
    program = "```python\nprint(1)\n```\n```output\n1\n```\nIt is $\\boxed{1}$."
    rows = load_gsm8k("train")
    attempts = [{"question": row.task.question, "code": [program], "gt": "1"} for row in rows]
    file = tmp_path / "attempts.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in attempts), encoding="utf-8")
    imported.run(context, source(file))
    account = read_json(context.stage_dir("prepare") / "import.json")
    assert own and account["left_out"]["contaminated"] >= len(own)
    kept = read_labelled(context.stage_dir("prepare") / "imported.jsonl")
    assert kept and not {item.trajectory.task.question for item in kept} & set(own)
    names = {each["file"] for each in account["decontaminated_with"]}
    assert "val of the configuration" in names


def test_a_finished_import_is_read_again_and_another_file_is_not_taken_for_it(
    context: Context, tmp_path: Path
) -> None:
    report = imported.run(context, source(TORA))
    again = context.with_resume(True)
    assert imported.run(again, source(TORA)) == report
    other = tmp_path / "other.jsonl"
    other.write_text(TORA.read_text("utf-8").splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="other rows"):
        imported.run(again, source(other))


def test_tools_that_the_environment_does_not_have_are_named(context: Context) -> None:
    with pytest.raises(InputError, match="unknown_tool"):
        imported.run(context, source(FIXTURES / "import" / "openai.jsonl", "openai"))
    account = read_json(context.stage_dir("prepare") / "import.json")
    assert account["imported"] == 0
    assert account["unknown_tools"] == {"search": account["left_out"]["unknown_tool"]}
    assert not (context.stage_dir("prepare") / "report.json").exists()


def test_rules_without_words_for_it_ask_for_a_teacher(context: Context) -> None:
    class Silent:
        def can_tell(self, steps: Any) -> bool:
            return False

    domain: Any = context.domain
    mute = replace(context, domain=replace(domain, writer=Silent()))
    with pytest.raises(InputError, match=r'prepare\.writer = "teacher"'):
        imported.run(mute, source(TORA))


@pytest.mark.parametrize("world", ["demo/atlas-fast", "demo/workbook-fast"])
def test_a_synthetic_world_takes_no_text_of_others(world: str, tmp_path: Path) -> None:
    context = open_run(load_config(world, {}), tmp_path / "run", resume=False)
    with pytest.raises(InputError, match="--only-import"):
        imported.run(context, source(TORA))
