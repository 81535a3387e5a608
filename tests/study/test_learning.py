"""Each stage moves its own metric, and its broken twin, trained as long, does not.

Ten to thirty minutes on one core: `make study-smoke`. The twins keep the tokens, the steps and the
rates and break one thing each: blocks without weight, the future of another task, a constant
label, advantages dealt out at random.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forethought.algos.credit import credit_episodes
from forethought.config import load_config
from forethought.hindsight.records import Labelled
from forethought.runlog import read_block_losses, read_episodes
from forethought.schema import RunConfig
from forethought.stages import base, midtrain, prepare, rl, sft
from forethought.stages.context import Context, open_run
from forethought.stages.evaluate import evaluate_stage
from forethought.stats.blocks import block_loss_draws
from forethought.stats.bootstrap import difference, interval, metric_draws, paired_draws
from forethought.training.policy import Policy
from forethought.types import TrainingSequence, TurnCredit

pytestmark = pytest.mark.study

SEED = 110
TAGGED = 2000  # episodes of stage 2
SIZES = {
    "seed": str(SEED),
    "prepare.num_episodes": "4000",  # with half of them stage 1 gains .09 [-.02, .19] nats only
    "prepare.branch_states": "50",
    "sft.epochs": "3",
    "sft.relabel": "false",  # labels are the base's: what is tested is that a label is learnt
    "eval.num_tasks": "500",
    "eval.num_blocks": "1000",
    "eval.greedy_too": "false",
    "eval.imagine_k": "0",
    "control.arms": "[]",
}


class Study:
    """One base model and one corpus; every arm starts from copies of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.context = self.arm("shared")
        self.base = base.run(self.context)
        self.items = prepare.run(self.context, self.base)
        self._sft: dict[str, Policy] = {}

    def arm(self, name: str, **sections: dict[str, Any]) -> Context:
        """A run of its own with changed keys of some sections."""
        config: RunConfig = load_config("demo/atlas", SIZES)
        changed = {
            section: getattr(config, section).model_copy(update=values)
            for section, values in sections.items()
        }
        return open_run(config.model_copy(update=changed), self.root / name, resume=False)

    def block_fall(self, name: str, **section: Any) -> tuple[float, float]:
        """How much more the loss on held-out true blocks falls in stage 1 than on shuffled ones."""
        context = self.arm(name, midtrain=section)
        midtrain.run(context, self.items, self.base.copy())
        draws = block_loss_draws(read_block_losses(context.paths.root), seed=SEED)
        cell = interval(draws["block_loss_fall.true_minus_shuffled"])
        assert cell.lo is not None and cell.hi is not None
        return cell.lo, cell.hi

    def tagged(self, name: str, items: Sequence[Labelled]) -> Policy:
        """The model of stage 2 on these labels, evaluated as `sft` of the arm."""
        if name not in self._sft:
            context = self.arm(name)
            policy = sft.run(context, items[:TAGGED], self.base.copy(), fresh_labels=True)
            evaluate_stage(context, policy, "sft")
            self._sft[name] = policy
        return self._sft[name]

    def metric(self, name: str, metric: str, stage: str = "sft") -> tuple[float, float]:
        """The 95 % interval of a metric of an evaluated stage."""
        file = self.root / name / "evals" / stage / "episodes.jsonl"
        cell = interval(metric_draws(read_episodes(file), (metric,), seed=SEED)[metric])
        assert cell.lo is not None and cell.hi is not None
        return cell.lo, cell.hi

    def reinforced(self, name: str, **section: Any) -> None:
        """Stage 3 of an arm from the model of stage 2, evaluated as `rl` of the arm."""
        context = self.arm(name, rl=section)
        policy = rl.run(context, self.tagged("measured", self.items).copy())
        evaluate_stage(context, policy, "rl")

    def gain(self, name: str, over: str, metric: str) -> dict[str, float]:
        """A metric after stage 3 of an arm minus that of another, or of stage 2 (`measured`)."""
        after, before = (
            read_episodes(self.root / run / "evals" / stage / "episodes.jsonl")
            for run, stage in ((name, "rl"), (over, "sft" if over == "measured" else "rl"))
        )
        found = difference(paired_draws(after, before, (metric,), seed=SEED)[metric])
        assert found is not None
        return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


