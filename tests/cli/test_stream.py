"""What a model writes is shown while it is written, and nothing of it is lost."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from forethought.cli import main
from forethought.cli._episode import show
from forethought.cli._stream import Stream
from forethought.cli._turns import LABELS, TurnPrinter
from forethought.cli.play import verdict
from forethought.config import load_config
from forethought.domains.atlas import AtlasDomain, atlas_tokenizer
from forethought.evals.watch import Watched
from forethought.jsonl import write_json
from forethought.rollout.backend import Request, Sampling
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.types import EpisodeTurn, RolloutError, Task
from tests.stats.stats_builders import episode

PROMPT = "question "
FIRST = (
    "<imaginary> a mentor flint , reply ; 1 open </imaginary> <keyword> flint </keyword> "
    "<analysis> mentor kept </analysis> <confidence> 40 % </confidence> "
    "<think> a gera </think> <search> mentor gera </search>"
)
REPLY = " <information> nothing here </information> "
SECOND = "<imaginary> b guild reed ; 1 open </imaginary> <think> b </think> <answer> x </answer>"


EPISODE = replace(episode("t", 1), answers=("x",), answer="x")
EOS = 4


class Characters:
    """One id a character: every tag is cut into pieces."""

    eos_token_id = EOS

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens is False
        return "".join(map(chr, ids))


class Recorder(TurnPrinter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.turns: list[list[str]] = []

    def begin(self, expected: float | None = None) -> None:
        self.turns.append([])
        super().begin(expected)

    def write(self, text: str) -> None:
        self.turns[-1].append(text)
        super().write(text)


def _ids(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def _play(stream: Stream, turns: Sequence[tuple[str, str]]) -> None:
    """Streams (text before the turn, sampled text) pairs to the end of the episode."""
    history: tuple[int, ...] = ()
    for before, text in turns:
        history += _ids(before)
        request = Request(ids=history, session="s", noise=(0,), sampling=Sampling())
        for token in _ids(text):
            stream.on_token(request, token)
        history += _ids(text)
    stream.finish(EPISODE)


def _shown(turns: Sequence[tuple[str, str]], decisions: Sequence[str] = ("a", "b")) -> str:
    out = io.StringIO()
    _play(Stream(Characters(), TurnPrinter(out, decisions)), turns)
    return out.getvalue()


def test_the_pieces_of_a_turn_joined_are_the_sampled_text() -> None:
    recorder = Recorder()
    ended = SECOND + chr(EOS)
    _play(Stream(Characters(), recorder), [(PROMPT, FIRST), (REPLY, ended)])
    assert ["".join(pieces) for pieces in recorder.turns] == [FIRST, SECOND]
    assert len(recorder.turns[0]) >= len(FIRST)  # one a token, not one a turn


def test_a_token_is_shown_before_the_next_one_is_sampled() -> None:
    out = io.StringIO()
    stream = Stream(Characters(), TurnPrinter(out))
    request = Request(ids=_ids(PROMPT), session="s", noise=(0,), sampling=Sampling())
    for count, token in enumerate(_ids("plain words"), start=1):
        stream.on_token(request, token)
        assert out.getvalue().strip() == "plain words"[:count].strip()


def test_each_element_stands_on_a_line_with_its_label_and_q_with_its_level() -> None:
    lines = [line.rstrip() for line in _shown([(PROMPT, FIRST)]).splitlines() if line.strip()]
    assert lines == [
        "  foresees  a mentor flint , reply ; 1 open",
        "  expects   flint",
        "  weighs    mentor kept",
        "  q         40 %  ########............",
        "  thinks    a gera",
        "  searches  mentor gera",
    ]


def test_the_number_behind_a_heading_ends_where_the_thought_begins() -> None:
    text = "<think>**Imaginary**\nadd, then *2*\n**Confidence**\n85%\n\nsum first\n</think>\n"
    spaced = text.replace("\n", " ").replace("85%", "85 %")
    for said, number in ((text, "85%"), (spaced, "85 %")):
        lines = [" ".join(line.split()) for line in _shown([(PROMPT, f"well {said}")]).splitlines()]
        assert [line for line in lines if line] == [
            "well",
            "foresees add, then *2*",
            f"q {number} #################...",
            "thinks sum first",
        ]


def test_a_confidence_that_is_no_number_has_no_level() -> None:
    said = "<confidence> sure </confidence> <answer> x </answer>"
    assert "q         sure  [no estimate]\n" in _shown([(PROMPT, said)])


def test_a_turn_that_breaks_off_is_shown_to_its_last_character() -> None:
    assert _shown([(PROMPT, "<think> 2 <sea")]).endswith("2 <sea\n")


def test_the_reply_is_read_from_the_next_request() -> None:
    shown = _shown([(PROMPT, FIRST), (REPLY, SECOND)])
    assert shown.count("<- nothing here\n") == 1
    assert shown.index("mentor gera") < shown.index("<- nothing") < shown.index("b guild reed")


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("a flint , reply", "b reed , reply", True),
        ("a flint , reply", "a flint , a reed , reply", False),
        ("a flint , a gone , b reed", "b reed , reply", False),  # as foreseen
        ("a flint , a gone", "stuck", False),
    ],
)
def test_a_way_that_the_roadmap_before_did_not_name_is_a_new_plan(
    before: str, after: str, marked: bool
) -> None:
    turns = [f"<imaginary> {way} </imaginary> <think> x </think>" for way in (before, after)]
    shown = _shown([(PROMPT, turns[0]), (REPLY, turns[1])])
    assert ("[re-plans: b instead of a]" in shown) is marked
    assert ("re-plans" in shown) is marked


def test_a_roadmap_that_is_not_closed_changes_no_plan() -> None:
    broken = "<imaginary> b reed <keyword> x </keyword>"
    shown = _shown([(PROMPT, FIRST), (REPLY, broken)])
    assert "b reed" in shown and "re-plans" not in shown


def test_without_labels_and_tags_what_is_shown_is_what_was_sampled() -> None:
    bare = re.sub(r"</?\w+>", " ", FIRST).split()
    added = {*LABELS.values(), "########............"}
    assert [word for word in _shown([(PROMPT, FIRST)]).split() if word not in added] == bare


def _task(number: int) -> Task:
    return AtlasDomain.from_config(load_config("demo/atlas")).tasks("val", number + 1)[-1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("play") / "model"
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=2, kv_heads=1, ffn=16, max_positions=512)
    network = build_tiny_llama(len(tokenizer), shape, seed=0)
    Policy(model=network, tokenizer=tokenizer).save(folder)
    return folder


def test_a_model_is_watched_and_its_row_is_that_of_the_episode(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["play", "atlas", "--model", str(model), "--seed", "2"]
    assert main(words) == 0
    watched = capsys.readouterr().out
    assert watched.startswith(f"question: {_task(2).question}\n")
    assert main([*words, "--json"]) == 0
    found = capsys.readouterr()
    row = json.loads(found.out)
    assert row["task_id"] == _task(2).id
    assert watched in found.err  # the stream goes where it is in nobody's way
    said = re.sub(r"<[^>]+>", " ", row["turns"][0]["text"]).split()
    shown = iter(watched.split())
    assert said and all(word in shown for word in said)  # in this order


def test_being_watched_changes_no_sampled_token(model: Path) -> None:
    watched = Watched(load_config("demo/atlas"), str(model))
    heard: list[int] = []
    task = watched.task(1)
    loud = watched.play(task, lambda request, token: heard.append(token))
    quiet = watched.play(task)
    assert [turn.text for turn in loud.turns] == [turn.text for turn in quiet.turns]
    assert len(heard) == loud.tokens_sampled


def test_the_temperature_is_that_of_the_option_or_of_the_configuration(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["play", "atlas", "--model", str(model)]
    said = []
    for more in ([], ["--temperature", "1"], ["--temperature", "0"]):
        assert main([*words, *more]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_without_a_known_answer_nothing_is_called_wrong(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "gera of east : a owner owner owner ; 2"
    words = ["play", "atlas", "--model", str(model), "--question", question]
    assert main(words) == 0
    assert capsys.readouterr().out.endswith("; nobody knows the right one\n")
    assert main([*words, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["question"], row["answers"], row["success"]) == (question, [], None)


def test_questions_are_read_line_by_line_until_one_that_the_world_cannot_read(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["play", "atlas", "--model", str(model), "--ask", "--json"]
    asked = f"{_task(1).question}\n\ngera of east : a owner ; 1\nwho is it?\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(asked))
    assert main(words) == 2
    found = capsys.readouterr()
    assert [json.loads(line)["task_id"] for line in found.out.splitlines()] == [
        _task(1).id,
        "asked",
    ]
    assert "'who is it?'" in found.err and _task(0).question in found.err
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert main(words) == 2
    assert "no question" in capsys.readouterr().err


def test_a_question_can_be_put_again_at_a_terminal(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.StringIO(f"who is it?\n{_task(0).question}\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    assert main(["play", "atlas", "--model", str(model), "--ask"]) == 0
    found = capsys.readouterr()
    assert "'who is it?'" in found.err
    assert found.out.startswith(f"question: {_task(0).question}\n")


@pytest.mark.parametrize("model_words", [[], ["--model", "planner"]], ids=["hand", "planner"])
@pytest.mark.parametrize(
    "option", [["--question", "x"], ["--ask"], ["--temperature", "0"]], ids=lambda o: o[0]
)
def test_an_option_that_only_a_model_heeds_is_not_passed_over(
    model_words: list[str], option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["play", "atlas", *model_words, *option]) == 2
    found = capsys.readouterr()
    assert option[0] in found.err and "Next:" in found.err and found.out == ""


def test_a_model_plays_in_the_law_of_its_run_and_in_no_other_world(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = load_config("demo/atlas", {"seed": "107", "data.identical_cells": "true"})
    write_json(tmp_path / "resolved.json", trained.model_dump(mode="json"))
    shutil.copytree(model, tmp_path / "rl" / "model")
    stage = str(tmp_path / "rl")
    assert Watched(load_config("demo/atlas"), stage).task(0).id.startswith("atlas-L107i-")
    assert main(["play", "workbook", "--model", stage]) == 2
    assert "trained on atlas" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answers", "success", "error", "said"),
    [
        (("x",), 1, None, "answer x; right"),
        (("y",), 0, None, "answer x; wrong; the right answer is y"),
        ((), None, None, "answer x; nobody knows the right one"),
        (("y",), None, RolloutError(kind="tool", message="lost"), "no verdict"),
    ],
)
def test_the_verdict_says_no_more_than_is_known(
    answers: tuple[str, ...], success: int | None, error: RolloutError | None, said: str
) -> None:
    episode = replace(EPISODE, answers=answers, answer="x", success=success, error=error)
    assert verdict(episode).startswith(said)


def test_a_recorded_episode_is_printed_in_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    first = EpisodeTurn(
        text=FIRST,
        format_ok=False,
        foresight=None,
        action=None,
        observation="nothing here",
        q_expected=0.41,
        problems=("no_keywords",),
    )
    plain = replace(first, text="<answer> x </answer>", observation="", problems=())
    show(replace(EPISODE, turns=(first, plain)))
    shown = capsys.readouterr().out
    assert "\n  q         40 %  ########............  [expected q 0.41]\n" in shown
    assert "\n  searches  mentor gera\n  problems: no_keywords\n  <- nothing here\n" in shown
    assert "\n  answers   x\n            [expected q 0.41]\n" in shown
