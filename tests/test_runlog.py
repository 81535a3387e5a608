"""What a run writes is what it reads, and what does not fit is named by file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forethought.errors import InputError
from forethought.jsonl import write_jsonl
from forethought.runlog import (
    MetricsLog,
    RunPaths,
    StepRecord,
    capture_env,
    episode_from_row,
    episode_to_row,
    read_block_losses,
    read_episodes,
    sha256_file,
    step_from_row,
    step_to_row,
)
from forethought.types import Action
from tests.stats.stats_builders import episode, turn

ROW = episode_to_row(
    episode("a", 1, turn(0.5, novel=("x",), hit=("x",), contrast=0.25, oracle=0.5), turn(None))
)
STEP = StepRecord(
    task_id="a",
    split="train",
    world_seed=3,
    source_policy="wanderer",
    step=0,
    state="s",
    action=Action(kind="search", text="q"),
    future=("o",),
    alternatives=(),
    label={"value": 0.5, "source": "monte_carlo", "s": 2, "k": 4, "prior": 0.5},
    block={"roadmap": "r"},
    placebo={"shuffled": {}, "blind": {}, "constant": {}},
    outcome=1,
    filters={"answer": False},
)


def test_an_episode_survives_the_trip_through_json() -> None:
    rows = [
        episode("a", 1, turn(0.5, novel=("x",), contrast=0.25, oracle=0.5), turn(None)),
        episode("b", 0, turn(0.5), failed=True),
    ]
    for made in rows:
        row = json.loads(json.dumps(episode_to_row(made)))
        assert episode_from_row(row, "f", 1) == made


def test_a_step_record_survives_the_trip_through_json() -> None:
    row = json.loads(json.dumps(step_to_row(STEP)))
    assert step_from_row(row, "f", 1) == STEP


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": "other/1"}, "schema"),
        ({"success": 2}, "success"),
        ({"stop_reason": "tired"}, "stop_reason"),
        ({"turns": "none"}, "turns"),
        ({"turns": [3]}, "turn"),
        ({"tokens": {"prompt": 1}}, "sampled"),
        ({"answers": [1]}, "answers"),
        ({"task_id": None}, "task_id"),
        ({"reward": "much"}, "reward"),
        ({"wall_s": "x"}, "wall_s"),
        ({"wall_s": [1]}, "wall_s"),
        ({"judge": 3}, "judge"),
        ({"success": None}, "success"),
        ({"choice": {"chosen": 0.5, "mean": "x", "best": 1}}, "mean"),
        ({"tokens": {"prompt": -1, "sampled": 1, "observation": 1}}, "prompt"),
    ],
)
def test_a_malformed_episode_is_named_by_file_line_and_field(
    change: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError, match=rf"episodes\.jsonl:7: .*{named}"):
        episode_from_row({**ROW, **change}, "episodes.jsonl", 7)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"q_levels": [None]}, "q_levels"),
        ({"q_levels": ["a"]}, "q_levels"),
        ({"q_levels": [True]}, "q_levels"),
        ({"q_levels": "x"}, "q_levels"),
        ({"sampled_tokens": None}, "sampled_tokens"),
        ({"sampled_tokens": "x"}, "sampled_tokens"),
        ({"sampled_tokens": -1}, "sampled_tokens"),
        ({"tool_error": "no"}, "tool_error"),
        ({"q_expected": 2}, "q_expected"),
        ({"oracle_p": -0.5}, "oracle_p"),
        ({"foresight": {"roadmap": "r", "keywords": [], "analysis": "a", "q_text": 5}}, "q_text"),
        ({"action": {"kind": "search"}}, "text"),
    ],
)
def test_a_malformed_turn_is_named_by_file_line_and_field(
    change: dict[str, object], named: str
) -> None:
    row = {**ROW, "turns": [ROW["turns"][0], {**ROW["turns"][1], **change}]}
    with pytest.raises(InputError, match=rf"episodes\.jsonl:7: .*{named}"):
        episode_from_row(row, "episodes.jsonl", 7)


def test_an_evaluation_without_episodes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "episodes.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no rows"):
        read_episodes(tmp_path / "episodes.jsonl")


def test_a_q_outside_the_unit_interval_is_refused() -> None:
    row = json.loads(json.dumps(ROW))
    row["turns"][0]["foresight"]["q"] = 1.5
    with pytest.raises(InputError, match=r"q = 1\.5"):
        episode_from_row(row, "f", 1)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_episodes(tmp_path / "episodes.jsonl")


def test_metrics_behind_a_checkpoint_and_a_torn_line_are_dropped(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    for step in (1, 2, 3):
        log.append(step, loss=0.5 * step)
    with (tmp_path / "m.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')
    log.truncate_after(2)
    rows = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]


@pytest.mark.parametrize("line", [b"{}", b"[1]", b'{"step": "x"}', b"\xff\xfe", b'{"step": 1'])
def test_a_metrics_file_that_is_no_log_is_named_and_left_as_it_is(
    tmp_path: Path, line: bytes
) -> None:
    file = tmp_path / "m.jsonl"
    file.write_bytes(b'{"step":1}\n' + line + b'\n{"step":3}\n')
    with pytest.raises(InputError, match=r"m\.jsonl:2: "):
        MetricsLog(file).truncate_after(2)
    assert file.read_bytes().startswith(b'{"step":1}\n' + line)


def test_a_metric_that_is_not_finite_is_null_in_the_log(tmp_path: Path) -> None:
    MetricsLog(tmp_path / "m.jsonl").append(1, loss=float("nan"), top=float("inf"))
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"step": 1, "loss": None, "top": None}


def test_the_environment_record_names_versions_command_and_seeds() -> None:
    record = capture_env(["demo", "--seed", "1 2"], {"run": 7}, {"model": "ab"})
    assert record["command"] == "forethought demo --seed '1 2'"
    assert record["seeds"] == {"run": 7} and record["sha256"] == {"model": "ab"}
    assert record["packages"]["numpy"]


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x").startswith("ba7816bf")


def test_losses_on_held_out_blocks_are_read_whole_or_refused_by_line(tmp_path: Path) -> None:
    assert read_block_losses(tmp_path) == []  # not every run measures them
    row = {kind: {"before": 3, "after": 2.5} for kind in ("true", "shuffled")}
    for bad in ({**row, "shuffled": {"before": 3.0}}, {"true": row["true"]}, {**row, "true": 2.0}):
        write_jsonl(RunPaths(tmp_path).blocks, [row, bad])
        with pytest.raises(InputError, match=r"blocks\.jsonl:2"):
            read_block_losses(tmp_path)
    write_jsonl(RunPaths(tmp_path).blocks, [row, row])
    assert read_block_losses(tmp_path) == [row, row]
