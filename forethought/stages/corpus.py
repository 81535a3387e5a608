"""The corpora of stages 1 and 2 as numbered files, built by any number of processes.

A shard holds the sequences of `shard_size` trajectories and is a function of the configuration and
of its number alone: the draws of the stage are passed over for the items before it. So neither the
number of workers nor a build that was stopped changes a byte, and nothing holds more than one item
and the outline of the file. What stands in a shard is what `midtrain.corpus` and `sft.corpus` make
in memory, by the same functions.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from forethought.algos.observations import with_observations
from forethought.config import read_resolved
from forethought.domains import make_domain, make_tokenizer
from forethought.errors import GuardRail, InputError
from forethought.files import open_input
from forethought.hindsight.corpus import Written
from forethought.hindsight.corpus_rows import Format, corpus_rows
from forethought.hindsight.labelled_file import LabelledFile
from forethought.jsonl import dumps, read_json, read_log, write_json, write_jsonl
from forethought.progress import progress
from forethought.runlog import RunPaths, sha256_file
from forethought.schema import RunConfig
from forethought.stages import midtrain, sft
from forethought.stages.context import Context, config_hash
from forethought.stages.corpus_counts import Counts, corpus_document
from forethought.stages.prepare import num_kept
from forethought.stages.relabelled import write_relabelled
from forethought.types import JsonRow

SCHEMA = "forethought.corpus/1"
MAIN = "main"
"""The set that the stage trains on; the others are its controls."""
STAGES: dict[str, Any] = {"midtrain": midtrain, "sft": sft}
PLACEBOS = ("recap", "shuffled", "constant")
TWINS: dict[str, dict[str, JsonRow]] = {
    "midtrain": {"plain": {"corpus": "none"}, **{kind: {"corpus": kind} for kind in PLACEBOS}},
    "sft": {
        "plain": {"blocks": False},
        **{kind: {"blocks": True, "corpus": kind} for kind in PLACEBOS},
    },
}
"""Keys of a stage for each control: the same episodes without blocks, or with other ones."""
_JOURNAL = "progress.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusPlan:
    """What is built, and where."""

    run: Path
    config: RunConfig
    stage: str  # a key of STAGES
    out: Path
    rows: Literal["episodes", "turns"] = "episodes"
    form: Format = "sequences"
    twins: bool = False
    shard_size: int = 1000  # trajectories
    tokenizer: str | None = None  # a model; None: that of the run
    labels: Path | None = None  # counts of another student; None: the labels of stage 0

    @classmethod
    def of_run(cls, run: str | Path, **options: Any) -> CorpusPlan:
        """The plan for a run, with its configuration.

        Raises:
            InputError: the folder holds no run.
        """
        paths = RunPaths(run)
        return cls(run=paths.root, config=read_resolved(paths.resolved), **options)

    @property
    def context(self) -> Context:
        """The run."""
        domain = make_domain(self.config)
        return Context(config=self.config, paths=RunPaths(self.run), domain=domain)

    def items(self) -> LabelledFile:
        """The trajectories that the stage trains on; with other labels they are written to `out`.

        Raises:
            InputError: the file is absent, cut off, or a line does not fit.
        """
        limit = self.config.sft.num_episodes if self.stage == "sft" else None
        file = self.run / "prepare" / "trajectories.jsonl"
        items = LabelledFile(file, num=num_kept(self.context), limit=limit)
        if self.labels is None:
            return self._kept(items)
        open_input(self.labels, "a labels.jsonl").close()  # an absent file has a message
        made_of = [items.sha256, sha256_file(self.labels), config_hash(self.config)]
        name = hashlib.sha256("".join(made_of).encode()).hexdigest()[:12]
        file = self.out / f"trajectories-{name}.jsonl"
        if not file.is_file():
            strength = self.config.prepare.prior_strength
            write_relabelled(items, self.labels, file, strength=strength)
        return self._kept(LabelledFile(file))

    def _kept(self, items: LabelledFile) -> LabelledFile:
        """Without the items that the stage leaves out for their labels."""
        section = getattr(self.config, self.stage)
        items.keep(STAGES[self.stage].kept(section, items.first_labels))
        return items

    def sections(self) -> dict[str, Any]:
        """The settings of the stage for each set, by name."""
        section = getattr(self.config, self.stage)
        twins = TWINS[self.stage] if self.twins else {}
        changed = {name: section.model_copy(update=keys) for name, keys in twins.items()}
        return {MAIN: section, **changed}

    def load_tokenizer(self) -> Any:
        """The tokenizer that was named, else that of the run's base model."""
        from forethought.data.models import resolve_model
        from forethought.training.policy import load_tokenizer

        base = self.run / "base" / "model"
        if self.tokenizer is None and not base.is_dir():
            return make_tokenizer(self.config, make_domain(self.config))
        return load_tokenizer(resolve_model(self.tokenizer or str(base)))


