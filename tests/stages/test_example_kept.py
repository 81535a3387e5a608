"""Stage 3 keeps two rollouts for the page, which neither a kill nor a second try changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from forethought.algos.batching import reinforced
from forethought.algos.credit import credit_episodes
from forethought.config import load_config
from forethought.domains.atlas import atlas_format, atlas_tokenizer
from forethought.jsonl import read_json
from forethought.rollout.author import AuthoredTurn, author
from forethought.rollout.episodes import to_episode
from forethought.stages import rl
from forethought.stages.context import open_run
from forethought.training import checkpoint
from forethought.training.credit import credit_config, reinforce_config
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.types import Episode, Rollout, Task
from forethought.worlds.atlas.tokens import ROUTE_LETTERS

SIZES = {
    "rl.updates": "4",
    "rl.prompts": "2",
    "rl.group_size": "3",
    "rl.checkpoint_every": "1",
    "rollout.max_turns": "2",
    "rollout.max_turn_tokens": "12",
}
MIXED_FROM = 2  # the first update in which this test lets a group have both outcomes


class Killed(Exception):
    """The process ends here."""


def _policy() -> Policy:
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=1, kv_heads=1, ffn=16, max_positions=256)
    return Policy(model=build_tiny_llama(len(tokenizer), shape, seed=0), tokenizer=tokenizer)


def _train(folder: Path, *, resume: bool = False, arm: str = "full") -> Path:
    config = load_config("demo/atlas-fast", SIZES)
    context = replace(open_run(config, folder, resume=resume), arm=arm)
    rl.run(context, _policy())
    return context.stage_dir("rl")


@pytest.fixture(autouse=True)
def outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second member of a group wins from update MIXED_FROM on, and none before."""
    judge, sample, now = rl.to_episode, rl.sample_groups, [0]

    def sampled(context: Any, policy: Any, backend: Any, tasks: Any, update: int) -> list[Rollout]:
        now[0] = update
        return sample(context, policy, backend, tasks, update)

    def judged(rollout: Rollout, *more: Any, **ruled: Any) -> Episode:
        success = int(now[0] >= MIXED_FROM and rollout.index % 2 == 1)
        return replace(judge(rollout, *more, **ruled), success=success, reward=float(success))

    monkeypatch.setattr(rl, "sample_groups", sampled)
    monkeypatch.setattr(rl, "to_episode", judged)


def _kill(patch: pytest.MonkeyPatch, place: str, update: int) -> None:
    """Ends the process in this update, before its optimiser step or before its checkpoint."""
    step, save = rl.Trainer.step, checkpoint.save

    def stepping(trainer: Any, sequences: Any, *, step_index: int, **more: Any) -> Any:
        if place == "step" and step_index == update:
            raise Killed
        return step(trainer, sequences, step_index=step_index, **more)

    def saving(folder: Path, policy: Any, optimiser: Any, state: dict[str, Any]) -> Any:
        if place == "checkpoint" and state["step"] == update + 1:
            raise Killed
        return save(folder, policy, optimiser, state)

    patch.setattr(rl.Trainer, "step", stepping)
    patch.setattr(checkpoint, "save", saving)


