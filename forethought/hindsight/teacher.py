"""The teacher as writer: a language model that sees what came, and says it as a forecast.

One request a turn gives the text for every label: a roadmap, what is missing, keywords, and three
judgements of the plan, for a chance that is good, open or poor. The number in the block stays the
measured label (the paper takes the teacher's guess: `guesses`), and the judgement that
stands beside it is the one of its third, so that a block that is labelled anew is not asked for
anew. `recap` sends the same prompt without the future: the placebo that tells foresight from the
teacher's text. What a reply must not tell is in the prompt, and the leak filters judge it all the
same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from forethought.chat.client import ChatClient, ChatFailure, ChatReply, ChatRequest, Estimate
from forethought.errors import GuardRail
from forethought.foresight.elements import ACTION_NAMES, BLOCK_NAMES, REPLY_NAMES, has_reserved
from forethought.foresight.grounding import MAX_KEYWORDS, distinct
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import Writer, with_level
from forethought.types import Foresight

RULES = """\
You write the private forecast of an agent that solves a task step by step with tools. You are told
the task, what the agent has seen so far, {knows}. Write what the agent should expect at this point,
as it could have been written before anything of it happened.

Rules
1. Give nothing away. No name, number, date or answer that is not in the task or in what was seen.
   Speak of kinds instead: "the author", "a year in the last century", "a two-digit number".
2. Be concrete about what to do: which look-up or calculation comes next, and what kind of result
   it should bring.
3. Forecast, never report. No "the future shows", "as it turned out", "verified".
4. Plain words, at most {words} of them a field, no markup.

