"""Blocks for questions answered by searching real text, from the pages that really came.

imaginary   look up the director, expect a person; look up the date of birth of that director,
            expect a date; then answer. 2 hops open
keyword     film, directed, born
analysis    2 of 2 hops open, 2 turns to spare; one name is still to be found

What a hop is called comes from the set (relation, sub-question) or from the kind of page; a word
of a sub-question stands in a block only if the task's question has it or it is a plain word. What
a search brought is read off its reply: the evidence of a hop stands there or it does not. Keywords
are plain words for types and properties that the coming pages show and nothing before has shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forethought.data.hops import REFERENCE, Hop, hops_of
from forethought.foresight.grounding import contains, normalise
from forethought.hindsight.qa_words import PLAIN, SIGNS, THINGS, kind_of, noun_of
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import MAX_KEYWORDS, with_level
from forethought.types import Foresight

NEAR = 3
"""Keywords about the next reply; the others are about later ones."""

_SMALL_WORD = re.compile(r"(?<![\w'-])[a-z]+(?![\w'-])")


@dataclass(frozen=True, slots=True)
class _Search:
    """One executed search: the hop that it went for, and the hops whose evidence came with it."""

    goal: int | None  # None: nothing was open
    came: tuple[int, ...]
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QaWriter:
    """See `forethought.hindsight.writer.Writer`. Names, numbers and answers are never told."""

    max_turns: int  # of an episode, for the turns to spare

    def write(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.write`."""
        hops, searches = hops_of(trajectory.task), _searches(trajectory)
        question, ahead = trajectory.task.question, searches[step:]
        plan = [_told(search, hops, question) for search in ahead]
        left = _open(hops, searches[:step])
        ending = "then answer" if trajectory.success else "then stop without support"
        roadmap = "; ".join([*plan, ending])
        level, text = with_level(q, spaced=False)
        return Foresight(
            roadmap=f"{roadmap}. {_count(len(left))}",
            keywords=_keywords(trajectory, step, ahead) or ("answer",),
            analysis=self._analysis(trajectory, step, left),
            q=level,
            q_text=text,
        )

    def recap(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.recap`; before the first search it tells that the question was read."""
        hops, searches = hops_of(trajectory.task), _searches(trajectory)
        past = searches[:step]
        told = [_told(search, hops, trajectory.task.question, past=True) for search in past]
        left = _open(hops, past)
        seen = " ".join([*(search.reply for search in past), trajectory.task.question])
        level, text = with_level(q, spaced=False)
        return Foresight(
            roadmap=f"{'; '.join(told or ['read the question'])}, so far. {_count(len(left))}",
            keywords=tuple(_signs(seen))[:MAX_KEYWORDS] or ("question",),
            analysis=self._analysis(trajectory, step, left),
            q=level,
            q_text=text,
        )

    @property
    def decisions(self) -> tuple[str, ...]:
        """See `Writer.decisions`: no word of its own names a way."""
        return ()

    def can_tell(self, steps: Sequence[Step]) -> bool:
        """See `Writer.can_tell`: any search can be told by what came of it."""
        return all(step.action.kind in ("search", "answer") for step in steps)

    def _analysis(self, trajectory: Trajectory, step: int, left: Sequence[int]) -> str:
        """How much is open, how many turns are to spare, and whose name is not known yet."""
        hops = hops_of(trajectory.task)
        spare = max(self.max_turns - 1 - step - len(left), 0)
        seen = trajectory.state(step)
        unknown = sum(not any(contains(name, seen) for name in hops[n].names) for n in left)
        turns = f"{spare} turn{'s' * (spare != 1)} to spare"
        if not left:
            return f"every hop has its page, {turns}; only the reading can fail"
        risk = (
            f"{unknown} name{'s' * (unknown != 1)} still to be found"
            if unknown
            else "every name is known; a page may still not come"
        )
        return f"{len(left)} of {len(hops)} hops open, {turns}; {risk}"


def _searches(trajectory: Trajectory) -> list[_Search]:
    """The searches in order; one that brought nothing went for the open hop that it named first."""
    hops, had, found = hops_of(trajectory.task), set[int](), list[_Search]()
    for step in trajectory.steps:
        if step.action.kind != "search":
            continue
        still = [n for n in range(len(hops)) if n not in had]
        came = tuple(n for n in still if hops[n].came(step.observation))
        named = [n for n in still if any(contains(m, step.action.text) for m in hops[n].names)]
        goal = next(iter([*came, *named, *still]), None)
        found.append(_Search(goal=goal, came=came, reply=step.observation))
        had |= set(came)
    return found


def _open(hops: Sequence[Hop], past: Sequence[_Search]) -> list[int]:
    had = {n for search in past for n in search.came}
    return [n for n in range(len(hops)) if n not in had]


def _count(left: int) -> str:
    return f"{left} hop{'s' * (left != 1)} open" if left else "nothing open"


def _told(search: _Search, hops: Sequence[Hop], question: str, *, past: bool = False) -> str:
    verb, result = ("looked up", "got") if past else ("look up", "expect")
    if search.goal is None:
        return f"{verb} what is known already"
    if not search.came:
        return f"{verb} {phrase_of(hops, search.goal, question)}, {result} other pages"
    parts = []
    for number in search.came:
        kind = kind_of(hops[number].relation) or _thing(hops[number])
        parts.append(f"{phrase_of(hops, number, question)}, {result} {kind}")
    return f"{verb} {' and '.join(parts)}"


def phrase_of(hops: Sequence[Hop], number: int, question: str) -> str:
    """A hop without a name: its relation, its sub-question in plain words, or its place."""
    hop = hops[number]
    earlier = next((hops[n].relation for n in hop.after if hops[n].relation), "")
    if hop.relation:
        return f"the {noun_of(hop.relation)}{f' of that {noun_of(earlier)}' if earlier else ''}"
    if hop.question:
        words = _plain_words(REFERENCE.sub("that", hop.question), question)
        if len(words) > 1:
            return f'the step "{" ".join(words)}"'
    if hop.after:
        return "the page that this leads to"
    named = any(contains(name, question) for name in hop.names)
    return f"a page that the question {'names' if named else 'describes'}"


def _plain_words(text: str, question: str) -> list[str]:
    """The words of a sub-question that give nothing away, in lower case."""
    known = {*normalise(question), *PLAIN, *SIGNS, "that"}
    return [word for word in normalise(text) if word in known]


def _thing(hop: Hop) -> str:
    """What kind of page the evidence is of, as far as a plain word tells."""
    words = (word for piece in hop.evidence for word in _SMALL_WORD.findall(piece))
    found = next((word for word in words if word in THINGS), "")
    return f"a page with the word {found}" if found else "a page"


def _keywords(trajectory: Trajectory, step: int, ahead: Sequence[_Search]) -> tuple[str, ...]:
    """Signs of the next reply, then of later ones; none that was seen or is part of an answer."""
    task, state = trajectory.task, trajectory.state(step)
    answers = [*task.answers, *(hop.answer for hop in hops_of(task))]
    known = {*normalise(state), *(word for answer in answers for word in normalise(answer))}
    hops = hops_of(task)

    def shown(searches: Iterable[_Search]) -> list[str]:
        pieces = [piece for s in searches for n in s.came for piece in hops[n].evidence]
        pieces += [search.reply for search in searches]
        return [word for word in _signs(" ".join(pieces)) if word not in known]

    near = shown(ahead[:1])[:NEAR]
    later = [word for word in shown(ahead[1:]) if word not in near]
    return tuple([*near, *later][:MAX_KEYWORDS])


def _signs(text: str) -> list[str]:
    """The plain signs of a text, each once, in their order."""
    return list(dict.fromkeys(word for word in _SMALL_WORD.findall(text) if word in SIGNS))
