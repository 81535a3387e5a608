"""Real questions over real text: public sets searched in one corpus, trajectories from gold hops.

Training tasks are rows whose split is train and whose question is that of no held-out row. The
published development rows are dealt out to validation and test by the seed; rows that a set calls
test are for testing only. Rows that ask the same are in one split.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from forethought.data.benchmark_rows import documents_of
from forethought.data.hops import hops_of, with_hops
from forethought.domains import no_worlds
from forethought.domains.files import TOP_K
from forethought.domains.qa_play import VARIANTS, Bounds, play
from forethought.domains.sets import dealt, grouped, rows_of, too_few
from forethought.domains.taught import writer_of
from forethought.envs.search_qa import RemoteSearchQA, SearchQA
from forethought.errors import InputError
from forethought.hindsight.corpus import CorpusBuilder
from forethought.hindsight.qa_writer import QaWriter
from forethought.hindsight.records import Label, Labelled
from forethought.hindsight.trajectory import Trajectory
from forethought.hindsight.writer import Writer
from forethought.rollout.render import TextFormat
from forethought.schema import DataConfig, RunConfig
from forethought.tools.retrieval import BM25Retriever, Document, Retriever
from forethought.tools.retrievers import SearchSource, open_retriever
from forethought.types import Rollout, Task, Truth


@dataclass(frozen=True, kw_only=True)
class QaDomain:
    """Public question sets and one corpus; both are read when first needed."""

    data: DataConfig
    seed: int
    top_k: int
    max_turns: int
    max_tokens: int  # of an episode
    max_reply: int | None  # tokens of a reply, which is cut there
    text_format: TextFormat
    writer: Writer
    env_name: str = "search_qa"
    imitate_failures: bool = False  # they stop early or ask badly, by a seeded rule

    @classmethod
    def from_config(cls, config: RunConfig) -> QaDomain:
        """The domain of a configuration."""
        return cls(
            data=config.data,
            seed=config.seed,
            top_k=config.rollout.top_k_documents or TOP_K,
            max_turns=config.rollout.max_turns,
            max_tokens=config.rollout.max_context_tokens,
            max_reply=config.rollout.max_observation_tokens,
            text_format=TextFormat(
                name="search",
                style="search",
                prompt_style=config.model.prompt_style,
                old_blocks=config.rollout.old_blocks,
            ),
            writer=writer_of(config, QaWriter(max_turns=config.rollout.max_turns)),
        )

    @cached_property
    def _rows(self) -> list[Task]:
        """All rows that are used, with their paragraphs, in the order of the sets."""
        return rows_of(self.data, "qa")

    @cached_property
    def _splits(self) -> dict[str, list[Task]]:
        """The tasks of each split, shuffled by the seed, with hops in place of paragraphs."""
        rows = sorted(self._rows, key=lambda task: task.id)
        random.Random(f"qa/{self.seed}").shuffle(rows)
        return {
            name: [with_hops(grouped(replace(task, split=name))) for task in tasks]
            for name, tasks in dealt(rows).items()
        }

    @property
    def _source(self) -> SearchSource:
        data = self.data
        return SearchSource(
            corpus=data.corpus or None, retriever=data.retriever, index=data.index or None
        )

    @cached_property
    def retriever(self) -> Retriever:
        """What is searched: `data.corpus`, else all paragraphs of the rows, each once.

        The one place where a retriever is chosen.
        """
        if self.data.corpus or self._source.is_remote:
            return open_retriever(self._source)
        pages: dict[str, Document] = {}
        for task in self._rows:
            for page in documents_of(task):
                pages.setdefault(page.id, page)
        if not pages:
            raise InputError(
                "data.benchmarks",
                got=f"{', '.join(self.data.benchmarks)}, whose rows have no paragraphs",
                expected="a set with paragraphs, or data.corpus",
                next_step="name a corpus.jsonl in data.corpus",
            )
        return BM25Retriever(list(pages.values()))

    def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
        """Tasks of a split after `offset`; those of training begin again at their end."""
        found = self._splits.get(split, [])
        if not found and num:
            raise self._too_few(split, "no row of this split")
        if split == "train":
            return [found[(offset + number) % len(found)] for number in range(num)]
        return found[offset : offset + num]

    def _too_few(self, split: str, got: str) -> InputError:
        expected = "at least one; development rows are for validation and test in equal parts"
        return too_few(self._rows, split, got, expected)

    def tasks_of_worlds(self, seeds: range, num: int | None) -> list[Task]:
        """Public sets have no worlds."""
        raise no_worlds("qa")

    def make_env(self) -> Any:
        """Search over the corpus; pages are shown with their titles."""
        make = RemoteSearchQA if self._source.is_remote else SearchQA
        return make(
            retriever_for=lambda row: self.retriever,
            top_k=self.top_k,
            style="documents",
            max_chars=self.data.page_chars or None,
        )

    def trajectories(self, num: int, tokenizer: Any, *, split: str = "train") -> list[Trajectory]:
        """The first `num` attempts by rule, failures kept; fewer where the split has no more.

        With a tokenizer, those that `rollout.max_context_tokens` has no room for are left out.
        """
        attempts = self._attempts(split, tokenizer)
        fitting = (made for made in attempts if self._fits(made, tokenizer))
        found = list(itertools.islice(fitting, num))
        if not found and num:
            raise self._too_few(split, "no row with gold facts, which first attempts are made from")
        return found

    def _fits(self, made: Trajectory, tokenizer: Any) -> bool:
        """Whether an attempt with blocks by rule keeps the bound of the policy's episodes."""
        if tokenizer is None:
            return True
        builder = CorpusBuilder(
            text_format=self.text_format,
            tokenizer=tokenizer,
            writer=QaWriter(max_turns=self.max_turns),
        )
        label = Label(value=0.5, source="outcome", s=0, k=1, prior=0.5)
        item = Labelled(trajectory=made, labels=(label,) * len(made.steps))
        return len(builder.tagged([item], 0).sequence.ids) <= self.max_tokens

    def _attempts(self, split: str, tokenizer: Any) -> Iterator[Trajectory]:
        """One attempt a task, then a second one in other words, and so on; equal ones once."""
        bound = None if tokenizer is None else self.max_reply

        def cut(reply: str) -> str:
            return (
                reply
                if bound is None
                else self.text_format.cut_observation(tokenizer, reply, bound)
            )

        told: set[tuple[str, ...]] = set()
        for variant, task in itertools.product(range(VARIANTS), self._splits.get(split, [])):
            if not hops_of(task):
                continue
            seed = f"qa/{self.seed}/{variant}/{task.id}"
            bounds = Bounds(max_turns=self.max_turns, cut=cut)
            made = play(task, self.make_env(), seed=seed, bounds=bounds)
            key = (task.id, *(step.action.text for step in made.steps))
            if key not in told:
                told.add(key)
                yield made

    def entities(self) -> tuple[str, ...]:
        """Capital letters and numbers show what must not be told."""
        return ()

    def truth(self, rollout: Rollout) -> Truth:
        """There is no oracle."""
        return Truth()