Reply with one JSON object and nothing else:
{{"roadmap": "the steps from here to the end, and what each should bring",
 "missing": "what is not known yet",
 "keywords": ["up to five signs or kinds of things that the coming results should show"],
 "good": "one sentence on the plan for an agent that will probably succeed",
 "open": "the same where it may go either way: what could fail",
 "poor": "the same for an agent that will probably fail: what is lacking"{chance}}}"""
CHANCE = """,
 "chance": how many of a hundred such agents would solve the task from here, as a whole number"""
KNOWS = "and what happened afterwards"
KNOWS_NOT = "and nothing of what will happen afterwards"
WORDS = 40
"""Words a field that the prompt allows."""
GOOD, POOR = 0.65, 0.35
"""Labels above the one and below the other get the judgement of a good and of a poor chance."""
MAX_SEEN = 6000
"""Characters of an observation that the teacher is shown."""

_TAGS = ("think", *BLOCK_NAMES, *ACTION_NAMES, *REPLY_NAMES)
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherText:
    """What a teacher wrote for a turn, for whatever label."""

    roadmap: str
    missing: str
    keywords: tuple[str, ...]
    good: str
    open: str
    poor: str
    chance: float | None = None  # in [0, 1]; None: not asked for

    def block(self, q: float) -> Foresight:
        """The block with the level nearest to `q` and the judgement that goes with it."""
        level, text = with_level(q, spaced=False)
        judgement = self.good if q > GOOD else self.poor if q < POOR else self.open
        return Foresight(
            roadmap=f"{self.roadmap.rstrip(' .;')}. {self.missing}",
            keywords=self.keywords,
            analysis=judgement,
            q=level,
            q_text=text,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSampling:
    """How the teacher is asked; the paper's temperature and top-p (arXiv 2606.27483)."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 1024
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A block that is to be written."""

    trajectory: Trajectory
    step: int
    blind: bool = False  # the twin without the future


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherWriter:
    """A `Writer` whose text is a teacher's and whose number is measured, or guessed on demand."""

    client: ChatClient
    rules: Writer  # says which words choose a way, and what can be told at all
    sampling: TeacherSampling = TeacherSampling()
    guesses: bool = False  # whether the teacher is asked for the success estimate, too

    def write(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.write`.

        Raises:
            GuardRail: the teacher gave no block for this turn.
        """
        return self._text(self.request(trajectory, step)).block(q)

    def recap(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        """See `Writer.recap`: the teacher's text, written without the future.

        Raises:
            GuardRail: the teacher gave no block for this turn.
        """
        return self._text(self.request(trajectory, step, blind=True)).block(q)

    def guess(self, trajectory: Trajectory, step: int) -> float:
        """The teacher's success estimate of a turn, where it is asked for one.

        Raises:
            GuardRail: the teacher gave no block for this turn.
        """
        chance = self._text(self.request(trajectory, step)).chance
        assert chance is not None, "asked for"
        return chance

    @property
    def decisions(self) -> tuple[str, ...]:
        """See `Writer.decisions`."""
        return self.rules.decisions

    def can_tell(self, steps: Sequence[Step]) -> bool:
        """See `Writer.can_tell`."""
        return self.rules.can_tell(steps)

    def request(self, trajectory: Trajectory, step: int, *, blind: bool = False) -> ChatRequest:
        """What the teacher is asked for a turn."""
        told = RULES.format(
            knows=KNOWS_NOT if blind else KNOWS,
            words=WORDS,
            chance=CHANCE if self.guesses else "",
        )
        parts = [f"Task\n{trajectory.task.question}"]
        if step:
            parts.append(f"Seen so far\n{_told(trajectory.steps[:step])}")
        if not blind:
            result = "was solved" if trajectory.success else "was not solved"
            parts.append(f"What happened afterwards\n{_told(trajectory.steps[step:])}")
            parts.append(f"In the end the task {result}.")
        return ChatRequest(
            messages=(("system", told), ("user", "\n\n".join(parts))),
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_tokens=self.sampling.max_tokens,
            seed=self.sampling.seed,
        )

    def estimate(self, wanted: Iterable[Wanted]) -> Estimate:
        """What `fetch` of these blocks would take."""
        return self.client.estimate(map(self._asked, wanted))

    def fetch(self, wanted: Sequence[Wanted]) -> list[bool]:
        """Asks for all these blocks at a time; whether each came.

        A reply that is no block is not asked for again: it is in the cache, and the seed is sent.
        """
        replies = self.client.ask([*map(self._asked, wanted)])
        return [isinstance(r, ChatReply) and self._read(r.text) is not None for r in replies]

    def _read(self, reply: str) -> TeacherText | None:
        text = read_text(reply)
        return None if text is None or (self.guesses and text.chance is None) else text

    def _asked(self, wanted: Wanted) -> ChatRequest:
        return self.request(wanted.trajectory, wanted.step, blind=wanted.blind)

    def _text(self, request: ChatRequest) -> TeacherText:
        (reply,) = self.client.ask([request])
        if isinstance(reply, ChatFailure):
            raise GuardRail(f"the teacher {self.client.model} gave no reply: {reply.reason}")
        text = self._read(reply.text)
        if text is None:
            raise GuardRail(f"the teacher {self.client.model} wrote no block: {reply.text[:200]!r}")
        return text


def _told(steps: Sequence[Step]) -> str:
    lines: list[str] = []
    for step in steps:
        lines += [f"thought: {step.think}"] if step.think else []
        lines.append(f"{step.action.kind}: {step.action.text}")
        lines += [f"result: {step.observation[:MAX_SEEN]}"] if step.observation else []
    return "\n".join(lines)


def read_text(reply: str) -> TeacherText | None:
    """The fields of a reply; None where one is absent, empty, or could not stand in a block.

    A reply may wrap its object in a sentence or a code fence. Of more than five keywords the first
    five are taken; commas inside one become blanks.
    """
    found = _OBJECT.search(reply)
    try:
        row: Any = json.loads(found[0]) if found else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("keywords"), list):
        return None
    names = ("roadmap", "missing", "good", "open", "poor")
    fields = {name: _line(row.get(name)) for name in names}
    keywords = [_line(keyword).replace(",", " ") for keyword in row["keywords"]]
    keywords = distinct([" ".join(keyword.split()) for keyword in keywords])[:MAX_KEYWORDS]
    texts = [*fields.values(), *keywords]
    if not keywords or not all(texts) or any(has_reserved(text, _TAGS) for text in texts):
        return None
    return TeacherText(keywords=tuple(keywords), chance=_chance(row.get("chance")), **fields)


def _chance(value: object) -> float | None:
    """A number from 0 to 100, or its text with or without a per cent sign, as a share."""
    text = value.strip().removesuffix("%") if isinstance(value, str) else value
    try:
        number = float(text) if isinstance(text, str | int | float) else -1.0
    except ValueError:
        return None
    return number / 100.0 if 0.0 <= number <= 100.0 and not isinstance(value, bool) else None


def _line(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""
