"""What a block foretold against what happened: the grounding terms of the credit profiles.

`Futures` holds all episodes of a file or an update and answers, for a turn, which keywords came
true (`paper_hits`) and by how much more often than in other tasks (`rho`). What a match is, and
which keywords are novel, is decided in `forethought.foresight.grounding`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from forethought.foresight import grounding
from forethought.types import Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFrequency:
    """In how many documents of a corpus each token occurs (ablation `idf`)."""

    num_documents: int
    counts: Mapping[str, int]

    @classmethod
    def of(cls, documents: Iterable[str]) -> DocumentFrequency:
        """Counts over the documents (title + text) of a corpus."""
        counts: dict[str, int] = {}
        num_documents = 0
        for document in documents:
            num_documents += 1
            for token in dict.fromkeys(grounding.normalise(document)):
                counts[token] = counts.get(token, 0) + 1
        return cls(num_documents=num_documents, counts=counts)

    def weight(self, phrase: str) -> float:
        """The IDF of a keyword."""
        return grounding.idf(phrase, self.counts, self.num_documents)


class Futures:
    """The grounding terms of every turn of a set of episodes."""

    def __init__(
        self, episodes: Sequence[Episode], weights: DocumentFrequency | None = None
    ) -> None:
        """Indexes the observations of `episodes`; failed rollouts are in no contrast.

        Args:
            episodes: in the order that `credit_episodes` got them.
            weights: IDF weights of keywords in `rho`; None = all equal.
        """
        self._episodes = episodes
        self._weights = weights
        foretold = (
            keyword
            for episode in episodes
            for turn in episode.turns
            if turn.foresight is not None
            for keyword in turn.foresight.keywords
        )
        self._index = grounding.FutureIndex(episodes, dict.fromkeys(foretold))

    def paper_hits(self, number: int, step: int, *, include_own_text: bool) -> list[bool]:
        """For each of the first five distinct keywords of a turn: is it in the future?

        The future is the observations from the turn's own on; with `include_own_text` also what
        the policy itself writes: the turn's thought and action, and all of its later turns.
        """
        turns = self._episodes[number].turns[step:]
        texts = [turn.observation for turn in turns]
        if include_own_text:
            texts.append(grounding.acted_text(turns[0]))
            texts += [turn.text for turn in turns[1:]]
        return grounding.hits(grounding.keywords_of(turns[0].foresight), texts)

    def rho(self, number: int, step: int) -> float | None:
        """(1/5) sum over the first five novel keywords of [own hit - hit rate in other tasks].

        An own hit needs the environment to print the keyword before the policy writes it in a
        thought or an action. The rate is the flat mean over all episodes of other tasks that have
        an observation at this turn or later, from this turn on. With IDF weights each keyword
        counts by its weight relative to the mean weight of the block's keywords.

        Returns:
            None where nothing can be scored: no later observation, here or in any other task.
        """
        episode = self._episodes[number]
        if self._index.last_printed.get(number, -1) < step:
            return None
        words = grounding.novel_in(episode, step)
        found = grounding.own_hits(episode, step, words)
        rates = [self._index.rate(word, step, episode.task_id) for word in words]
        known = [rate for rate in rates if rate is not None]
        if len(known) < len(words):
            return None
        if self._weights is None:
            return grounding.rho(found, known)
        weights = [self._weights.weight(word) for word in words]
        total = math.fsum(weights) or 1.0
        gains = (
            weight * len(words) / total * (hit - rate)
            for weight, hit, rate in zip(weights, found, known, strict=True)
        )
        return math.fsum(gains) / grounding.MAX_KEYWORDS
