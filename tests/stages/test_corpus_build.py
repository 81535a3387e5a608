"""Corpus files: the sequences of the stages, equal bytes however they are built, little memory."""

from __future__ import annotations

import gc
import json
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forethought.errors import InputError
from forethought.hindsight.corpus_rows import read_corpus, written_from_row
from forethought.hindsight.labelled_file import LabelledFile
from forethought.hindsight.records import Labelled, read_labelled
from forethought.jsonl import read_json, read_jsonl, write_jsonl
from forethought.stages import corpus as build
from forethought.stages.corpus import STAGES, CorpusPlan, ShardWriter, build_corpus
from forethought.stages.labels import relabel
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from tests.stages.corpus_runs import items, make_run, tokenizer

SHAPE = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=64)
TORN = '{"shard": 1, "sets": {"ma'


def plan_of(run: Path, out: Path, stage: str = "midtrain", **options: Any) -> CorpusPlan:
    out.mkdir(exist_ok=True)
    return CorpusPlan.of_run(run, stage=stage, out=out, **{"shard_size": 7, **options})


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("old_blocks", ["true", "false"])
def test_each_set_is_what_the_stage_trains_on_in_memory(
    stage: str, old_blocks: str, tmp_path: Path
) -> None:
    """Shuffled twins across the borders of shards, and from the last item to the first."""
    run = make_run(tmp_path / "run", rollout__old_blocks=old_blocks, midtrain__lambda_obs="0.25")
    plan = plan_of(run, tmp_path / "out", stage, twins=True)
    build_corpus(plan)
    policy = SimpleNamespace(tokenizer=tokenizer())
    for name, section in plan.sections().items():
        config = plan.config.model_copy(update={stage: section})
        context = replace(plan.context, config=config)
        wanted = STAGES[stage].corpus(context, items(), policy)
        assert list(read_corpus(plan.out, name)) == wanted, name
    sizes = {len(list(read_corpus(plan.out, name))) for name in plan.sections()}
    assert len(sizes) > 1, "plain sets leave failures out"


def test_stage_2_takes_the_episodes_of_its_dose_and_no_twin_behind_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", sft__num_episodes="10", sft__corpus="shuffled")
    plan = plan_of(run, tmp_path / "out", "sft")
    build_corpus(plan)
    policy = SimpleNamespace(tokenizer=tokenizer())
    wanted = STAGES["sft"].corpus(plan.context, items()[:10], policy)
    assert list(read_corpus(plan.out)) == wanted
    assert wanted != STAGES["sft"].corpus(plan.context, items(), policy)[: len(wanted)]


