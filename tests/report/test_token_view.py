"""The token view of the page shows what stage 3 kept, and old runs simply have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from forethought.algos.batching import ReinforceConfig, reinforced
from forethought.domains.atlas import atlas_format, atlas_tokenizer
from forethought.errors import InputError
from forethought.jsonl import read_json, write_json
from forethought.report.token_view import token_view
from forethought.rewards.terms import RewardConfig
from forethought.rollout.author import AuthoredTurn, author
from forethought.rollout.episodes import to_episode
from forethought.stages.example import keep_example
from forethought.types import Task, TurnCredit

TASK = Task(id="t", question="gera of east : a mentor ; 2", answers=("gera",), kind="qa")
BLOCK = (
    "<imaginary> a mentor flint , reply ; 1 links open </imaginary> <keyword> flint </keyword> "
    "<analysis> mentor kept , 0 spare </analysis> <confidence> 40 % </confidence> "
)
CREDIT = TurnCredit(plan=0.5, confidence=None, act=-0.25, analysis=0.25)


def _member(answer: str, number: int) -> tuple[Any, Any, Any]:
    tokenizer = atlas_tokenizer()
    turns = [
        AuthoredTurn(
            text=f"{BLOCK}<think> a gera </think> <search> mentor gera </search>",
            observation="mentor east flint gera banok north",
        ),
        AuthoredTurn(
            text=f"{BLOCK}<think> gera </think> <answer> {answer} </answer>", observation=""
        ),
    ]
    rollout = replace(author(TASK, turns, atlas_format(), tokenizer, "foresight"), index=number)
    levels = tuple(tokenizer.convert_tokens_to_ids([str(n) for n in range(0, 101, 5)]))
    config = ReinforceConfig(outcome=1.0, level_ids=levels)
    episode = to_episode(rollout, RewardConfig(), "search_qa")
    return rollout, episode, reinforced(rollout, [CREDIT, CREDIT], config)


def _kept(file: Path, answers: str) -> Path:
    members = [_member(word, n) for n, word in enumerate(answers.split())]
    keep_example(file, 4, atlas_tokenizer(), members)
    return file


def test_the_first_won_and_lost_rollout_of_a_mixed_group_are_kept_whole_and_once(
    tmp_path: Path,
) -> None:
    file = _kept(tmp_path / "example.json", "banok gera gera")
    document = read_json(file)
    rollout, _, sequence = _member("gera", 1)
    assert (document["update"], document["group"]) == (5, [0, 1, 1])
    assert [(r["rollout"], r["success"]) for r in document["rollouts"]] == [(1, 1), (0, 0)]
    found = document["rollouts"][0]
    assert "".join(token["text"] for token in found["tokens"] if token["sampled"]) == "".join(
        atlas_tokenizer().decode([token]) for turn in rollout.turns for token in turn.ids
    )
    assert [token["pg_weight"] for token in found["tokens"]] == list(sequence.pg_weight)
    assert [token["advantage"] for token in found["tokens"]] == list(sequence.advantage)
    assert [n for n, token in enumerate(found["tokens"]) if token["number"]] == [
        slot.position for slot in sequence.brier
    ]
    before = file.read_bytes()
    _kept(file, "gera banok")
    assert file.read_bytes() == before


def test_nothing_is_kept_of_groups_with_one_outcome(tmp_path: Path) -> None:
    assert not _kept(tmp_path / "example.json", "gera gera").is_file()
    assert token_view(tmp_path / "example.json") is None


def test_what_does_not_train_has_no_tint_and_the_strongest_advantage_the_strongest(
    tmp_path: Path,
) -> None:
    view = token_view(_kept(tmp_path / "example.json", "banok gera"))
    assert view is not None
    shown = view["rollouts"][0]
    prompt, first, second = shown["turns"]
    assert {token["kind"] for token in prompt} == {"given"}
    kinds = {token["kind"] for token in first}
    assert kinds == {"up", "down", "number", "", "given"}
    assert all(token["tint"] == 0 for token in prompt + first if token["kind"] in ("given", ""))
    tints = {token["tint"] for token in first + second if token["kind"] in ("up", "down")}
    assert max(tints) == 1.0 and min(tints) == 0.5
    spans = {row["span"]: row for row in shown["spans"]}
    assert spans["imaginary"]["high"] == 0.5 and spans["action"]["low"] == -0.25
    assert spans["confidence"]["weight"] == 0


@pytest.mark.parametrize("key", ["group", "rollouts", "update"])
def test_a_damaged_file_is_refused(tmp_path: Path, key: str) -> None:
    file = _kept(tmp_path / "example.json", "banok gera")
    write_json(file, {**read_json(file), key: "x"})
    with pytest.raises(InputError, match=r"example\.json"):
        token_view(file)
