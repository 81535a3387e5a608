"""What a run writes and reads back: folders, episodes, step records, metrics, the environment.

Every file carries a schema name; a row that does not fit is an `InputError` that names file and
line. Rows and data types are turned into each other in `forethought.runlog_rows`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import resource
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forethought.jsonl import dumps, need, no_rows, read_jsonl, read_log, write_text_atomic
from forethought.runlog_rows import (
    EPISODE_SCHEMA,
    STEP_SCHEMA,
    StepRecord,
    episode_from_row,
    episode_to_row,
    step_from_row,
    step_to_row,
)
from forethought.types import Episode, JsonRow

__all__ = [
    "EPISODE_SCHEMA",
    "STEP_SCHEMA",
    "MetricsLog",
    "RunPaths",
    "StepRecord",
    "capture_env",
    "cpu_seconds",
    "episode_from_row",
    "episode_to_row",
    "read_block_losses",
    "read_episodes",
    "read_steps",
    "sha256_file",
    "step_from_row",
    "step_to_row",
]

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "bm25s", "math-verify", "pydantic")


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where the files of a run lie."""

    root: Path

    def __init__(self, root: str | Path) -> None:
        object.__setattr__(self, "root", Path(root))

    @property
    def config(self) -> Path:
        """The configuration as TOML."""
        return self.root / "config.toml"

    @property
    def resolved(self) -> Path:
        """The configuration with every default, as JSON."""
        return self.root / "resolved.json"

    @property
    def env(self) -> Path:
        """Versions, machine, command."""
        return self.root / "env.json"

    @property
    def state(self) -> Path:
        """Which steps are finished."""
        return self.root / "state.json"

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.root / "page.html"

    @property
    def summary(self) -> Path:
        """The figures of the whole run."""
        return self.root / "summary.json"

    @property
    def blocks(self) -> Path:
        """The loss on held-out blocks, before and after stage 1."""
        return self.root / "midtrain" / "blocks.jsonl"

    @property
    def examples(self) -> Path:
        """Scripted episodes, to look at before a model has played."""
        return self.root / "examples.jsonl"

    def arms(self) -> list[tuple[str, Path]]:
        """Name and folder of each arm: `full`, then the controls."""
        controls = [path for path in self.root.iterdir() if (path / "sft").is_dir()]
        return [("full", self.root), *((path.name, path) for path in sorted(controls))]

    def eval_dir(self, name: str) -> Path:
        """Folder of one evaluation."""
        return self.root / "evals" / name


class MetricsLog:
    """metrics.jsonl of a stage: one line an optimiser step, in order."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def append(self, step: int, **values: float) -> None:
        """Adds the line of a step; values that are not finite are written as null."""
        row = {"step": step} | {k: v if abs(v) < float("inf") else None for k, v in values.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(dumps(row) + "\n")

    def truncate_after(self, step: int) -> None:
        """Drops the lines behind `step`, a torn last line included: they will be written again.

        Raises:
            InputError: a line is no row of a log.
        """
        if not self._path.is_file():
            return
        rows = read_log(self._path) if step else ()
        steps = [(need(row, "step", int, str(self._path), n), row) for n, row in rows]
        kept = [dumps(row) + "\n" for number, row in steps if number <= step]
        write_text_atomic(self._path, "".join(kept))


def read_episodes(path: str | Path) -> list[Episode]:
    """All episodes of a file, at least one.

    Raises:
        InputError: the file is absent or empty, or a line is no episode.
    """
    episodes = [episode_from_row(row, str(path), line) for line, row in read_jsonl(path)]
    if not episodes:
        raise no_rows(path, "episode")
    return episodes


def read_steps(path: str | Path) -> list[StepRecord]:
    """All step records of a file.

    Raises:
        InputError: the file is absent, or a line is no step record.
    """
    return [step_from_row(row, str(path), line) for line, row in read_jsonl(path)]


def read_block_losses(run: str | Path) -> list[JsonRow]:
    """One row a held-out block, nats a token before and after stage 1; none if not measured.

    Raises:
        InputError: a line without the losses of both kinds of blocks.
    """
    from forethought.stats.blocks import KINDS  # brings numpy, which few readers need

    file = RunPaths(run).blocks
    rows: list[JsonRow] = []
    for line, row in read_jsonl(file) if file.is_file() else ():
        for kind in KINDS:
            losses = need(row, kind, dict, str(file), line)
            for when in ("before", "after"):
                need(losses, when, (int, float), str(file), line)
        rows.append(row)
    return rows


def sha256_file(path: str | Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cpu_seconds() -> float:
    """User and system seconds of this process and its finished children. Recorded, never used."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def capture_env(
    command: Sequence[str], seeds: Mapping[str, int], hashes: Mapping[str, str]
) -> JsonRow:
    """What a run was made with: the content of env.json.

    Args:
        command: the words behind `forethought`.
        seeds: name -> seed.
        hashes: sha256 of model, data and configuration.
    """
    return {
        "schema": "forethought.env/1",
        "command": command_line(command),
        "seeds": dict(seeds),
        "sha256": dict(hashes),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("forethought", *PACKAGES)},
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        **_commit(),
    }


def command_line(words: Sequence[str]) -> str:
    """A command as a user types it, whatever path the program was started from."""
    # Where the locale is not UTF-8, Python keeps the bytes of arguments as half surrogates.
    line = shlex.join(["forethought", *words])
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> JsonRow:
    """Commit and dirtiness of the checkout that the package lies in; null where there is none."""
    here = Path(__file__).resolve().parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return {"commit": head, "dirty": bool(_git(here, "status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True, timeout=10
    )
    return done.stdout.strip()