ShardTask = tuple[int, dict[str, Any]]
"""Number of a shard, and the state of each set's random numbers where it begins."""


class ShardWriter:
    """Writes shards, whichever and in whatever order."""

    def __init__(self, plan: CorpusPlan, items: LabelledFile) -> None:
        self._plan, self._items = plan, items
        self._sections = plan.sections()
        self._builder = STAGES[plan.stage].make_builder(plan.context, plan.load_tokenizer())

    def write(self, number: int, states: dict[str, Any]) -> JsonRow:
        """Writes a shard of every set; returns what to count of it.

        Each file is complete as soon as it has its name. A shard without a sequence has none.
        """
        plan = self._plan
        shards = {name: _OpenShard(plan, name, number, state) for name, state in states.items()}
        for index in _items_of(plan, self._items, number):
            for name, shard in shards.items():
                for each in STAGES[plan.stage].written(
                    self._builder, self._sections[name], self._items, index, shard.rng
                ):
                    shard.add(each)
        return {"shard": number, "sets": {name: shard.close() for name, shard in shards.items()}}


class _OpenShard:
    """A file in progress, with its counts and its random numbers."""

    def __init__(self, plan: CorpusPlan, name: str, number: int, state: Any) -> None:
        folder = plan.out if name == MAIN else plan.out / name
        folder.mkdir(parents=True, exist_ok=True)
        self.rng = random.Random()
        self.rng.setstate(state)
        self._plan, self._counts = plan, Counts()
        self._file = folder / f"shard-{number:05d}.jsonl"
        self._part = self._file.with_name(f"{self._file.name}.tmp")
        self._stream = self._part.open("wb")
        self._digest = hashlib.sha256()
        self._lines = self._bytes = 0

    def add(self, written: Written) -> None:
        """Appends a sequence; another trainer has one weight a token, so replies are folded in."""
        self._counts.add(written, written.rows())
        if self._plan.form == "trl":
            lam = self._plan.config.midtrain.lambda_obs  # stage 2 has no replies to weigh
            (sequence,), _ = with_observations([written.sequence], lam)
            written = replace(written, sequence=sequence)
        turns = written.rows()
        for each in turns if self._plan.rows == "turns" else [written]:
            for row in corpus_rows(each, self._plan.form):
                line = (dumps(row) + "\n").encode()
                self._stream.write(line)
                self._digest.update(line)
                self._lines, self._bytes = self._lines + 1, self._bytes + len(line)

    def close(self) -> JsonRow:
        """Gives the file its name; returns file, hash and counts."""
        with self._stream as stream:
            stream.flush()
            os.fsync(stream.fileno())
        if not self._lines:
            self._part.unlink()
            return {"file": None, **self._counts.as_row()}
        self._part.replace(self._file)
        return {
            "file": self._file.relative_to(self._plan.out).as_posix(),
            "lines": self._lines,
            "bytes": self._bytes,
            "sha256": self._digest.hexdigest(),
            **self._counts.as_row(),
        }


