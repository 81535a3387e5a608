"""Options of stage 2: drawn numbers, a share of low ones, the exact Brier score beside the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from forethought.config import load_config
from forethought.domains.atlas import atlas_tokenizer
from forethought.errors import InputError
from forethought.foresight.levels import nearest_level
from forethought.hindsight.records import Label, Labelled
from forethought.runfiles import read_metrics
from forethought.stages import sft
from forethought.stages.context import Context, open_run
from forethought.stages.supervised import Corpus, train_supervised
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.types import TrainingSequence


def _policy() -> Policy:
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=1, kv_heads=1, ffn=16, max_positions=400)
    return Policy(model=build_tiny_llama(len(tokenizer), shape, seed=0), tokenizer=tokenizer)


def _context(folder: Path, **keys: str) -> Context:
    given = {"sft.format_off_share": "0", "sft.batch_sequences": "4"}
    given |= {f"sft.{name}": value for name, value in keys.items()}
    return open_run(load_config("demo/atlas-fast", given), folder, resume=False)


def _items(context: Context, policy: Policy, num: int = 24) -> list[Labelled]:
    found = context.domain.trajectories(num, policy.tokenizer)
    return [
        Labelled(
            trajectory=each,
            labels=(
                Label(
                    value=(2 * each.success + 0.5) / 3,
                    source="monte_carlo",
                    s=2 * each.success,
                    k=2,
                    prior=0.5,
                ),
            )
            * len(each.steps),
        )
        for each in found
    ]


def _sequences(context: Context, policy: Policy) -> list[TrainingSequence]:
    return [w.sequence for w in sft.corpus(context, _items(context, policy), policy)]


def _numbers(sequence: TrainingSequence, policy: Policy) -> list[int]:
    """Where a level stands before its per cent sign."""
    sign = policy.tokenizer.convert_tokens_to_ids("%")
    return [n for n, token in enumerate(sequence.ids[1:]) if token == sign]


def _unnumbered(sequence: TrainingSequence, policy: Policy) -> list[int]:
    numbers = _numbers(sequence, policy)
    return [0 if n in numbers else token for n, token in enumerate(sequence.ids)]


def test_drawn_numbers_replace_the_number_and_nothing_else(tmp_path: Path) -> None:
    policy = _policy()
    nearest = _sequences(_context(tmp_path / "a"), policy)
    drawn = _sequences(_context(tmp_path / "b", q_targets="posterior"), policy)
    assert [s.ids for s in nearest] != [s.ids for s in drawn]
    pairs = list(zip(nearest, drawn, strict=True))
    assert all(_unnumbered(a, policy) == _unnumbered(b, policy) for a, b in pairs)
    assert all(a.ce_weight == b.ce_weight for a, b in pairs)

    def used(sequences: list[TrainingSequence]) -> set[int]:
        return {s.ids[n] for s in sequences for n in _numbers(s, policy)}

    assert len(used(nearest)) == 2 < 8 < len(used(drawn))


def test_a_share_of_low_numbers_leaves_out_what_is_too_much(tmp_path: Path) -> None:
    policy, context = _policy(), _context(tmp_path, low_share="[0.5, 1.0]")
    items = _items(context, policy)
    lost = sum(not item.trajectory.success for item in items)
    assert 0 < lost < len(items) / 2
    assert len(sft.corpus(context, items, policy)) == 2 * lost


def test_slots_stand_at_the_numbers_and_hold_them(tmp_path: Path) -> None:
    policy = _policy()
    for sequence in _sequences(_context(tmp_path, brier="0.1"), policy):
        levels = policy.level_ids() or ()
        numbers = _numbers(sequence, policy)
        assert [slot.position for slot in sequence.brier] == numbers and numbers
        for slot in sequence.brier:
            assert levels[nearest_level(slot.target)] == sequence.ids[slot.position]


def _train(context: Context, sequences: list[TrainingSequence], brier: float) -> list[float]:
    section = context.config.sft
    corpus = Corpus(sequences=sequences, epochs=1.0, brier=brier)
    policy = train_supervised(context, "sft", _policy(), corpus, section)
    return [float(p.detach().abs().sum()) for p in policy.model.parameters()]


def test_the_score_trains_beside_cross_entropy_and_with_weight_0_changes_nothing(
    tmp_path: Path,
) -> None:
    context = _context(tmp_path / "run", brier="0.1")
    sequences = _sequences(context, _policy())
    bare = [replace(sequence, brier=()) for sequence in sequences]
    without = _train(context, bare, 0.0)
    assert _train(context, sequences, 0.0) == without
    assert _train(context, sequences, 0.5) != without
    rows = read_metrics(context.stage_dir("sft") / "metrics.jsonl")
    assert all(0 < row["brier_loss"] < 1 and row["ce_loss"] > 0 for row in rows)
    first = rows[0]
    assert first["loss"] == pytest.approx(first["ce_loss"] + 0.5 * first["brier_loss"])


def test_a_tokenizer_that_cuts_numbers_apart_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, context = _policy(), _context(tmp_path, brier="0.1")
    items = _items(context, policy)
    monkeypatch.setattr(sft, "level_ids", lambda tokenizer: None)
    with pytest.raises(InputError, match=r"sft\.brier"):
        sft.corpus(context, items, policy)


def test_single_turns_train_the_same_tokens_and_read_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context, policy = _context(tmp_path), _policy()
    made = sft.corpus(context, _items(context, policy), policy)
    sections = {
        name: context.config.sft.model_copy(update={"samples": name})
        for name in ("episodes", "turns")
    }
    whole, turns = (sft.as_samples(section, made) for section in sections.values())
    assert len(turns) == sum(len(written.turns) for written in made)
    assert sum(sum(row.ce_weight) for row in turns) == sum(sum(row.ce_weight) for row in whole)
    read = [sum(len(row.ids) for row in rows) for rows in (whole, turns)]
    assert read[0] < read[1]
    said = capsys.readouterr().err.splitlines()
    assert said[-1].endswith("sft.samples = turns")
    for line in said[-2:]:
        assert f"{read[0]:,} tokens in {len(whole)} episodes, {read[1]:,} in {len(turns)}" in line


def test_stage_2_trains_on_the_samples_that_it_is_told(tmp_path: Path) -> None:
    steps = {}
    for name in ("episodes", "turns"):
        context, policy = _context(tmp_path / name, samples=name, epochs="1"), _policy()
        sft.run(context, _items(context, policy), policy, fresh_labels=True)
        steps[name] = len(read_metrics(tmp_path / name / "sft/metrics.jsonl"))
    assert steps["turns"] > 2 * steps["episodes"]
