"""benchmarks/training.py: what does not need TRL. FLOPs, grouped rows, the shape of its file."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from speed_builders import ROOT, check_rows, run_benchmark
from torch.utils.flop_counter import FlopCounterMode

from forethought.training.policy import Policy
from forethought.training.trainer import Denominators

Import = Callable[[str], Any]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Import:
    """A script as a module, beside those that it imports."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_grouped_rows_have_equal_losses_and_a_limit(tmp_path: Path) -> None:
    words = ["--quick", "--sizes", "", "--vocabularies", "300,600"]
    found = run_benchmark("training.py", tmp_path, words)
    check_rows(found["rows"])
    cells = [(row["x"]["vocabulary"], row["x"]["measure"]) for row in found["rows"]]
    assert cells == list(product((300, 600), ("cpu", "wall")))
    for row in found["rows"]:
        work = row["equal_work"]
        assert work["tokens_ours"] == work["tokens_peer"] == 72
        assert work["loss_diff"] < 1e-5 and work["grad_diff"] < 1e-5
        assert row["x"]["rows"] == "grouped" and row["limit"]["gflops_per_s"] > 0


def grouped_batch(bench: Import) -> tuple[Any, Any, float]:
    supervised, grouped = bench("supervised"), bench("grouped")
    policy = supervised.build_policy("toy")
    batch = grouped.make_batch(policy.model, grouped.Group(members=3, prompt=12, suffix=20))
    return policy, batch, float(batch.weight.sum())


def test_an_equal_loss_is_told_from_another(bench: Import) -> None:
    policy, batch, weight = grouped_batch(bench)
    assert weight == 30  # of 20 tokens of each member, half
    gaps = bench("grouped").compare(policy, batch, Denominators(pg=weight))
    assert gaps["loss_diff"] < 1e-6 and gaps["grad_diff"] < 1e-5
    with pytest.raises(SystemExit, match="differ"):
        bench("grouped").compare(policy, batch, Denominators(pg=1.01 * weight))


def test_ratios_of_the_grouped_rows_are_not_1(bench: Import) -> None:
    policy, batch, weight = grouped_batch(bench)
    trainer = bench("grouped").trainer_of(Policy(policy.model, policy.tokenizer), 0.0)
    told, _ = bench("gradients").gradient_of(trainer, batch.sequences(), Denominators(pg=weight))
    assert told["log_ratio_abs"] > 0.1 and told["clip_share"] > 0.05


def test_flops_are_those_that_a_counter_sees(bench: Import) -> None:
    model = bench("sides").build_model("toy", 64).train()
    model.set_attn_implementation("eager")  # every pair of tokens, seen or not
    length = 48
    ids = torch.arange(length)[None] % 64
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    told = bench("arithmetic").training_flops(model, length, length, length**2)
    assert told == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert bench("arithmetic").weights_of(model)[1] == 64 * 32


def test_a_shared_prompt_is_counted_once(bench: Import) -> None:
    group = bench("grouped").Group(members=3, prompt=5, suffix=4)
    seen = {
        (0 if place < 5 else member, place, other)
        for member in range(3)
        for place in range(9)
        for other in range(place + 1)
    }
    assert group.seen == len(seen) and group.tokens == 27
    assert group.needed == len({(member, place) for member, place, _ in seen})


def test_there_are_sequences_for_every_update(bench: Import) -> None:
    supervised = bench("supervised")
    plan = supervised.Plan(rows=4, row_length=64, shortest=8, updates=3)
    found = supervised.make_sequences(100, plan)
    assert sum(map(len, found)) >= 4 * 64 * 4
    assert {len(ids) for ids in found} <= set(range(8, 57))
    assert all(4 <= token < 100 for ids in found for token in ids)
    trained = supervised.as_trained(found[0])
    assert trained.ids == tuple(found[0]) and sum(trained.ce_weight) == len(found[0]) - 1


def test_a_row_says_how_quick_the_machine_is(bench: Import) -> None:
    spent = bench("sides").Spent
    times = {"ours": 2.0, "peer": 3.0, "limit": 0.5}
    calls = {side: [spent(cpu=value, wall=value)] for side, value in times.items()}
    cells = bench("arithmetic").cells(calls, "cpu", 1000.0, (4e9, 2e9))
    assert cells["ours"]["median"] == 2000.0 and cells["ratio"]["value"] == 1.5
    assert cells["tokens_per_s"] == {"ours": 500.0, "peer": 333.3}
    assert cells["limit"]["gflops_per_s"] == 4.0  # 2e9 in half a second
    assert cells["limit"]["share"] == 0.5  # 4e9 would take one second of our two
