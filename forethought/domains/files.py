"""Search tasks from the user's own tasks.jsonl and corpus.jsonl, for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forethought.data.tasks import load_tasks
from forethought.domains import make_domain, no_worlds
from forethought.domains.atlas import TOP_K as ATLAS_TOP_K
from forethought.domains.atlas import AtlasDomain, truth_of
from forethought.envs.search_qa import RemoteSearchQA, SearchQA
from forethought.hindsight.trajectory import Trajectory
from forethought.hindsight.writer import Writer
from forethought.rollout.render import TextFormat
from forethought.schema import RunConfig
from forethought.tools.remote import RemoteRetriever
from forethought.tools.retrieval import Retriever
from forethought.tools.retrievers import SearchSource, open_retriever
from forethought.types import Rollout, Task, Truth
from forethought.worlds.atlas.law import Law
from forethought.worlds.atlas.text import read_question

TOP_K = 3
"""Pages that a search of real text shows where the configuration says nothing (Search-R1's)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSearchDomain:
    """Tasks and one corpus from files, searched in the text format of the configured source."""

    env_name: str
    text_format: TextFormat
    writer: Writer
    rows: tuple[Task, ...]
    retriever: Retriever
    top_k: int
    law: Law | None = None  # of the configured source, for questions of the world atlas
    imitate_failures: bool = False  # there is nothing to imitate

    @classmethod
    def from_files(cls, config: RunConfig, tasks: str, source: SearchSource) -> FileSearchDomain:
        """Reads the tasks and opens what they are searched in.

        Raises:
            InputError: a file is absent or malformed; the message names file and line.
            MissingError: what the retriever needs is not here.
        """
        like = make_domain(config)
        usual = ATLAS_TOP_K if like.text_format.spaced else TOP_K
        return cls(
            env_name="search_qa",
            text_format=_for_search(like.text_format),
            writer=like.writer,
            rows=tuple(load_tasks(Path(tasks))),
            retriever=open_retriever(source),
            top_k=config.rollout.top_k_documents or usual,
            law=like.law if isinstance(like, AtlasDomain) else None,
        )

    def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
        """The first `num` tasks of a split after `offset`, in the order of the file."""
        return [task for task in self.rows if task.split == split][offset : offset + num]

    def tasks_of_worlds(self, seeds: range, num: int | None) -> list[Task]:
        """A file has no worlds."""
        raise no_worlds("a file of tasks")

    def make_env(self) -> Any:
        """Search over the corpus of the file; titles are shown where the text format has room."""
        make = RemoteSearchQA if isinstance(self.retriever, RemoteRetriever) else SearchQA
        return make(
            retriever_for=lambda row: self.retriever,
            top_k=self.top_k,
            style="plain" if self.text_format.spaced else "documents",
        )

    def trajectories(self, num: int, tokenizer: Any, *, split: str = "train") -> list[Trajectory]:
        """A file of tasks brings none."""
        return []

    def entities(self) -> tuple[str, ...]:
        """Capital letters show the names of real text."""
        return ()

    def truth(self, rollout: Rollout) -> Truth:
        """What the law says about a question of the world atlas; of others nothing is known."""
        if self.law is None or read_question(rollout.task.question) is None:
            return Truth()
        return truth_of(self.law, rollout)


def _for_search(like: TextFormat) -> TextFormat:
    """The prompts and tags of a search, where the configured source has those of another tool."""
    return like if like.style == "search" else replace(like, name="search", style="search")
