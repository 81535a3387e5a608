"""Questions answered by searching: one class for synthetic worlds and for public benchmarks.

The retriever comes from the factory, by row: a synthetic world brings a small corpus of its own, a
benchmark shares one index among all tasks. A row may carry a `budget`; the search after the last
one ends the episode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from forethought.envs.base import HIDDEN_COLUMNS, Observation
from forethought.errors import InputError
from forethought.tools.retrieval import Hit, Retriever

Style = Literal["plain", "documents"]
RetrieverFor = Callable[[Mapping[str, Any]], Retriever]
"""The index to search for a task, given its row. Called once an episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Notices:
    """What the policy reads when there are no pages."""

    nothing: str
    empty: str
    spent: str


_NOTICES: dict[str, _Notices] = {
    # A word-level world has no words for more.
    "plain": _Notices(nothing="none", empty="none", spent="0 spare"),
    "documents": _Notices(
        nothing="No document matches the query.",
        empty="Error: the query is empty.",
        spent="The search budget is used up.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchState:
    """All that changes in an episode. Frozen, and rows are never written to: copies share it."""

    row: Mapping[str, Any] = field(default_factory=dict)
    budget: int | None = None  # searches allowed; None = no bound
    used: int = 0  # searches made, refused ones included

    def __deepcopy__(self, memo: dict[int, Any]) -> SearchState:
        return self


class SearchQA:
    """Find the answer to a question by searching a corpus."""

    def __init__(
        self,
        retriever_for: RetrieverFor,
        top_k: int = 2,
        max_searches: int | None = None,
        style: Style = "plain",
        max_chars: int | None = None,
    ) -> None:
        """An environment for one rollout at a time.

        Args:
            retriever_for: the index for a row; it keeps what is costly to build.
            top_k: pages an observation shows.
            max_searches: budget of tasks whose row brings none; None = no bound.
            style: "plain" = texts joined by " ; "; "documents" = a numbered line each, with title.
            max_chars: characters of a page's text that are shown; None = all.

        Raises:
            InputError: a style or a number that cannot be used.
        """
        if style not in _NOTICES or top_k < 1 or (max_chars is not None and max_chars < 1):
            raise InputError(
                "search_qa",
                got=f"style = {style!r}, top_k = {top_k}, max_chars = {max_chars}",
                expected=f"style one of {', '.join(_NOTICES)}; top_k and max_chars at least 1",
                next_step="correct the environment's options",
            )
        self._retriever_for = retriever_for
        self._top_k = top_k
        self._max_searches = max_searches
        self._style = style
        self._max_chars = max_chars
        self._open: tuple[Mapping[str, Any], Retriever] | None = None
        self.state = SearchState()

    def reset(self, **row: Any) -> None:
        """Begins the episode of a row; its `budget`, if any, bounds the searches.

        Raises:
            InputError: the budget is not a whole number from 0.
        """
        budget = row.get("budget", self._max_searches)
        if budget is not None and (type(budget) is not int or budget < 0):
            raise InputError(
                f"task {row.get('id', '?')}",
                got=f"budget = {budget!r}",
                expected="a whole number of searches, 0 or more",
                next_step='correct the column "budget"',
            )
        visible = {key: value for key, value in row.items() if key not in HIDDEN_COLUMNS}
        self.state = SearchState(row=visible, budget=budget)

    def search(self, query: str) -> Observation:
        """Searches the corpus and shows the best pages.

        Args:
            query: Words to look for.

        Returns:
            The texts of the pages found.
        """
        refused = self._refused(query)
        if refused is not None:
            return refused
        return self._found(self._retriever().search(query, self._top_k))

    def _refused(self, query: str) -> Observation | None:
        """Spends a search; what is replied without one."""
        state = self.state
        notices = _NOTICES[self._style]
        if state.budget is not None and state.used >= state.budget:
            return Observation(notices.spent, done=True, info={"searches": state.used})
        self.state = replace(state, used=state.used + 1)
        if not query.strip():
            return Observation(notices.empty, failed=True, info={"searches": state.used + 1})
        return None

    def _found(self, hits: list[Hit]) -> Observation:
        info = {"searches": self.state.used, "documents": [hit.id for hit in hits]}
        return Observation(self._show(hits) or _NOTICES[self._style].nothing, info=info)

    def _retriever(self) -> Retriever:
        row = self.state.row
        if self._open is None or self._open[0] is not row:  # also after a fork
            self._open = row, self._retriever_for(row)
        return self._open[1]

    def _show(self, hits: list[Hit]) -> str:
        texts = [hit.text[: self._max_chars] for hit in hits]
        if self._style == "plain":
            return " ; ".join(texts)
        lines = (" ".join(text.split()) for text in texts)
        return "\n".join(
            f"Doc {number} (Title: {hit.title}) {line}"
            for number, (hit, line) in enumerate(zip(hits, lines, strict=True), start=1)
        )


class RemoteSearchQA(SearchQA):
    """`SearchQA` over a server: an awaited tool, so that searches of several episodes overlap."""

    async def search(self, query: str) -> Observation:  # type: ignore[override]
        """Searches the corpus and shows the best pages.

        Args:
            query: Words to look for.

        Returns:
            The texts of the pages found.
        """
        refused = self._refused(query)
        if refused is not None:
            return refused
        return self._found(await self._retriever().search_async(query, self._top_k))
