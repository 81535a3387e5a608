"""Recorded attempts of other systems with a teacher's blocks: by the command, over a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forethought.cli import main
from forethought.config import load_config
from forethought.domains import make_domain
from forethought.hindsight.corpus import CorpusBuilder
from forethought.hindsight.records import Labelled, read_labelled
from forethought.jsonl import read_json, read_jsonl
from forethought.stages.labels import as_rollout
from tests.chat_fakes import Body, FakeServer, serving
from tests.domains.qa_builders import overrides
from tests.training.training_builders import byte_tokenizer

FOLDER = Path(__file__).parents[1] / "fixtures" / "import"
SEARCH, MATHS = "search/multihop-smollm2", "maths/gsm8k-smollm2"
FORMS = dict.fromkeys(("openai", "react", "search-r1", "trl", "verifiers"), SEARCH)
FORMS["tora"] = MATHS
TAUGHT = {"prepare.writer": "teacher", "teacher.model": "m", "teacher.tries": "1"}
GUESSED = {"prepare.labels": "teacher", "sft.relabel": "false"}
AHEAD, BEHIND = "Take the next look-up and follow what it shows", "Go on from what is there"


def reply(body: Body, **changed: str) -> str:
    """A block; without the future it says something else."""
    prompt = body["messages"][-1]["content"]
    fields = {
        "roadmap": AHEAD if "What happened afterwards" in prompt else BEHIND,
        "missing": "One result is open",
        "keywords": ["kind", "sign"],
        "good": "A direct way",
        "open": "It may not come",
        "poor": "Nothing leads there",
        "chance": "70 %",
    }
    return json.dumps(fields | changed)


def run_import(
    folder: Path,
    form: str,
    write: Callable[[Body], str] | None,
    file: Path | None = None,
    **more: str,
) -> tuple[int, FakeServer | None]:
    """`prepare --import` of a fixture; without `write` there is no server. Exit code and server."""
    config = FORMS[form]
    keys = (overrides() if config == SEARCH else {}) | TAUGHT
    keys |= {key.replace("__", "."): value for key, value in more.items()}
    words = ["prepare", config, "--out", str(folder), "--format", form]
    words += ["--import", str(file or FOLDER / f"{form}.jsonl")]
    words += [word for key, value in keys.items() for word in (f"--{key}", value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FORETHOUGHT_DATA", raising=False)
        patch.delenv("OPENAI_BASE_URL", raising=False)
        patch.setenv("FORETHOUGHT_HOME", str(folder.parent / "home"))
        if write is None:
            return main(words), None
        with serving(write) as (url, server):
            patch.setenv("OPENAI_BASE_URL", url)
            return main(words), server


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(folder / "prepare" / "steps.jsonl")]


def items_of(folder: Path) -> list[Labelled]:
    return read_labelled(folder / "prepare" / "trajectories.jsonl")


@pytest.mark.parametrize("form", FORMS)
def test_every_imported_row_gets_the_teachers_blocks_and_its_outcome(
    form: str, tmp_path: Path
) -> None:
    code, server = run_import(tmp_path / "run", form, reply)
    assert code == 0 and server is not None
    account = read_json(tmp_path / "run" / "prepare" / "import.json")
    report = read_json(tmp_path / "run" / "prepare" / "report.json")
    assert account["read"] == account["imported"] + sum(account["left_out"].values())
    assert "untold" not in account["left_out"]
    assert report["kept"] == report["trajectories"] == account["imported"] >= 2
    items, rows = items_of(tmp_path / "run"), rows_of(tmp_path / "run")
    calls = sum(item.trajectory.num_calls for item in items)
    assert len(rows) == calls
    assert report["teacher"]["requests"] == 2 * calls + len(items) >= len(server.bodies)
    for row in rows:
        judged = "A direct way" if row["outcome"] else "Nothing leads there"
        assert (row["block"]["q"], row["block"]["analysis"]) == (row["outcome"], judged)
        assert row["label"]["source"] == "outcome"
        assert row["block"]["roadmap"].startswith(AHEAD)
        assert row["placebo"]["blind"]["roadmap"].startswith(BEHIND)
    # Every reply is kept: the same again needs no server.
    assert run_import(tmp_path / "again", form, None) == (0, None)
    for name in ("trajectories.jsonl", "steps.jsonl", "import.json"):
        one, two = (tmp_path / run / "prepare" / name for run in ("run", "again"))
        assert one.read_bytes() == two.read_bytes()


def test_the_blind_twin_is_asked_for_without_what_came_and_the_other_with_it(
    tmp_path: Path,
) -> None:
    _, server = run_import(tmp_path / "run", "react", reply)
    assert server is not None
    prompts = [body["messages"][-1]["content"] for body in server.bodies]
    asked = [prompt for prompt in prompts if prompt.startswith("Task\nWhich lake lies east")]
    told = [prompt for prompt in asked if "What happened afterwards" in prompt]
    assert len(asked) == 5 and len(told) == 3
    assert sum("Blue Mere" in prompt for prompt in told) == 3
    assert not any("Blue Mere" in prompt for prompt in set(asked) - set(told))
    assert all("In the end the task was solved." in prompt for prompt in told)


@pytest.mark.parametrize("form", ["react", "tora"])
def test_the_teachers_guesses_are_the_labels_where_they_are_asked_for(
    form: str, tmp_path: Path
) -> None:
    keys = {key.replace(".", "__"): value for key, value in GUESSED.items()}
    assert run_import(tmp_path / "run", form, reply, **keys)[0] == 0
    items, rows = items_of(tmp_path / "run"), rows_of(tmp_path / "run")
    labels = [label for item in items for label in item.labels]
    assert {(label.value, label.source, label.k) for label in labels} == {(0.7, "teacher", 0)}
    assert {(row["block"]["q"], row["block"]["analysis"]) for row in rows} == {
        (0.7, "A direct way")
    }
    assert {row["outcome"] for row in rows} == {0, 1}


@pytest.mark.parametrize("form", ["react", "tora"])
def test_stage_2_writes_the_imported_episodes_with_these_blocks(form: str, tmp_path: Path) -> None:
    assert run_import(tmp_path / "run", form, reply)[0] == 0
    keys = (overrides() if FORMS[form] == SEARCH else {}) | TAUGHT
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORETHOUGHT_HOME", str(tmp_path / "home"))
        domain, tokenizer = make_domain(load_config(FORMS[form], keys)), byte_tokenizer()
    builder = CorpusBuilder(
        text_format=domain.text_format, tokenizer=tokenizer, writer=domain.writer
    )
    items = items_of(tmp_path / "run")
    for number, item in enumerate(items):
        blocks = [
            domain.writer.write(item.trajectory, step, label.value)
            for step, label in enumerate(item.labels)
        ]
        made = as_rollout(item.trajectory, domain.text_format, tokenizer, blocks)
        assert all(turn.parsed.format_ok for turn in made.turns)
        assert [turn.parsed.foresight for turn in made.turns] == blocks
        assert builder.tagged(items, number).block_tokens > 0


def test_a_teacher_that_tells_what_came_is_refused_and_counted(tmp_path: Path) -> None:
    def tells(body: Body) -> str:
        asked = "Which lake lies east" in body["messages"][-1]["content"]
        return reply(body, **({"roadmap": "Look at the Blue Mere"} if asked else {}))

    assert run_import(tmp_path / "run", "react", tells)[0] == 0
    report = read_json(tmp_path / "run" / "prepare" / "report.json")
    # Behind the page that names it, the lake may be named.
    assert report["rejected"] == 2 and report["kept"] == report["trajectories"] - 1
    assert not any("Which lake" in i.trajectory.task.question for i in items_of(tmp_path / "run"))


def test_a_block_that_tells_an_answer_which_no_page_shows_is_refused_at_the_last_turn_too(
    tmp_path: Path,
) -> None:
    row = json.loads((FOLDER / "react.jsonl").read_text("utf-8").splitlines()[0])
    row["messages"][5]["content"] = "Thought: It is Lake Ull.\nAction: finish[Lake Ull]"
    file = tmp_path / "rows.jsonl"
    other = (FOLDER / "react.jsonl").read_text("utf-8").splitlines()[1]
    file.write_text(f"{json.dumps(row)}\n{other}\n", encoding="utf-8")

    def tells(body: Body) -> str:
        after = body["messages"][-1]["content"].partition("What happened afterwards\n")[2]
        last = after.startswith("thought: It is Lake Ull")
        return reply(body, **({"roadmap": "Say that it is Lake Ull"} if last else {}))

    assert run_import(tmp_path / "run", "react", tells, file=file)[0] == 0
    report = read_json(tmp_path / "run" / "prepare" / "report.json")
    assert (report["rejected"], report["teacher"]["answers_told"], report["kept"]) == (0, 1, 1)
    assert "1874" in items_of(tmp_path / "run")[0].trajectory.task.answers


def test_a_row_whose_block_does_not_come_is_left_out_and_counted(tmp_path: Path) -> None:
    def silent(body: Body) -> str:
        last = body["messages"][-1]["content"]
        no = "Which lake lies east" in last and "finish" not in last and "Seen so far" not in last
        return "I cannot say" if no and "What happened" in last else reply(body)

    assert run_import(tmp_path / "run", "react", silent)[0] == 0
    report = read_json(tmp_path / "run" / "prepare" / "report.json")
    assert (report["teacher"]["failed"], report["teacher"]["trajectories_left_out"]) == (1, 1)
    assert report["kept"] == report["import"]["imported"] - 1


def test_where_no_row_has_all_its_blocks_the_teacher_is_named_and_not_the_filters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.jsonl"
    lines = (FOLDER / "react.jsonl").read_text("utf-8").splitlines()
    file.write_text(lines[0] + "\n", encoding="utf-8")

    def once(body: Body) -> str:
        whole = "What happened" in (last := body["messages"][-1]["content"])
        return "I cannot say" if whole and "Seen so far" not in last else reply(body)

    assert run_import(tmp_path / "run", "react", once, file=file)[0] == 3
    told = capsys.readouterr().err
    assert "teacher" in told.splitlines()[-1] and "leak filters" not in told
