from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_builders import denominators, sequences, trainer, word_policy

from forethought.errors import InputError
from forethought.training import checkpoint
from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.trainer import Trainer

GUARD = {"config": "c" * 64, "data": "d" * 64}


def run(maker: Trainer, steps: range) -> list[dict[str, float]]:
    stats = []
    for step in steps:
        batch = sequences(maker.policy, 4, seed=step)
        stats.append(maker.step(batch, denominators=denominators(batch), step_index=step))
    return stats


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_three_steps_a_reload_and_three_steps_equal_six_bit_for_bit(
    name: str, tmp_path: Path
) -> None:
    optim = OptimConfig(name=name)  # type: ignore[arg-type]
    straight = trainer(word_policy(), optim)
    expected = run(straight, range(6))

    first = trainer(word_policy(), optim)
    run(first, range(3))
    torch.manual_seed(123)
    checkpoint.save(tmp_path, first.policy, first.optimiser, {"step": 3, "seed": 0, **GUARD})
    drawn = torch.rand(3)

    second = trainer(word_policy(seed=99), optim)
    torch.manual_seed(5)
    state = checkpoint.load(tmp_path, second.policy, second.optimiser, GUARD)
    assert state["step"] == 3
    assert torch.equal(torch.rand(3), drawn)
    assert run(second, range(3, 6)) == expected[3:]
    assert second.policy.sha256() == straight.policy.sha256()
    for part, other in zip(
        second.optimiser.state_dict().values(),
        straight.optimiser.state_dict().values(),
        strict=True,
    ):
        torch.testing.assert_close(part["state"], other["state"], rtol=0, atol=0)


def test_a_forgotten_optimiser_state_would_be_seen(tmp_path: Path) -> None:
    # The twin of the law above: the same weights with a fresh optimiser go another way.
    straight, broken = trainer(word_policy()), trainer(word_policy())
    run(straight, range(3))
    broken.policy.model.load_state_dict(straight.policy.model.state_dict())
    run(straight, range(3, 4))
    run(broken, range(3, 4))
    assert straight.policy.sha256() != broken.policy.sha256()


def test_the_last_two_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    maker = trainer(word_policy())
    assert checkpoint.latest(tmp_path) is None
    for step in (1, 2, 3):
        made = checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": step})
        assert checkpoint.latest(tmp_path) == made
    folders = sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    assert folders == ["step-00000002", "step-00000003"]


def test_a_checkpoint_is_a_plain_model_folder_with_hashes(tmp_path: Path) -> None:
    maker = trainer(word_policy())
    made = checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 1, **GUARD})
    state = json.loads((made / "state.json").read_text())
    assert state == {"step": 1, **GUARD, "model": maker.policy.sha256()}
    assert Policy.load(made).sha256() == maker.policy.sha256()


def test_a_step_can_be_saved_twice(tmp_path: Path) -> None:
    maker = trainer(word_policy())
    first = checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 1, "run": "a"})
    second = checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 1, "run": "b"})
    assert first != second
    assert checkpoint.load(tmp_path, maker.policy, maker.optimiser)["run"] == "b"


def test_a_save_that_is_killed_leaves_the_one_before_and_is_swept_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = trainer(word_policy())
    good = checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 2})
    assert checkpoint.latest(tmp_path) == good
    assert checkpoint.load(tmp_path, maker.policy, maker.optimiser)["step"] == 1
    checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 2})
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["latest.json", "step-00000001", "step-00000002"]


@pytest.mark.parametrize("which", ["config", "data"])
def test_going_on_with_another_config_or_other_data_is_refused(which: str, tmp_path: Path) -> None:
    maker = trainer(word_policy())
    checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 1, **GUARD})
    other = trainer(word_policy(seed=4))
    before = other.policy.sha256()
    with pytest.raises(InputError, match=rf"checkpoint of {which} .*expected {which} eeee"):
        checkpoint.load(tmp_path, other.policy, other.optimiser, GUARD | {which: "e" * 64})
    assert other.policy.sha256() == before


def test_damage_is_named_and_never_loaded(tmp_path: Path) -> None:
    maker = trainer(word_policy())
    with pytest.raises(InputError, match="no checkpoint"):
        checkpoint.load(tmp_path, maker.policy, maker.optimiser)
    made = checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 1})
    word_policy(seed=8).model.save_pretrained(made)
    with pytest.raises(InputError, match="hash"):
        checkpoint.load(tmp_path, maker.policy, maker.optimiser)
    torch.save([1], made / "training.pt")
    with pytest.raises(InputError, match="no state of an optimiser"):
        checkpoint.load(tmp_path, maker.policy, maker.optimiser)
    (made / "training.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        checkpoint.load(tmp_path, maker.policy, maker.optimiser)
    for text in ("[]", "null", "{}", '{"step": "x"}', '{"step": -1}', "{"):
        (made / "state.json").write_text(text)
        with pytest.raises(InputError, match=r"state\.json.*expected.*Next"):
            checkpoint.load(tmp_path, maker.policy, maker.optimiser)
    (made / "state.json").unlink()
    with pytest.raises(InputError, match="not there"):
        checkpoint.latest(tmp_path)
    for text in ("{", "[]", "null", "{}", '{"latest": 3}', "[" * 100_000):
        (tmp_path / "latest.json").write_text(text)
        with pytest.raises(InputError, match=r"latest\.json:1: "):
            checkpoint.latest(tmp_path)


def test_the_checkpoint_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    maker = trainer(word_policy())
    checkpoint.save(tmp_path, maker.policy, maker.optimiser, {"step": 1})
    other = trainer(word_policy(), OptimConfig(name="adamw"))
    with pytest.raises(InputError, match="optimiser state"):
        checkpoint.load(tmp_path, other.policy, other.optimiser)
