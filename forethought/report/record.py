"""A record: what a published figure rests on, small enough to live in the repository.

One folder a run: command.txt, config.toml, env.json, summary.json, metrics.jsonl.gz (every training
curve), episodes.jsonl.gz (every evaluated episode). Runs of several seeds get a folder each and a
pooled summary above them.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from forethought.errors import InputError
from forethought.files import read_text
from forethought.jsonl import dumps, read_jsonl, write_json, write_text_atomic
from forethought.report.pooled import pool
from forethought.runfiles import read_env, read_metrics, read_run_summary
from forethought.runlog import RunPaths, episode_from_row
from forethought.types import JsonRow

LIMIT = 1_000_000  # bytes a file
LONG = ("q_levels",)  # of a turn: 21 numbers, which the expected q sums up
DIGITS = 3  # of the numbers of an episode: what its metrics are quoted to, and room below the limit
STAGES = ("base", "midtrain", "sft", "rl")


def write_record(runs: Sequence[Path], out: Path) -> list[Path]:
    """Writes the record of finished runs; returns its files.

    Raises:
        InputError: no run, a path that is no run or an unfinished one, a folder that is not empty,
            a file over 1 MB.
    """
    if not runs:
        raise _no_run("report --record", "no path")
    for run in runs:
        if not RunPaths(run).resolved.is_file():
            known = "a folder without resolved.json" if run.is_dir() else "no such folder"
            raise _no_run(str(run), known)
    new_folder(out)
    pooled = pool(runs) if len(runs) > 1 else None
    for run in runs:
        seed = read_run_summary(RunPaths(run).summary)["seed"]
        _one(run, out / f"seed-{seed}" if pooled else out)
    if pooled is not None:
        write_json(out / "summary.json", pooled)
        commands = [_command(run) for run in runs]
        write_text_atomic(out / "command.txt", "".join(f"{line}\n" for line in commands))
    return check_sizes(out, "evaluate fewer tasks (eval.num_tasks), or keep this run elsewhere")


def new_folder(out: Path) -> None:
    """Refuses what is there already.

    Raises:
        InputError: a file, or a folder that is not empty.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(
            str(out),
            got="a file" if out.is_file() else "a folder with files",
            expected="a new folder for the record",
            next_step="choose another name, such as records/DATE-WHAT",
        )


def check_sizes(out: Path, next_step: str) -> list[Path]:
    """The files of a record.

    Raises:
        InputError: one is over 1 MB.
    """
    files = sorted(path for path in out.rglob("*") if path.is_file())
    large = [path for path in files if path.stat().st_size > LIMIT]
    if large:
        raise InputError(
            str(large[0]),
            got=f"{large[0].stat().st_size:,} bytes",
            expected=f"at most {LIMIT:,}",
            next_step=next_step,
        )
    return files


def _no_run(where: str, got: str) -> InputError:
    return InputError(
        where,
        got=got,
        expected="the folder of a finished run",
        next_step="name folders that `forethought run` or `demo` wrote, and nothing else",
    )


def _one(run: Path, out: Path) -> None:
    paths = RunPaths(run)
    out.mkdir(parents=True, exist_ok=True)
    for file in (paths.config, paths.env, paths.summary):
        write_text_atomic(out / file.name, read_text(file, "a file of a finished run"))
    write_text_atomic(out / "command.txt", _command(run) + "\n")
    write_gz(out / "metrics.jsonl.gz", _metrics(run))
    write_gz(out / "episodes.jsonl.gz", _episodes(run))


def _command(run: Path) -> str:
    return str(read_env(RunPaths(run).env)["command"])


def _metrics(run: Path) -> Iterator[JsonRow]:
    for arm, folder in RunPaths(run).arms():
        for stage in STAGES:
            file = folder / stage / "metrics.jsonl"
            if file.is_file():
                for row in read_metrics(file):
                    yield {"arm": arm, "stage": stage, **row}


def _episodes(run: Path) -> Iterator[JsonRow]:
    """Every evaluated episode, task by task: neighbours share their texts, which packs well."""
    found: list[JsonRow] = []
    for file in sorted((run / "evals").glob("*/episodes.jsonl")):
        for line, row in read_jsonl(file):
            episode_from_row(row, str(file), line)
            found.append({"evaluation": file.parent.name, **packed_episode(row)})
    yield from sorted(found, key=lambda row: (row["task_id"], row["evaluation"], row["rollout"]))


def packed_episode(row: JsonRow) -> JsonRow:
    """An episode with short numbers and without the 21 probabilities of each turn."""
    turns = [{k: v for k, v in t.items() if k not in LONG} for t in row["turns"]]
    packed: JsonRow = _rounded({**row, "turns": turns})
    return packed


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def write_gz(path: Path, rows: Iterator[JsonRow]) -> None:
    """Equal rows give equal bytes: no name and no time in the header."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as stream:
        for row in rows:
            stream.write((dumps(row) + "\n").encode())
    path.write_bytes(buffer.getvalue())
