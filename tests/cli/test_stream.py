"""What a model writes is shown while it is written, and nothing of it is lost."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch")

from forethought.cli import main
from forethought.cli._stream import LABELS, Stream
from forethought.config import load_config
from forethought.domains.atlas import AtlasDomain, atlas_tokenizer
from forethought.errors import InputError
from forethought.evals.watch import own_task
from forethought.rollout.backend import Request, Sampling
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.types import Task

PROMPT = "question "
FIRST = (
    "<imaginary> a mentor flint , reply ; 1 open </imaginary> <keyword> flint </keyword> "
    "<analysis> mentor kept </analysis> <confidence> 40 % </confidence> "
    "<think> a gera </think> <search> mentor gera </search>"
)
REPLY = " <information> nothing here </information> "
SECOND = "<imaginary> b guild reed ; 1 open </imaginary> <think> b </think> <answer> x </answer>"


class Characters:
    """One id a character: every tag is cut into pieces."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens is False
        return "".join(map(chr, ids))


def _ids(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def _shown(turns: Sequence[tuple[str, str]], decisions: Sequence[str] = ("a", "b")) -> str:
    """The output for (text before the turn, sampled text) pairs."""
    out = io.StringIO()
    stream = Stream(Characters(), out, decisions)
    history: tuple[int, ...] = ()
    for before, text in turns:
        history += _ids(before)
        request = Request(ids=history, session="s", noise=(0,), sampling=Sampling())
        for token in _ids(text):
            stream.on_token(request, token)
        history += _ids(text)
    return out.getvalue()


def test_each_element_stands_on_a_line_with_its_label() -> None:
    lines = [line.strip() for line in _shown([(PROMPT, FIRST)]).splitlines() if line.strip()]
    assert [" ".join(line.split()) for line in lines] == [
        "foresees a mentor flint , reply ; 1 open",
        "expects flint",
        "weighs mentor kept",
        "q 40 %",
        "thinks a gera",
        "searches mentor gera",
    ]


def test_headings_and_text_outside_all_elements_are_shown_too() -> None:
    shown = _shown([(PROMPT, "well <think>**Imaginary**\nadd, then *2*\n**Confidence**\n85%\n")])
    assert shown.split() == ["well", "foresees", "add,", "then", "*2*", "q", "85%"]


def test_the_reply_is_read_from_the_next_request_and_a_changed_way_is_pointed_out() -> None:
    shown = _shown([(PROMPT, FIRST), (REPLY, SECOND)])
    assert "<- nothing here\n" in shown
    assert shown.index("<- nothing here") < shown.index("b guild reed")
    assert "[re-plans: b instead of a]" in shown
    assert "re-plans" not in _shown([(PROMPT, FIRST), (REPLY, FIRST)])


def test_without_labels_and_tags_what_is_shown_is_what_was_sampled() -> None:
    bare = re.sub(r"</?\w+>", " ", FIRST).split()
    labels = set(LABELS.values()) - {"q"}
    shown = [word for word in _shown([(PROMPT, FIRST)]).split() if word not in labels]
    assert [word for word in shown if word != "q"] == bare


def _task(number: int) -> Task:
    return AtlasDomain.from_config(load_config("demo/atlas")).tasks("val", number + 1)[-1]


def test_a_question_of_ones_own_has_an_answer_where_its_routes_are_those_of_the_task() -> None:
    task = _task(0)
    start, _, routes = task.question.partition(" : ")
    first = re.split(r" b | ;", routes)[0]
    mine = own_task("atlas", task, f"{start} : {first} ; 3")
    assert (mine.answers, mine.columns["budget"]) == (task.answers, 3)
    assert own_task("atlas", task, f"{start} : a owner owner owner ; 3").answers == ()
    assert own_task("gsm8k", task, "How many?").answers == ()


def test_a_question_that_the_world_cannot_read_is_answered_with_one_that_it_can() -> None:
    task = _task(0)
    with pytest.raises(InputError) as caught:
        own_task("atlas", task, "who is it?")
    assert task.question in str(caught.value) and "who is it?" in str(caught.value)


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
    said = re.sub(r"<[^>]+>", " ", row["turns"][0]["text"]).split()
    shown = iter(found.err.split())
    assert said and all(word in shown for word in said)  # in this order


def test_without_a_known_answer_nothing_is_called_wrong(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "gera of east : a owner owner owner ; 2"
    assert main(["play", "atlas", "--model", str(model), "--question", question]) == 0
    assert capsys.readouterr().out.endswith("; nobody knows the right one\n")
    assert main(["play", "atlas", "--question", question]) == 2
    assert "--model" in capsys.readouterr().err
