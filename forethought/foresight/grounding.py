"""Did the future come? Matching of predicted keywords against what the environment printed.

A keyword is a promise about observations that the policy has not seen. This module says what a
match is, which keywords count, and how much more often they come true here than elsewhere.

* Texts are compared as tokens: lower case, punctuation gone.
* A keyword of n tokens matches an observation if some window of n tokens in it is equal to the
  keyword or has a token-F1 of at least 0.67 with it. Two of three tokens (.667) are no hit.
* A keyword is *novel* if no text before it contains it as a phrase.
* `rho` divides by five however many keywords there are, so a short list of safe words loses.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from forethought.types import Episode, EpisodeTurn, Foresight

MAX_KEYWORDS = 5
"""Keywords that count, and the fixed denominator of `rho`."""
MATCH_F1 = 0.67
"""Smallest token-F1 of a hit. 2/3 = .667 lies below on purpose."""
_TOKEN = re.compile(r"[^\W_]+")


def normalise(phrase: str) -> list[str]:
    """The tokens of a text: lower case, every run of letters and digits one token."""
    return list(_tokens(phrase))


@lru_cache(maxsize=2048)  # an observation is asked about once for each keyword
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(unicodedata.normalize("NFKC", text).lower()))


def contains(phrase: str, text: str) -> bool:
    """True where the tokens of `phrase` stand in `text`, in order and without a gap.

    A phrase without any token is contained in nothing.
    """
    tokens = _tokens(phrase)
    return bool(tokens) and f" {' '.join(tokens)} " in f" {' '.join(_tokens(text))} "


def match(keyword: str, observation: str) -> bool:
    """True where a window of the observation, as long as the keyword, equals it or nearly so.

    Nearly: token-F1 >= 0.67. Windows have as many tokens as the keyword, so precision = recall =
    F1 = shared tokens / n; the order inside the window does not count.
    """
    want, have = _tokens(keyword), _tokens(observation)
    if len(want) <= 1:
        return bool(want) and want[0] in have
    if sum((Counter(want) & Counter(have)).values()) < _needed(len(want)):
        return False
    return _hit_window(want, have, range(len(have) - len(want) + 1))


def _needed(size: int) -> int:
    """How many of `size` tokens a window must share: the smallest c with c / size >= 0.67."""
    return next(c for c in range(1, size + 1) if c / size >= MATCH_F1)


def _hit_window(want: Sequence[str], have: Sequence[str], starts: Iterable[int]) -> bool:
    """True where one of the windows of `have` that begin at `starts` is a hit."""
    size, tokens = len(want), Counter(want)
    needed = _needed(size)
    return any(sum((tokens & Counter(have[i : i + size])).values()) >= needed for i in starts)


def distinct(keywords: Sequence[str]) -> list[str]:
    """The keywords without repetitions and without empty ones (after `normalise`), in order."""
    found: dict[tuple[str, ...], str] = {}
    for keyword in keywords:
        if tokens := _tokens(keyword):
            found.setdefault(tokens, keyword)
    return list(found.values())


def keywords_of(foresight: Foresight | None) -> list[str]:
    """The first five distinct keywords of a block; none without a block."""
    return [] if foresight is None else distinct(foresight.keywords)[:MAX_KEYWORDS]


def hits(keywords: Sequence[str], observations: Sequence[str]) -> list[bool]:
    """For each keyword: does any of the observations match it? Windows never span two of them."""
    return [any(match(keyword, text) for text in observations) for keyword in keywords]


def novel(keywords: Sequence[str], seen_texts: Sequence[str]) -> list[str]:
    """The distinct keywords that no seen text contains as a phrase, in order.

    Args:
        keywords: of one block, in order.
        seen_texts: the question, the texts of earlier turns, earlier observations.
    """
    return [k for k in distinct(keywords) if not any(contains(k, text) for text in seen_texts)]


def novel_in(episode: Episode, step: int) -> list[str]:
    """The first five novel keywords of a turn, recomputed from the episode."""
    block = episode.turns[step].foresight
    if block is None:
        return []
    seen = [episode.question]
    for turn in episode.turns[:step]:
        seen += [turn.text, turn.observation]
    return novel(block.keywords, seen)[:MAX_KEYWORDS]


def printed_first(keyword: str, later_turns: Iterable[tuple[str, str]]) -> bool:
    """True where the environment printed the keyword before the policy wrote it.

    A query can make an environment print almost anything, so a word that the policy has used in
    an action or a thought is its own doing from then on.

    Args:
        keyword: of the block of the first of these turns.
        later_turns: (thought and action of the policy, observation that followed), in order, from
            the keyword's own turn on. The block itself is not part of the text.
    """
    for written, observation in later_turns:
        if contains(keyword, written):
            return False
        if match(keyword, observation):
            return True
    return False


def acted_text(turn: EpisodeTurn) -> str:
    """The thought and the action of a turn: its text behind the success estimate."""
    if turn.foresight is None:
        return turn.text
    at = turn.text.rfind("</confidence>")
    if at >= 0:
        return turn.text[at + len("</confidence>") :]
    stated = turn.foresight.q_text
    at = turn.text.find(stated, turn.text.lower().find("confidence")) if stated else -1
    return turn.text[at + len(stated) :] if at >= 0 else turn.text


def own_hits(episode: Episode, step: int, keywords: Sequence[str]) -> list[bool]:
    """For each keyword of a turn: was it printed, and before the policy wrote it?"""
    later = [(acted_text(turn), turn.observation) for turn in episode.turns[step:]]
    return [printed_first(keyword, later) for keyword in keywords]


def fraction(found: Sequence[bool]) -> float:
    """Share of the keywords that came true; 0 without keywords."""
    return sum(found) / len(found) if found else 0.0


def all_of(found: Sequence[bool]) -> float:
    """1 if there are keywords and every one came true, else 0."""
    return float(bool(found) and all(found))


def any_of(found: Sequence[bool]) -> float:
    """1 if at least one keyword came true, else 0."""
    return float(any(found))


READINGS: Mapping[str, Callable[[Sequence[bool]], float]] = {
    "fraction": fraction,
    "all": all_of,
    "any": any_of,
}
"""What the grounding reward of arXiv 2606.27483 may mean; its text leaves all three open."""


def rho(found: Sequence[bool], elsewhere: Sequence[float]) -> float:
    """(1/5) sum over the novel keywords of [own hit - mean hit on other prompts' futures].

    Our own form: the subtracted part makes words that come true everywhere worth nothing, the
    fixed denominator makes further sight pay.

    Args:
        found: per novel keyword (at most five), did it come true here.
        elsewhere: per keyword, the share of other prompts' futures in which it comes true.
    """
    gains = (float(hit) - rate for hit, rate in zip(found, elsewhere, strict=True))
    return math.fsum(gains) / MAX_KEYWORDS


def idf(phrase: str, document_counts: Mapping[str, int], num_documents: int) -> float:
    """Mean over the tokens of ln(1 + (N - df + 0.5) / (df + 0.5)), as in BM25; 0 without tokens.

    Args:
        phrase: a keyword.
        document_counts: token -> number of documents (title + text) that hold it.
        num_documents: N.
    """
    tokens = _tokens(phrase)
    weights = [
        math.log(1.0 + (num_documents - df + 0.5) / (df + 0.5))
        for df in (document_counts.get(token, 0) for token in tokens)
    ]
    return math.fsum(weights) / len(weights) if weights else 0.0


class FutureIndex:
    """Which episodes print something that matches a keyword, and at which turn for the last time.

    An inverted index with positions: a keyword is compared only with observations that share
    enough tokens with it, only around its rarest token, and once however many turns ask.
    """

    def __init__(self, episodes: Sequence[Episode]) -> None:
        """Indexes the observations of `episodes`; failed rollouts (error set) are left out."""
        self.last_printed: dict[int, int] = {}  # episode -> its last turn with an observation
        self._task_of = [episode.task_id for episode in episodes]
        self._postings: dict[str, dict[str, list[int]]] = {}  # token -> observation -> positions
        self._holders: dict[str, dict[int, int]] = {}  # observation -> {episode: last turn}
        self._found: dict[tuple[str, ...], dict[int, int]] = {}
        self._sizes: dict[int, tuple[int, dict[str, int]]] = {}
        for number, episode in enumerate(episodes):
            if episode.error is None:
                self._add(number, episode)

    def _add(self, number: int, episode: Episode) -> None:
        for step, turn in enumerate(episode.turns):
            if not turn.observation:
                continue
            self.last_printed[number] = step
            if turn.observation not in self._holders:
                self._holders[turn.observation] = {}
                for place, token in enumerate(_tokens(turn.observation)):
                    held = self._postings.setdefault(token, {})
                    held.setdefault(turn.observation, []).append(place)
            self._holders[turn.observation][number] = step

    def rate(self, keyword: str, step: int, task_id: str) -> float | None:
        """Share of the other tasks' episodes in which `keyword` comes true at `step` or later.

        The mean is flat over all episodes of other tasks that have an observation there.

        Returns:
            None where there is no such episode.
        """
        total, per_task = self._size(step)
        others = total - per_task.get(task_id, 0)
        if not others:
            return None
        found = self._last_match(keyword)
        return sum(at >= step and self._task_of[n] != task_id for n, at in found.items()) / others

    def _size(self, step: int) -> tuple[int, dict[str, int]]:
        """How many episodes have an observation at `step` or later, in all and by task."""
        if step not in self._sizes:
            reaching = [n for n, last in self.last_printed.items() if last >= step]
            self._sizes[step] = (len(reaching), Counter(self._task_of[n] for n in reaching))
        return self._sizes[step]

    def _last_match(self, keyword: str) -> dict[int, int]:
        tokens = _tokens(keyword)
        if tokens not in self._found:
            found: dict[int, int] = {}
            for observation in self._matching(tokens):
                for number, step in self._holders[observation].items():
                    found[number] = max(step, found.get(number, -1))
            self._found[tokens] = found
        return self._found[tokens]

    def _matching(self, want: tuple[str, ...]) -> list[str]:
        """The observations that match; the same as asking `match` about each."""
        if not want or _needed(len(want)) < len(want):
            sharing: Counter[str] = Counter()
            for token in want:
                sharing.update(self._postings.get(token, {}).keys())
            enough = [o for o, count in sharing.items() if count >= _needed(len(want))]
            return [o for o in enough if match(" ".join(want), o)]
        # A hit has all tokens, so it lies around each place of the rarest one.
        postings = [self._postings.get(token, {}) for token in want]
        rarest = min(postings, key=len)
        size = len(want)
        if size == 1:
            return list(rarest)
        found: list[str] = []
        for observation, places in rarest.items():
            if all(observation in held for held in postings):
                have = _tokens(observation)
                last = len(have) - size
                starts = (i for p in places for i in range(max(0, p - size + 1), min(p, last) + 1))
                if _hit_window(want, have, starts):
                    found.append(observation)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordRecord:
    """How the keywords of one turn fared: three fields of `episodes.jsonl`."""

    novel: tuple[str, ...] = ()
    hit: tuple[str, ...] = ()  # those of `novel` that match a later observation of the episode
    contrast: float | None = None  # mean hit rate of `novel` on the other tasks' futures


def keyword_record(episodes: Sequence[Episode]) -> list[list[KeywordRecord]]:
    """Keyword fields for every turn of every episode, in the order given.

    The future of a turn is the observations from its own on. `contrast` is None where the turn has
    no novel keyword or no future, or where no other task of the file reaches that turn.
    """
    index = FutureIndex(episodes)
    return [
        [_turn_record(index, number, episode, step) for step in range(len(episode.turns))]
        for number, episode in enumerate(episodes)
    ]


def _turn_record(index: FutureIndex, number: int, episode: Episode, step: int) -> KeywordRecord:
    words = novel_in(episode, step)
    future = [turn.observation for turn in episode.turns[step:] if turn.observation]
    found = hits(words, future)
    contrast = None
    if words and future and episode.error is None:
        rates = [index.rate(word, step, episode.task_id) for word in words]
        known = [rate for rate in rates if rate is not None]
        contrast = math.fsum(known) / len(known) if known else None
    return KeywordRecord(
        novel=tuple(words),
        hit=tuple(word for word, hit in zip(words, found, strict=True) if hit),
        contrast=contrast,
    )
