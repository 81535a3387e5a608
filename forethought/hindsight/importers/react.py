"""ReAct (arXiv 2210.03629): `Thought:`, `Action: Search[..]`, `Observation:`, numbered or not.

Read from one text, or from the messages of a chat whose user gives the observations, as FireAct
(arXiv 2310.05915) writes them. `Finish[..]` and `Final Answer:` answer; `Action Input:` is the
argument of the action above it. Names of tools are taken in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from forethought.hindsight.importers.attempt import (
    Act,
    Attempt,
    LeftOut,
    Said,
    first_text,
    objects,
)

_MARK = re.compile(
    r"^[ \t]*(Question|Thought|Action Input|Action|Observation|Final Answer)(?: ?\d+)?:[ \t]*",
    re.MULTILINE,
)
_CALL = re.compile(r"([A-Za-z][\w -]*?)[ \t]*\[(.*)\]\.?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z][\w -]*")
_ANSWERS = ("finish", "final answer", "answer")
_VERDICT = re.compile(r"Episode finished, reward = (True|False|1|0)\.?")
_ALPACA = re.compile(r"### Instruction:\n(.*?)\n### Response:\n", re.DOTALL)
QUESTIONS = ("question", "Question", "query", "problem")
TEXTS = ("traj", "trajectory", "text", "completion", "response", "output")

Part = tuple[str, str]
"""A mark and what stands behind it, to the next one; "" is the mark of what stands before all."""


def has_lines(text: str) -> bool:
    """Whether a text calls a tool in this way."""
    return any(name == "Action" for name, _ in parts_of(text))


def parts_of(text: str) -> list[Part]:
    """The marked parts of a text, in order."""
    marks = [*_MARK.finditer(text)]
    head = text[: marks[0].start()] if marks else text
    edges = [*(mark.start() for mark in marks), len(text)]
    found = [(m[1], text[m.end() : end].strip()) for m, end in zip(marks, edges[1:], strict=True)]
    return [("", head.strip()), *found] if head.strip() else found


def read_row(row: Mapping[str, Any]) -> Attempt:
    """A row with one text, or with a chat in `messages` or `traj`.

    Raises:
        LeftOut: see `REASONS`.
    """
    question = first_text(row, QUESTIONS)
    for key in ("messages", *TEXTS):
        if chat := objects(row.get(key)):
            from forethought.hindsight.importers.chat import read_chat  # which reads ReAct itself

            attempt = read_chat(chat, ("react",))
            asked = question or attempt.question
            return Attempt(question=asked, turns=attempt.turns, verdict=attempt.verdict)
    text = first_text(row, TEXTS)
    if not text:
        raise LeftOut("no_trajectory")
    asked, text = _asked(text)
    if not (question or asked):
        raise LeftOut("no_question")
    turns, verdict = read_parts(parts_of(text))
    return Attempt(question=question or asked, turns=turns, verdict=verdict)


def _asked(text: str) -> tuple[str, str]:
    """The question in a text, and what follows it; of several questions the others are examples."""
    if template := _ALPACA.search(text):
        return bare_question(template[1]), text[template.end() :]
    marks = [mark for mark in _MARK.finditer(text) if mark[1] == "Question"]
    if not marks:
        return "", text
    rest = text[marks[-1].end() :]
    ends = _MARK.search(rest)
    return (rest[: ends.start()].strip(), rest[ends.start() :]) if ends else (rest.strip(), "")


def bare_question(text: str) -> str:
    """A question without the word that introduces it."""
    return re.sub(r"\A\s*Question:", "", text).strip()


def read_parts(parts: Sequence[Part]) -> tuple[tuple[Said, ...], bool | None]:
    """The turns that marked parts make, and the verdict that a last observation states.

    Raises:
        LeftOut: an action that cannot be read, or an observation without one.
    """
    turns: list[Said] = []
    think: list[str] = []
    acts: list[Act] = []
    verdict: bool | None = None
    for name, content in parts:
        if name == "Observation":
            if not acts:
                raise LeftOut("stray_reply")
            ended = _VERDICT.fullmatch(content)
            verdict = ended[1] in ("True", "1") if ended else verdict
            turns.append(_said(think, acts, None if ended else content))
            think, acts = [], []
        elif name == "Action Input":
            if not acts or acts[-1].text:
                raise LeftOut("bad_action")
            acts[-1] = Act(kind=acts[-1].kind, text=content)
        elif name in ("Action", "Final Answer"):
            acts.append(_act(content) if name == "Action" else Act(kind="answer", text=content))
        else:
            if acts:  # a new thought with no observation in between
                turns.append(_said(think, acts, None))
                think, acts = [], []
            think.append(content)
    return (*turns, *([_said(think, acts, None)] if think or acts else [])), verdict


def _said(think: Sequence[str], acts: Sequence[Act], reply: str | None) -> Said:
    return Said(think="\n".join(filter(None, think)), acts=tuple(acts), reply=reply)


def _act(content: str) -> Act:
    """`Search[text]`; a bare name waits for its `Action Input:` with an empty text."""
    call = _CALL.fullmatch(content)
    if call is None and _NAME.fullmatch(content) is None:
        raise LeftOut("bad_action")
    name, text = (call[1], call[2].strip()) if call else (content, "")
    name = name.strip().lower()
    return Act(kind="answer" if name in _ANSWERS else name, text=text)