def test_labels_of_another_student_are_those_that_stage_2_makes_of_its_counts(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", sft__num_episodes="12")
    rng = random.Random(0)
    places = [
        {"i": number, "t": step, "s": rng.randrange(5), "k": 4}
        for number, item in enumerate(items()[:12])
        for step in range(len(item.labels) - 1)
    ]
    counts = run / "sft/labels.jsonl"
    write_jsonl(counts, places)
    plan = plan_of(run, tmp_path / "out", "sft", labels=counts)
    build_corpus(plan)
    policy = Policy(build_tiny_llama(len(tokenizer()), SHAPE, seed=0), tokenizer())
    context = plan.context.with_resume(True)
    fresh = relabel(context, items()[:12], policy, folder=run / "sft")
    assert fresh != list(items()[:12])
    assert list(read_corpus(plan.out)) == STAGES["sft"].corpus(plan.context, fresh, policy)
    before = content(plan.out)
    assert build_corpus(plan, resume=True) and content(plan.out) == before
    for wrong, message in ((places[:-1], "no count"), ([*places, places[0]], "end of the file")):
        write_jsonl(counts, wrong)
        with pytest.raises(InputError, match=message):
            build_corpus(plan, resume=True)
    assert content(plan.out) == before


def test_drawn_numbers_bounded_shares_and_brier_slots_are_as_in_memory(tmp_path: Path) -> None:
    keys = {"q_targets": "posterior", "low_share": "[0.6, 1.0]", "brier": "0.1"}
    run = make_run(tmp_path / "run", **{f"sft__{name}": value for name, value in keys.items()})
    plan = plan_of(run, tmp_path / "out", "sft", twins=True)
    build_corpus(plan)
    policy = SimpleNamespace(tokenizer=tokenizer())
    wanted = STAGES["sft"].corpus(plan.context, items(), policy)
    found = list(read_corpus(plan.out))
    assert found == wanted and any(each.sequence.brier for each in found)
    assert len({each.sequence.source.split("/")[0] for each in found}) < len(items())


def test_observations_are_a_corpus_too(tmp_path: Path) -> None:
    plan = plan_of(make_run(tmp_path / "run", midtrain__corpus="observations"), tmp_path / "out")
    build_corpus(plan)
    policy = SimpleNamespace(tokenizer=tokenizer())
    assert list(read_corpus(plan.out)) == STAGES["midtrain"].corpus(plan.context, items(), policy)


def test_one_and_four_workers_write_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    found = []
    for workers in (1, 4):
        plan = plan_of(run, tmp_path / str(workers), twins=True, rows="turns", form="trl")
        build_corpus(plan, workers=workers)
        found.append(content(plan.out))
    assert found[0] == found[1]
    assert len(found[0]) == 5 * 4 + 1, "five sets of four shards, and corpus.json"


class Killed(BaseException):
    """What no handler catches."""


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Ends the process, as it were, before item `number` is written."""
    written = STAGES["sft"].written

    def until(*args: Any) -> Any:
        if args[3] == number:
            raise Killed
        return written(*args)

    monkeypatch.setattr(STAGES["sft"], "written", until)


@pytest.mark.parametrize(("number", "torn"), [(0, ""), (3, TORN), (7, ""), (17, TORN), (23, "")])
def test_a_killed_build_goes_on_to_the_same_bytes(
    number: int, torn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    whole = plan_of(run, tmp_path / "whole", "sft", twins=True)
    build_corpus(whole)
    plan = replace(whole, out=tmp_path / "killed")
    plan.out.mkdir()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, number)
        build_corpus(plan)
    assert not (plan.out / "corpus.json").exists()
    with (plan.out / "progress.jsonl").open("a") as stream:
        stream.write(torn)
    began: list[int] = []
    write = ShardWriter.write

    def counted(self: ShardWriter, shard: int, states: Any) -> Any:
        began.append(shard)
        return write(self, shard, states)

    monkeypatch.setattr(ShardWriter, "write", counted)
    build_corpus(plan, resume=True)
    assert content(plan.out) == content(whole.out)
    assert began == list(range(number // 7, 4)), "what was finished is not written again"


def test_a_shard_that_was_damaged_meanwhile_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    plan = plan_of(run, tmp_path / "out", "sft")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 17)
        build_corpus(plan)
    first = plan.out / "shard-00000.jsonl"
    good = first.read_bytes()
    first.write_bytes(good[:-9])
    build_corpus(plan, resume=True)
    assert first.read_bytes() == good


def test_a_folder_with_a_corpus_is_neither_overwritten_nor_mixed(tmp_path: Path) -> None:
    plan = plan_of(make_run(tmp_path / "run"), tmp_path / "out")
    made = build_corpus(plan)
    before = content(plan.out)
    with pytest.raises(InputError, match="add --resume"):
        build_corpus(plan)
    for other in ({"shard_size": 6}, {"rows": "turns"}, {"form": "trl"}, {"twins": True}):
        with pytest.raises(InputError, match="choose another --out"):
            build_corpus(replace(plan, **other), resume=True)
    assert build_corpus(plan, resume=True) == made
    assert content(plan.out) == before


def test_another_file_of_trajectories_is_another_corpus(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    plan = plan_of(run, tmp_path / "out")
    build_corpus(plan)
    make_run(run, items()[1:])
    with pytest.raises(InputError, match="trajectories"):
        build_corpus(plan, resume=True)


def test_a_set_names_the_passes_to_an_equal_dose(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", midtrain__epochs="2.5")
    sets = build_corpus(plan_of(run, tmp_path / "out", twins=True))["sets"]
    for count in ("trained_tokens", "block_tokens"):
        dose = 2.5 * sets["main"][count]
        for name, found in sets.items():
            if name == "plain" and count == "block_tokens":
                assert found[count] == 0 and found["passes"][count] is None
            else:
                assert found["passes"][count] * found[count] == pytest.approx(dose, rel=1e-4)
    assert sets["plain"]["passes"]["trained_tokens"] > 2.5, "fewer tokens, more passes"
    assert [sets[name]["blocks"] for name in sets] == [
        "true",
        "none",
        "recap",
        "shuffled",
        "constant",
    ]


def test_corpus_json_counts_what_the_shards_hold(tmp_path: Path) -> None:
    made = build_corpus(plan_of(make_run(tmp_path / "run"), tmp_path / "out"))
    found = made["sets"]["main"]
    written = list(read_corpus(tmp_path / "out"))
    weights = [weight for each in written for weight in each.sequence.ce_weight]
    assert found["sequences"] == len(written)
    assert found["trained_tokens"] == sum(weight > 0 for weight in weights)
    assert found["trained_weight"] == sum(weights)
    assert found["block_tokens"] == sum(each.block_tokens for each in written)
    assert made == read_json(tmp_path / "out/corpus.json")
    for shard in found["shards"]:
        assert shard["lines"] == len(list(read_jsonl(tmp_path / "out" / shard["file"])))


def test_a_shard_without_a_sequence_has_no_file(tmp_path: Path) -> None:
    lost = [item for item in items() if not item.trajectory.success][:3]
    won = [item for item in items() if item.trajectory.success][:3]
    run = make_run(tmp_path / "run", lost + won, midtrain__corpus="none")
    made = build_corpus(plan_of(run, tmp_path / "out", shard_size=3))
    assert [shard["file"] for shard in made["sets"]["main"]["shards"]] == ["shard-00001.jsonl"]
    assert set(content(tmp_path / "out")) == {"corpus.json", "shard-00001.jsonl"}


def many(num: int) -> list[Labelled]:
    """Items of as many tasks."""
    made = []
    for number in range(num):
        item = items()[number % len(items())]
        task = replace(item.trajectory.task, id=f"task-{number}")
        made.append(replace(item, trajectory=replace(item.trajectory, task=task)))
    return made


def peak(work: Callable[[], object]) -> int:
    """Bytes that a piece of work takes at its worst, its result included."""
    gc.collect()
    tracemalloc.start()
    kept = work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return found


def test_of_an_item_its_outline_alone_stays_in_memory(tmp_path: Path) -> None:
    """A list of items, the broken twin, grows by kilobytes each."""
    few, more = 40, 640
    growth = []
    for read in (LabelledFile, read_labelled):
        sizes = []
        for num in (few, more):
            file = make_run(tmp_path / f"run-{num}", many(num)) / "prepare/trajectories.jsonl"
            sizes.append(peak(lambda read=read, file=file: read(file)))
        growth.append((sizes[1] - sizes[0]) / (more - few))
    assert growth[0] < 250 and growth[1] > 1500


def test_the_last_shard_takes_no_more_memory_than_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", many(240), midtrain__corpus="shuffled")
    peaks: list[int] = []
    write = ShardWriter.write

    def watched(self: ShardWriter, shard: int, states: Any) -> Any:
        gc.collect()
        tracemalloc.reset_peak()
        row = write(self, shard, states)
        peaks.append(tracemalloc.get_traced_memory()[1])
        return row

    monkeypatch.setattr(ShardWriter, "write", watched)
    plan = plan_of(run, tmp_path / "out", shard_size=30)
    peak(lambda: build_corpus(plan))
    assert len(peaks) == 8
    assert peaks[-1] - peaks[1] < 150 * 30 * 6, peaks


def test_a_file_of_items_is_a_sequence_of_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    file = run / "prepare/trajectories.jsonl"
    file.write_bytes(b"\n" + file.read_bytes().replace(b"\n", b"\n \n", 3))
    lazy = LabelledFile(file)
    assert list(lazy) == list(items()) and len(lazy) == len(items())
    assert lazy[-1] == items()[-1] and lazy[3:5] == list(items()[3:5])
    with pytest.raises(IndexError):
        lazy[len(items())]


def test_a_file_that_changes_under_the_build_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lazy = LabelledFile(run / "prepare/trajectories.jsonl")
    make_run(run, items()[::-1])
    with pytest.raises(InputError):
        list(lazy)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "forethought.sequence/9"},
        {"ids": [1, 2]},
        {"weights": [0, 0, 1]},
        {"starts": [1]},
        {"starts": [0, 5]},
        {"turns": [0]},
        {"turns": [9]},
        {"block_tokens": []},
        {"source": 3},
    ],
    ids=json.dumps,
)
def test_a_row_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    row = {
        "schema": "forethought.sequence/1",
        "source": "t",
        "ids": [4, 5, 6],
        "weights": [0.0, 0.0, 1.0],
        "starts": [0],
        "turns": [1],
        "block_tokens": [1],
    }
    assert written_from_row(row, "f", 1).sequence.ids == (4, 5, 6)
    with pytest.raises(InputError, match="f:7"):
        written_from_row({**row, **change}, "f", 7)


def test_a_worker_that_dies_stops_the_build_with_the_way_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

        def submit(self, *args: Any) -> Any:
            raise build.BrokenProcessPool("killed")

        def shutdown(self, cancel_futures: bool) -> None: ...

    monkeypatch.setattr(build, "ProcessPoolExecutor", Broken)
    plan = plan_of(make_run(tmp_path / "run"), tmp_path / "out")
    with pytest.raises(build.GuardRail, match="--resume"):
        build_corpus(plan, workers=2)
