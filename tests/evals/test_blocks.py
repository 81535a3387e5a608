"""The loss on held-out blocks: same place and headings, another future, weight on the block."""

from __future__ import annotations

from functools import cache

import pytest

torch = pytest.importorskip("torch")

from forethought.domains.atlas import AtlasDomain, atlas_tokenizer  # noqa: E402
from forethought.evals.blocks import (  # noqa: E402
    HeldOut,
    block_losses,
    held_out_blocks,
    loss_rows,
)
from forethought.hindsight.corpus import CorpusBuilder  # noqa: E402
from forethought.schema import RunConfig  # noqa: E402
from forethought.stats.blocks import block_loss_draws  # noqa: E402
from forethought.stats.bootstrap import difference  # noqa: E402
from forethought.training.policy import Policy  # noqa: E402
from forethought.training.tiny import ModelShape, build_tiny_llama  # noqa: E402
from forethought.types import TrainingSequence  # noqa: E402


@cache
def held_out() -> HeldOut:
    domain, tokenizer = AtlasDomain.from_config(RunConfig(seed=100)), atlas_tokenizer()
    builder = CorpusBuilder(
        text_format=domain.text_format, tokenizer=tokenizer, writer=domain.writer
    )
    trajectories = domain.trajectories(40, tokenizer, split="val")
    return held_out_blocks(builder, trajectories, number=0.45, seed=1)


@cache
def policy() -> Policy:
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=32, layers=2, heads=2, kv_heads=1, ffn=64, max_positions=512)
    return Policy(model=build_tiny_llama(len(tokenizer), shape, seed=0), tokenizer=tokenizer)


def weighted_text(sequence: TrainingSequence) -> str:
    kept = [i for i, w in zip(sequence.ids, sequence.ce_weight, strict=True) if w > 0]
    return str(atlas_tokenizer().decode(kept))


def test_only_the_block_has_weight_and_the_placebo_differs_in_nothing_before_it() -> None:
    pairs = list(zip(held_out().sequences["true"], held_out().sequences["shuffled"], strict=True))
    differing = 0
    for true, shuffled in pairs:
        first = true.ce_weight.index(1.0)
        assert true.ids[:first] == shuffled.ids[:first]
        assert first == shuffled.ce_weight.index(1.0)
        text = weighted_text(true)
        assert "<think>" not in text and "<search>" not in text and "45" in text
        differing += text != weighted_text(shuffled)
    assert differing > 0.9 * len(pairs)


def test_held_out_tasks_are_of_the_split_asked_for() -> None:
    assert len(held_out().task_ids) > 30
    assert all(
        1000 <= int(t.split("-W")[1].split("-")[0]) // 100 < 2000 for t in held_out().task_ids
    )


def test_losses_do_not_depend_on_the_batch_they_are_scored_in() -> None:
    whole = block_losses(policy(), held_out())["true"]
    for number in (0, 7, len(whole) - 1):
        one = HeldOut(
            task_ids=held_out().task_ids[number : number + 1],
            steps=held_out().steps[number : number + 1],
            sequences={k: v[number : number + 1] for k, v in held_out().sequences.items()},
        )
        assert block_losses(policy(), one)["true"][0] == pytest.approx(whole[number], abs=1e-4)


def test_an_untrained_model_cannot_tell_true_blocks_from_shuffled_ones() -> None:
    losses = block_losses(policy(), held_out())
    rows = loss_rows(held_out(), losses, losses)
    found = block_loss_draws(rows, seed=0)
    assert len(found) == 3 and all(not one.values_R.any() for one in found.values())


def test_the_verdict_is_the_difference_of_the_falls() -> None:
    before = {"true": [3.0, 3.0], "shuffled": [3.0, 3.0]}
    after = {"true": [1.0, 1.5], "shuffled": [2.0, 2.0]}
    two = HeldOut(task_ids=("a", "b"), steps=(0, 0), sequences={})
    found = block_loss_draws(loss_rows(two, before, after), seed=0)
    assert found["block_loss.true"].point == pytest.approx(-1.75)
    assert found["block_loss.shuffled"].point == pytest.approx(-1.0)
    verdict = difference(found["block_loss_fall.true_minus_shuffled"])
    assert verdict is not None
    assert verdict["diff"] == pytest.approx(0.75) and verdict["lo"] == pytest.approx(0.5)