def test_stage_one_foretells_held_out_futures_and_not_so_from_shuffled_ones(study: Study) -> None:
    learnt = study.block_fall("true")
    broken = study.block_fall("shuffled", corpus="shuffled")
    assert learnt[0] > 0.05, f"held-out futures were not learnt: {learnt}"
    assert broken[1] < learnt[0], f"futures of other tasks teach as much: {broken}, {learnt}"


def test_stage_two_writes_blocks_whose_number_tells_success(study: Study) -> None:
    study.tagged("measured", study.items)
    assert study.metric("measured", "format_ok")[0] > 0.95
    assert study.metric("measured", "auroc_expected.first")[0] > 0.65
    assert study.metric("measured", "keyword_lift")[0] > 0.25


def test_a_constant_label_teaches_a_number_that_tells_nothing(study: Study) -> None:
    values = [label.value for item in study.items for label in item.labels]
    mean = sum(values) / len(values)
    items = [
        replace(
            item,
            labels=tuple(replace(label, value=mean) for label in item.labels),
            branches=(),
        )
        for item in study.items
    ]
    study.tagged("constant", items)
    assert study.metric("constant", "format_ok")[0] > 0.9
    _, high = study.metric("constant", "auroc_expected.first")
    assert high < study.metric("measured", "auroc_expected.first")[0]


def test_blocks_without_weight_teach_no_format(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sft.train_supervised

    def without_blocks(context: Context, stage: str, policy: Policy, data: Any, *rest: Any) -> Any:
        tagged = policy.tokenizer.convert_tokens_to_ids(["<imaginary>", "<think>"])
        sequences = [_act_only(sequence, *tagged) for sequence in data.sequences]
        kept = [sequence for sequence in sequences if any(sequence.ce_weight)]
        return whole(context, stage, policy, replace(data, sequences=kept), *rest)

    monkeypatch.setattr(sft, "train_supervised", without_blocks)
    study.tagged("masked", study.items)
    assert study.metric("masked", "format_ok")[1] < 0.5


def _act_only(sequence: TrainingSequence, opening: int, act: int) -> TrainingSequence:
    """The sequence with weight 0 from the opening tag of a block to the thought behind it."""
    weights, inside = [], False
    for token, weight in zip(sequence.ids, sequence.ce_weight, strict=True):
        inside = (inside or token == opening) and token != act
        weights.append(0.0 if inside else weight)
    return replace(sequence, ce_weight=tuple(weights))


def test_stage_three_wins_more_often_and_chooses_better(study: Study) -> None:
    study.tagged("measured", study.items)
    study.reinforced("credited")
    for metric in ("success", "choice_gain"):
        gained = study.gain("credited", "measured", metric)
        assert gained["lo"] > 0, (metric, gained)


def test_it_is_credit_that_chooses_and_not_advantages_dealt_out_at_random(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reference as it is: a sharpened one sharpens choices, too, whatever the credit."""
    study.tagged("measured", study.items)
    study.reinforced("credit alone", kl_temperature=1.0)
    calls = 0

    def shuffled(*args: Any, **keys: Any) -> list[list[TurnCredit]]:
        nonlocal calls
        calls += 1
        return _dealt(credit_episodes(*args, **keys), random.Random(calls))

    monkeypatch.setattr(rl, "credit_episodes", shuffled)
    study.reinforced("dealt", kl_temperature=1.0)
    assert calls > 0
    gained = study.gain("credit alone", "measured", "choice_gain")
    assert gained["lo"] > 0, gained
    by_chance = study.gain("dealt", "measured", "choice_gain")
    assert by_chance["lo"] <= 0, by_chance
    credit = study.gain("credit alone", "dealt", "choice_gain")
    assert credit["lo"] > 0, credit


def _dealt(credits: list[list[TurnCredit]], rng: random.Random) -> list[list[TurnCredit]]:
    """Each turn with the advantages of a random turn of the batch that has the same spans."""
    turns = [turn for member in credits for turn in member]
    pools: dict[tuple[bool, ...], list[TurnCredit]] = {}
    for turn in turns:
        pools.setdefault(_spans(turn), []).append(turn)
    for pool in pools.values():
        rng.shuffle(pool)
    return [[pools[_spans(turn)].pop() for turn in member] for member in credits]


def _spans(turn: TurnCredit) -> tuple[bool, ...]:
    return tuple(
        value is not None for value in (turn.plan, turn.confidence, turn.act, turn.analysis)
    )
