"""Other forms of a corpus have the loss of the append-only sequence, numerator and denominator."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from forethought.algos.observations import with_observations
from forethought.hindsight.corpus import Written
from forethought.hindsight.corpus_rows import read_corpus
from forethought.jsonl import read_jsonl
from forethought.stages.corpus import STAGES, CorpusPlan, build_corpus
from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import JsonRow, TrainingSequence
from tests.stages.corpus_runs import make_run, tokenizer

SHAPE = ModelShape(hidden=32, layers=2, heads=2, kv_heads=1, ffn=48, max_positions=1024)
CLOSE = {"rel": 1e-6, "abs": 1e-6}


def policy() -> Policy:
    return Policy(build_tiny_llama(len(tokenizer()), SHAPE, seed=3), tokenizer())


def weight_of(sequences: list[TrainingSequence]) -> float:
    return sum(sum(sequence.ce_weight) for sequence in sequences)


def trainer_loss(sequences: list[TrainingSequence], denominator: float | None = None) -> float:
    """The cross-entropy of one step of our trainer, before the step."""
    trainer = Trainer(policy(), OptimConfig(), TrainerConfig(total_steps=1))
    over = Denominators(ce=denominator or weight_of(sequences))
    return trainer.step(sequences, denominators=over, step_index=0)["ce_loss"]


def corpus_of(folder: Path, stage: str, old_blocks: str, **options: Any) -> tuple[Path, JsonRow]:
    """Observations have weight .25; blocks of earlier turns are kept or forgotten."""
    run = make_run(folder / "run", rollout__old_blocks=old_blocks, midtrain__lambda_obs="0.25")
    out = folder / "-".join([stage, *map(str, options.values())])
    out.mkdir()
    return out, build_corpus(CorpusPlan.of_run(run, stage=stage, out=out, **options))


def trained(written: list[Written]) -> list[TrainingSequence]:
    return [each.sequence for each in written if any(each.sequence.ce_weight)]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("old_blocks", ["true", "false"])
def test_the_single_turns_of_an_episode_have_its_loss(
    stage: str, old_blocks: str, tmp_path: Path
) -> None:
    whole, _ = corpus_of(tmp_path, stage, old_blocks, rows="episodes")
    cut, _ = corpus_of(tmp_path, stage, old_blocks, rows="turns")
    rows: dict[str, list[TrainingSequence]] = {}
    for written in read_corpus(cut):
        rows.setdefault(written.sequence.source.rpartition("#")[0], []).append(written.sequence)
    episodes = trained(list(read_corpus(whole)))
    by_source: dict[str, list[TrainingSequence]] = {}
    for episode in episodes:
        by_source.setdefault(episode.source, []).append(episode)
    assert set(rows) == set(by_source)
    for source, mine in list(by_source.items())[:8]:
        assert weight_of(rows[source]) == weight_of(mine)
        assert trainer_loss(rows[source]) == pytest.approx(trainer_loss(mine), **CLOSE)
    everything = [row for each in rows.values() for row in each]
    assert trainer_loss(everything) == pytest.approx(trainer_loss(episodes), **CLOSE)


@pytest.mark.parametrize("old_blocks", ["true", "false"])
def test_a_row_is_what_the_episode_has_before_the_turn_then_the_turn(
    old_blocks: str, tmp_path: Path
) -> None:
    out, made = corpus_of(tmp_path, "sft", old_blocks, rows="episodes")
    rows = documents = 0
    for written in read_corpus(out):
        documents += len(written.sequence.starts)
        for row in written.rows():
            (turn,) = row.turns
            number = int(row.sequence.source.rpartition("#")[2])
            at = written.turns[number].start
            begin = max(start for start in written.sequence.starts if start <= at)
            assert row.sequence.starts == (0,)
            assert row.sequence.ids[: turn.start] == written.sequence.ids[begin:at]
            assert not any(row.sequence.ce_weight[: turn.start])
            assert row.sequence.ce_weight[turn.start] and row.sequence.ce_weight[-1]
            assert turn.block_tokens == written.turns[number].block_tokens
            rows += len(row.sequence.ids)
    assert rows == made["sets"]["main"]["forwarded_as_turns"]
    if old_blocks == "true":
        assert documents == made["sets"]["main"]["sequences"]
        assert rows > made["sets"]["main"]["forwarded_as_episodes"]
    else:
        assert documents > made["sets"]["main"]["sequences"], "each turn has a past of its own"


def plain_loss(model: Any, row: JsonRow) -> float:
    """Sum of weight times negative log-likelihood, written out."""
    ids = torch.tensor(row["input_ids"])
    with torch.no_grad():
        logprobs = model(input_ids=ids[None]).logits[0].log_softmax(-1)
    weights = row["loss_weights"]
    return -sum(
        weights[at] * float(logprobs[at - 1, token])
        for at, token in enumerate(row["input_ids"])
        if weights[at]
    )


@pytest.mark.parametrize("rows", ["episodes", "turns"])
@pytest.mark.parametrize("old_blocks", ["true", "false"])
def test_rows_for_trl_have_the_loss_of_our_trainer(
    rows: str, old_blocks: str, tmp_path: Path
) -> None:
    ours, _ = corpus_of(tmp_path, "midtrain", old_blocks, rows="episodes")
    theirs, _ = corpus_of(tmp_path, "midtrain", old_blocks, rows=rows, form="trl")
    shards = sorted(theirs.glob("shard-*.jsonl"))
    shown = [row for shard in shards for _, row in read_jsonl(shard)]
    for row in shown:
        assert list(row) == ["input_ids", "labels", "loss_weights", "source"]
        triples = zip(row["input_ids"], row["labels"], row["loss_weights"], strict=True)
        assert all(label == (token if weight else -100) for token, label, weight in triples)
        assert all(type(weight) is float for weight in row["loss_weights"])
        assert any(row["loss_weights"]) and not row["loss_weights"][0]
    by_source: dict[str, list[JsonRow]] = {}
    for row in shown:
        by_source.setdefault(row["source"].partition("#")[0], []).append(row)
    model = policy().model
    for written in list(read_corpus(ours))[:12]:
        (folded,), response = with_observations([written.sequence], 0.25)
        made = by_source[folded.source]
        total = sum(sum(row["loss_weights"]) for row in made)
        replies = 0.25 * response if any(written.sequence.obs_weight) else 0.0
        assert total == pytest.approx(response + replies) == pytest.approx(weight_of([folded]))
        summed = sum(plain_loss(model, row) for row in made)
        assert summed / total == pytest.approx(trainer_loss([folded]), **CLOSE)


@cache
def example() -> ModuleType:
    """examples/train_with_trl.py, which needs TRL only where it trains."""
    path = Path(__file__).parents[2] / "examples/train_with_trl.py"
    spec = importlib.util.spec_from_file_location("train_with_trl", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown_rows(folder: Path) -> tuple[list[JsonRow], float]:
    """Eight rows for TRL, and the loss of our trainer on them as one batch."""
    out, _ = corpus_of(folder, "midtrain", "true", rows="turns", form="trl")
    rows = [row for _, row in read_jsonl(out / "shard-00000.jsonl")][:8]
    sequences = [
        TrainingSequence(ids=tuple(row["input_ids"]), ce_weight=tuple(row["loss_weights"]))
        for row in rows
    ]
    return rows, trainer_loss(sequences)


class Base:
    """The part of transformers' Trainer that the example's subclass calls."""

    class args:
        device = "cpu"

    class accelerator:
        num_processes = 1

        @staticmethod
        def gather(value: torch.Tensor) -> torch.Tensor:
            return value

    def get_batch_samples(self, batches: list[Any]) -> tuple[list[Any], Any]:
        return batches, torch.tensor(10**6)


def test_the_example_divides_by_the_weights_of_all_accumulated_batches(tmp_path: Path) -> None:
    rows, wanted = shown_rows(tmp_path)
    model, trainer = policy().model, example().weighted(Base)()
    pairs = [rows[:3], rows[3:]]
    batches, total = trainer.get_batch_samples([example().collate(part, 0) for part in pairs])
    losses = [trainer.compute_loss(model, batch, num_items_in_batch=total) for batch in batches]
    assert float(sum(losses).detach()) == pytest.approx(wanted, **CLOSE)


def test_the_example_weighs_an_evaluation_batch_by_itself(tmp_path: Path) -> None:
    rows, wanted = shown_rows(tmp_path)
    batch = example().collate(rows, 0)
    loss, outputs = example().weighted(Base)().compute_loss(policy().model, batch, True)
    assert float(loss.detach()) == pytest.approx(wanted, **CLOSE)
    assert outputs.logits.shape[:2] == batch["input_ids"].shape


def test_the_example_says_how_to_get_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SystemExit, match=r"pip install 'forethought\[trl,datasets\]'"):
        example().train("corpus", "model", "out")