def build_corpus(plan: CorpusPlan, *, workers: int = 1, resume: bool = False) -> JsonRow:
    """Builds all shards and corpus.json; returns what stands in it.

    Args:
        plan: what is built.
        workers: processes; they change nothing but the time.
        resume: go on with a build that was stopped.

    Raises:
        InputError: the folder holds another corpus, or trajectories.jsonl does not fit.
        GuardRail: a worker was killed.
    """
    document, begun = plan.out / "corpus.json", plan.out / _JOURNAL
    if not resume and (document.is_file() or begun.is_file()):
        raise InputError(
            str(plan.out),
            got="a folder with a corpus, or the beginning of one",
            expected="a folder without one",
            next_step="add --resume to go on with it, or choose another --out",
        )
    items = plan.items()
    head = _head(plan, items)
    if document.is_file():
        found = read_json(document, "corpus.json")
        _require_same(document, found, head)
        begun.unlink(missing_ok=True)
        return found
    done = _begin(plan, head)
    num = -(-len(items) // plan.shard_size)
    tasks = _tasks(plan, items, frozenset(done))
    with (
        progress(f"corpus of {plan.stage}, shards", num, len(done)) as bar,
        begun.open("a", encoding="utf-8") as journal,
    ):
        for row in _written(plan, items, tasks, workers):
            done[row["shard"]] = row
            journal.write(dumps(row) + "\n")
            journal.flush()
            bar.advance()
    made = corpus_document(head, plan.sections(), [done[number]["sets"] for number in range(num)])
    write_json(document, made)
    begun.unlink()
    return made


def _head(plan: CorpusPlan, items: LabelledFile) -> JsonRow:
    """What a corpus is made of: equal heads are equal corpora."""
    vocabulary = sorted(plan.load_tokenizer().get_vocab().items(), key=lambda pair: pair[1])
    return {
        "schema": SCHEMA,
        "stage": plan.stage,
        "config": config_hash(plan.config),
        "seed": plan.config.seed,
        "vocabulary": hashlib.sha256(dumps(vocabulary).encode()).hexdigest(),
        "trajectories": {"sha256": items.sha256, "num": len(items)},
        "rows": plan.rows,
        "format": plan.form,
        "shard_size": plan.shard_size,
        "set_names": list(plan.sections()),
    }


def _begin(plan: CorpusPlan, head: JsonRow) -> dict[int, JsonRow]:
    """The shards that a stopped build has finished, by number; starts the journal anew with them.

    Raises:
        InputError: it was the build of another corpus.
    """
    file = plan.out / _JOURNAL
    done: dict[int, JsonRow] = {}
    if file.is_file():
        rows = [row for _, row in read_log(file)]
        if rows:
            _require_same(file, rows[0], head)
        done = {row["shard"]: row for row in rows[1:] if _is_whole(plan, row)}
    write_jsonl(file, [head, *(done[number] for number in sorted(done))])
    return done


def _require_same(file: Path, found: JsonRow, head: JsonRow) -> None:
    changed = next((key for key in head if found.get(key) != head[key]), None)
    if changed is not None:
        raise InputError(
            str(file),
            got=f"a corpus with {changed} = {dumps(found.get(changed))[:60]}",
            expected=dumps(head[changed])[:60],
            next_step="choose another --out, or the options that the build began with",
        )


def _is_whole(plan: CorpusPlan, row: JsonRow) -> bool:
    """Whether a line of the journal tells of every set, and its files are still as they were."""
    sets = row.get("sets")
    if not isinstance(row.get("shard"), int) or not isinstance(sets, dict):
        return False
    if set(sets) != set(plan.sections()):
        return False
    names = {"file", *Counts().as_row()}
    if not all(isinstance(found, dict) and names <= set(found) for found in sets.values()):
        return False
    files = {found["file"]: found.get("sha256") for found in sets.values() if found["file"]}
    return all(
        (plan.out / file).is_file() and sha256_file(plan.out / file) == sha256
        for file, sha256 in files.items()
    )


def _items_of(plan: CorpusPlan, items: LabelledFile, number: int) -> range:
    first = number * plan.shard_size
    return range(first, min(first + plan.shard_size, len(items)))


def _tasks(plan: CorpusPlan, items: LabelledFile, done: frozenset[int]) -> Iterator[ShardTask]:
    """The shards that are to be written, each with the random numbers that are due at its start."""
    stage, sections = STAGES[plan.stage], plan.sections()
    draws = {name: stage.draws(plan.config) for name in sections}
    for number in range(-(-len(items) // plan.shard_size)):
        if number not in done:
            yield number, {name: rng.getstate() for name, rng in draws.items()}
        for index in _items_of(plan, items, number):
            for name, section in sections.items():
                stage.pass_over(section, items.outline(index).num_calls, draws[name])


def _written(
    plan: CorpusPlan, items: LabelledFile, tasks: Iterator[ShardTask], workers: int
) -> Iterator[JsonRow]:
    """What each task left, in the order in which they end."""
    if workers == 1:
        writer = ShardWriter(plan, items)
        for number, states in tasks:
            yield writer.write(number, states)
        return
    # A server that has the imports behind it forks the workers: nothing that runs here is copied.
    method = multiprocessing.get_context("forkserver")
    method.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, method, initializer=_open_worker, initargs=(plan, items))
    waiting: set[Future[JsonRow]] = set()
    try:
        for number, states in tasks:
            waiting.add(pool.submit(_write_in_worker, number, states))
            if len(waiting) == 2 * workers:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ended)
        yield from (future.result() for future in waiting)
    except BrokenProcessPool as error:
        raise GuardRail(f"a worker ended before its work ({error}); --resume goes on") from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker: list[ShardWriter] = []


def _open_worker(plan: CorpusPlan, items: LabelledFile) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker[:] = [ShardWriter(plan, items)]


def _end_with_parent() -> None:
    """A build that goes on after its parent was killed must not meet its old workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_in_worker(number: int, states: dict[str, Any]) -> JsonRow:
    return _worker[0].write(number, states)
