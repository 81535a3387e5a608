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
    return _best_window(want, have) >= _needed(len(want))


def _needed(size: int) -> int:
    """How many of `size` tokens a window must share: the smallest c with c / size >= 0.67."""
    return next(c for c in range(1, size + 1) if c / size >= MATCH_F1)


def _best_window(want: Sequence[str], have: Sequence[str]) -> int:
    """Largest number of shared tokens over all windows of `have` as long as `want`, in one pass."""
    size = len(want)
    missing: dict[str, int] = Counter(want)  # token -> wanted minus in the window; may be negative
    shared = best = 0
    for place, token in enumerate(have):
        if token in missing:
            shared += missing[token] > 0
            missing[token] -= 1
        leaving = have[place - size] if place >= size else None
        if leaving is not None and leaving in missing:
            missing[leaving] += 1
            shared -= missing[leaving] > 0
        if place >= size - 1:
            best = max(best, shared)
    return best


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

    All keywords are looked up in one pass over the distinct observations, instead of every
    observation being searched for every keyword.
    """

    def __init__(self, episodes: Sequence[Episode], keywords: Iterable[str]) -> None:
        """Looks up `keywords` in the observations; failed rollouts (error set) are left out."""
        self.last_printed: dict[int, int] = {}  # episode -> its last turn with an observation
        self._task_of = [episode.task_id for episode in episodes]
        self._sizes: dict[int, tuple[int, dict[str, int]]] = {}
        holders: dict[str, dict[int, int]] = {}  # observation -> {episode: last turn}
        for number, episode in enumerate(episodes):
            for step, turn in enumerate(episode.turns if episode.error is None else ()):
                if turn.observation:
                    self.last_printed[number] = step
                    holders.setdefault(turn.observation, {})[number] = step
        self._found: dict[tuple[str, ...], dict[int, int]] = {
            tokens: {} for tokens in map(_tokens, keywords) if tokens
        }
        strict: dict[tuple[str, ...], list[tuple[str, ...]]] = {}  # sorted tokens -> keywords
        loose: dict[str, list[tuple[str, ...]]] = {}  # token -> keywords that may lack a token
        for tokens in self._found:
            if _needed(len(tokens)) == len(tokens):
                strict.setdefault(tuple(sorted(tokens)), []).append(tokens)
            else:
                for token in dict.fromkeys(tokens):
                    loose.setdefault(token, []).append(tokens)
        sizes = sorted({len(tokens) for tokens in strict})
        for observation, held in holders.items():
            have = _tokens(observation)
            self._note(_strict_hits(have, strict, sizes), held)
            self._note(_loose_hits(have, loose), held)

    def _note(self, keywords: Iterable[tuple[str, ...]], held: Mapping[int, int]) -> None:
        for tokens in keywords:
            found = self._found[tokens]
            for number, step in held.items():
                found[number] = max(step, found.get(number, -1))

    def rate(self, keyword: str, step: int, task_id: str) -> float | None:
        """Share of the other tasks' episodes in which `keyword` comes true at `step` or later.

        The mean is flat over all episodes of other tasks that have an observation there.

        Args:
            keyword: one of those that were looked up.
            step: the turn from which on observations count.
            task_id: the task whose episodes are left out.

        Returns:
            None where there is no such episode.
        """
        total, per_task = self._reaching(step)
        others = total - per_task.get(task_id, 0)
        if not others:
            return None
        found = self._found[_tokens(keyword)]
        return sum(at >= step and self._task_of[n] != task_id for n, at in found.items()) / others

    def _reaching(self, step: int) -> tuple[int, dict[str, int]]:
        """How many episodes have an observation at `step` or later, in all and by task."""
        if step not in self._sizes:
            numbers = [n for n, last in self.last_printed.items() if last >= step]
            self._sizes[step] = (len(numbers), Counter(self._task_of[n] for n in numbers))
        return self._sizes[step]


def _strict_hits(
    have: Sequence[str],
    strict: Mapping[tuple[str, ...], Sequence[tuple[str, ...]]],
    sizes: Sequence[int],
) -> list[tuple[str, ...]]:
    """Keywords all of whose tokens fill a window, in any order (up to three tokens)."""
    bags: dict[tuple[str, ...], None] = {}
    for size in sizes:
        for start in range(len(have) - size + 1):
            bag = tuple(sorted(have[start : start + size]))
            if bag in strict:
                bags[bag] = None
    return [tokens for bag in bags for tokens in strict[bag]]


def _loose_hits(
    have: Sequence[str], loose: Mapping[str, Sequence[tuple[str, ...]]]
) -> list[tuple[str, ...]]:
    """Longer keywords, of which a window may lack a token."""
    present = dict.fromkeys(have)
    near: dict[tuple[str, ...], None] = {}
    for token in present:
        for tokens in loose.get(token, ()):
            near[tokens] = None
    return [
        tokens
        for tokens in near
        if sum(token in present for token in tokens) >= _needed(len(tokens))
        and _best_window(tokens, have) >= _needed(len(tokens))
    ]


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
    novel_words = [
        [novel_in(episode, step) for step in range(len(episode.turns))] for episode in episodes
    ]
    index = FutureIndex(episodes, (w for turns in novel_words for words in turns for w in words))
    return [
        [_turn_record(index, episode, step, words) for step, words in enumerate(turns)]
        for episode, turns in zip(episodes, novel_words, strict=True)
    ]


def _turn_record(
    index: FutureIndex, episode: Episode, step: int, words: Sequence[str]
) -> KeywordRecord:
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