@pytest.mark.parametrize(
    ("place", "update"),
    [("checkpoint", 0), ("step", MIXED_FROM), ("checkpoint", MIXED_FROM), ("step", MIXED_FROM + 1)],
)
def test_a_stage_killed_and_resumed_keeps_the_same_bytes(
    place: str, update: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        _kill(patch, place, update)
        with pytest.raises(Killed):
            _train(tmp_path / "broken")
    left = (tmp_path / "broken" / "rl" / "example.json").is_file()
    assert left == (update >= MIXED_FROM)
    broken = _train(tmp_path / "broken", resume=True)
    for name in ("example.json", "model/model.safetensors"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    found = read_json(whole / "example.json")
    assert (found["update"], found["group"]) == (MIXED_FROM + 1, [0, 1, 0])


def test_a_stage_begun_anew_does_not_keep_what_an_earlier_one_left(tmp_path: Path) -> None:
    before = _train(tmp_path / "run") / "example.json"
    kept = before.read_bytes()
    before.write_bytes(b"of another try")
    context = open_run(load_config("demo/atlas-fast", SIZES), tmp_path / "run", resume=True)
    rl.run(context.with_resume(False), _policy())
    assert before.read_bytes() == kept


def test_keeping_an_example_changes_no_trained_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _train(tmp_path / "kept")
    monkeypatch.setattr(rl, "keep_example", lambda *_: None)
    without = _train(tmp_path / "without")
    assert (kept / "example.json").is_file() and not (without / "example.json").exists()
    for name in ("model/model.safetensors", "metrics.jsonl"):
        assert (kept / name).read_bytes() == (without / name).read_bytes(), name


def _authored(task: Task, member: int, *, old_blocks: bool = True) -> Rollout:
    """Two turns with blocks; member 1 answers right."""
    block = (
        "<imaginary> a mentor flint , reply ; 1 links open </imaginary> <keyword> flint </keyword> "
        "<analysis> mentor kept , 0 spare </analysis> <confidence> 40 % </confidence> "
    )
    answer = "gera" if member == 1 else "banok"
    turns = [
        AuthoredTurn(
            text=f"{block}<think> a gera </think> <search> mentor gera </search>",
            observation="mentor east flint gera banok north",
        ),
        AuthoredTurn(text=f"{block}<think> a </think> <answer> {answer} </answer>", observation=""),
    ]
    form = replace(atlas_format(), old_blocks=old_blocks)
    found = author(task, turns, form, atlas_tokenizer(), "foresight")
    return replace(found, index=member)


def test_the_example_is_what_credit_gave_and_only_sampled_tokens_have_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(id="t", question="gera of east : a mentor ; 2", answers=("gera",), kind="qa")
    rollouts = [_authored(task, member) for member in range(3)]
    monkeypatch.setattr(rl, "sample_groups", lambda *_: rollouts)
    monkeypatch.setattr(rl, "to_episode", to_episode)
    monkeypatch.setattr(rl.Trainer, "step", lambda *_, **__: {})
    policy = _policy()
    found = read_json(_train(tmp_path / "run") / "example.json")

    section = load_config("demo/atlas-fast", SIZES).rl
    episodes = [to_episode(each, rl.reward_config(section), "search_qa") for each in rollouts]
    credits = credit_episodes(episodes, credit_config(section))
    assert [(r["rollout"], r["success"]) for r in found["rollouts"]] == [(1, 1), (0, 0)]
    assert (found["update"], found["group"]) == (1, [0, 1, 0])
    for shown in found["rollouts"]:
        rollout, tokens = rollouts[shown["rollout"]], shown["tokens"]
        rule = reinforce_config(
            section,
            outcome=float(shown["success"]),
            level_ids=policy.level_ids(),
            decision_ids=policy.word_ids(ROUTE_LETTERS),
        )
        earned = reinforced(rollout, credits[shown["rollout"]], rule)
        texts = [policy.tokenizer.decode([number]) for number in earned.ids]
        assert [token["text"] for token in tokens] == texts
        assert [token["advantage"] for token in tokens] == list(earned.advantage)
        assert [token["pg_weight"] for token in tokens] == list(earned.pg_weight)
        assert [token["span"] for token in tokens if token["sampled"]] == [
            span.value for turn in rollout.turns for span in turn.token_spans
        ]
        given = {token["span"] for token in tokens if not token["sampled"]}
        assert given == {"prompt", "observation"}
        without = {token["span"] for token in tokens if token["pg_weight"] == 0}
        assert without == given | {"imaginary", "keyword", "analysis", "confidence"}
        decided = [t for t in tokens if t["span"] == "imaginary" and t["pg_weight"]]
        assert decided and {t["text"] for t in decided} <= set(ROUTE_LETTERS)
        assert any(token["advantage"] for token in tokens)


def test_turns_that_forget_are_shown_in_order_and_train_as_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(id="t", question="gera of east : a mentor ; 2", answers=("gera",), kind="qa")
    monkeypatch.setattr(rl, "to_episode", to_episode)
    shown, documents = [], []
    for old_blocks in (True, False):
        rollouts = [_authored(task, member, old_blocks=old_blocks) for member in range(3)]
        monkeypatch.setattr(rl, "sample_groups", lambda *_, made=rollouts: made)
        step = rl.Trainer.step

        def stepping(trainer: Any, sequences: Any, *, whole: Any = step, **more: Any) -> Any:
            documents.append({len(sequence.starts) for sequence in sequences})
            return whole(trainer, sequences, **more)

        monkeypatch.setattr(rl.Trainer, "step", stepping)
        shown.append(read_json(_train(tmp_path / str(old_blocks)) / "example.json"))
        monkeypatch.setattr(rl.Trainer, "step", step)
    assert shown[0] == shown[1]
    assert documents == [{1}] * 4 + [{2}] * 4


def test_a_control_keeps_its_example_in_its_own_folder(tmp_path: Path) -> None:
    assert (_train(tmp_path / "run", arm="fe-sft-grpo") / "example.json").is_file()
    assert not (tmp_path / "run" / "rl" / "example.json").exists()
