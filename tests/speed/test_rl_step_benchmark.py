"""benchmarks/rl_step.py: what needs no TRL. Fixed lengths, equal texts, equal work, one step."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from speed_builders import ROOT

from forethought.types import StopReason

Import = Callable[[str], Any]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Import:
    """A script as a module, beside those that it imports."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def toy_plan(bench: Import, **changes: Any) -> Any:
    sides, world = bench("rl_sides"), bench("search_world")
    settings = {"size": "toy", "lengths": world.QUICK, "turns": 3, "prompts": 2, "members": 3}
    return sides.Plan(**{**settings, "updates": 2, **changes})


def test_episodes_have_the_lengths_that_the_grammar_says(bench: Import) -> None:
    plan = toy_plan(bench)
    side = bench("rl_sides").Ours(plan)
    rollouts = side.play()
    for rollout in rollouts:
        assert rollout.error is None and rollout.stop_reason is StopReason.ANSWER
        assert [turn.parsed.action.kind for turn in rollout.turns] == ["search"] * 2 + ["answer"]
        assert sum(len(turn.ids) for turn in rollout.turns) == plan.lengths.sampled(3)
        forced = sum(len(turn.observation_ids) for turn in rollout.turns)
        assert len(rollout.prompt_ids) + forced == plan.lengths.forced(3)
    assert len({turn.ids for rollout in rollouts for turn in rollout.turns}) > len(rollouts)


def test_without_the_grammar_they_do_not(bench: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench("search_world"), "_write", lambda policy, rules: None)
    rollouts = bench("rl_sides").Ours(toy_plan(bench)).play()
    assert all(rollout.stop_reason is not StopReason.ANSWER for rollout in rollouts)


def test_the_chat_template_writes_the_ids_of_our_episodes(bench: Import) -> None:
    side = bench("rl_sides").Ours(toy_plan(bench))
    tokenizer = side.world.policy.tokenizer
    first = side.play()[0]
    messages = [{"role": "user", "content": first.task.question}]
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert tuple(ids) == first.prompt_ids
    call = {"function": {"name": "search", "arguments": {"query": "q0x1"}}}
    messages += [{"role": "assistant", "content": "", "tool_calls": [call]}]
    known = len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))
    messages += [{"role": "tool", "content": first.turns[0].observation}]
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert tuple(ids[known:]) == first.turns[0].observation_ids


@pytest.mark.parametrize("silent", [False, True])
def test_every_loud_group_has_a_signal_and_silent_ones_do_not_train(
    bench: Import, silent: bool
) -> None:
    side = bench("rl_sides").Ours(toy_plan(bench, silent=silent))
    sequences = side.sequences(side.play())
    active = [sequence.source for sequence in sequences if any(sequence.advantage)]
    groups = {source.split("/")[0] for source in active}
    assert groups == ({"task-1"} if silent else {"task-0", "task-1"})
    side.step()
    assert side.counted.sampled == 6 * side.plan.lengths.sampled(3)
    assert side.counted.forced == 6 * side.plan.lengths.forced(3)


def test_unequal_work_is_refused(bench: Import) -> None:
    script, counted = bench("rl_step"), bench("rl_sides").Counted
    done = {"ours": counted(sampled=1000, forced=400), "peer": counted(sampled=1010, forced=400)}
    assert script.equal_work(done, 2) == {
        "tokens_ours": 500,
        "tokens_peer": 505,
        "forced_ours": 200,
        "forced_peer": 200,
    }
    done["peer"].forced = 420
    with pytest.raises(SystemExit, match="forced tokens"):
        script.equal_work(done, 2)


def test_memory_is_a_peak_with_what_was_there_before(bench: Import) -> None:
    found = {"ours": {"at_start": 400.0, "peak": 500.0}, "peer": {"at_start": 500.0, "peak": 900.0}}
    cells = bench("rl_step").memory_cells(found)
    assert cells["ratio"]["value"] == 1.8 and cells["peer"]["at_start"] == 500.0
    assert cells["ours"]["min"] == cells["ours"]["max"] == 500.0


def test_exponents_are_of_rows_whose_groups_all_train(bench: Import, tmp_path: Path) -> None:
    rows = [
        {
            "x": {"model": "1m", "turns": turns, "measure": "cpu", "silent": silent},
            "ours": {"median": turns * (9.0 if silent else 2.0)},
            "peer": {"median": turns**2.0},
        }
        for silent in (0.0, 0.5)
        for turns in (2, 4, 8)[: 1 if silent else 3]
    ]
    bench("rl_step").save(str(tmp_path / "b.json"), rows, 5)
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["exponent"] == {"ours": 1.0, "peer": 2.0} and len(found["rows"]) == 4
    assert found["models"]["1m"]["heads"] == 4


@pytest.mark.parametrize("script", ["rl_step", "training"])
def test_without_trl_one_line_says_what_to_install(
    bench: Import,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    script: str,
) -> None:
    monkeypatch.setattr(bench("trl_side").util, "find_spec", lambda name: None)
    out = tmp_path / "b.json"
    assert bench(script).main(["--quick", "--json", str(out)]) == 4
    assert not out.exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("missing: the Python package trl") and "pip install" in line


class FakeTrainer:
    """Counts to `steps`, as a trainer trains: a callback before each step."""

    def __init__(self, steps: int, broken_at: int = -1) -> None:
        self.done, self._steps, self._broken_at = 0, steps, broken_at
        self.callbacks: list[Any] = []

    def add_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def remove_callback(self, kind: Any) -> None:
        pass

    def train(self) -> None:
        for number in range(self._steps):
            for callback in self.callbacks:
                callback.on_step_begin(None, None, None)
            if number == self._broken_at:
                raise ValueError("no loss")
            self.done += 1


def test_a_stepper_makes_one_step_a_call_and_no_more(bench: Import) -> None:
    trainer = FakeTrainer(3)
    stepper = bench("trl_side").Stepper(trainer)
    assert trainer.done == 0
    for number in range(3):
        stepper.step()
        assert trainer.done == number + 1
    with pytest.raises(RuntimeError, match="is over"):
        stepper.step()


def test_a_stepper_hands_errors_on_and_can_be_closed(bench: Import) -> None:
    stepper = bench("trl_side").Stepper(FakeTrainer(3, broken_at=1))
    stepper.step()
    with pytest.raises(ValueError, match="no loss"):
        stepper.step()
    trainer = FakeTrainer(9)
    stepper = bench("trl_side").Stepper(trainer)
    stepper.step()
    stepper.close()
    assert trainer.done == 1


def test_too_few_pairs_are_refused(bench: Import) -> None:
    with pytest.raises(SystemExit):
        bench("rl_step").parsed(["--quick", "--pairs", "4", "--json", "b.json"])
