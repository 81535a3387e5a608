r"""Texts with tags: Search-R1, R1-Searcher, and kin.

    <think>..</think> <search>query</search> <information>..</information> <answer>..</answer>

Search-R1 (arXiv 2503.09516) writes that; R1-Searcher (arXiv 2503.05592) `<|begin_of_query|>` and
`<|begin_of_documents|>`; ReSearch (arXiv 2503.19470) and ARPO (arXiv 2507.19849) `<result>` and
`<python>`, their answers in a box; tools called in text `<tool_call>` and `<tool_response>`.
What stands before a call is the thought, with or without tags of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from forethought.foresight.contents import boxes, statements
from forethought.hindsight.importers.attempt import (
    Act,
    Attempt,
    LeftOut,
    Said,
    call_of,
    first_text,
    objects,
    text_of,
)

CALLS = {
    "<search>": "</search>",
    "<|begin_of_query|>": "<|end_of_query|>",
    "<python>": "</python>",
    "<tool_call>": "</tool_call>",
}
REPLIES = {
    "<information>": "</information>",
    "<|begin_of_documents|>": "<|end_of_documents|>",
    "<result>": "</result>",
    "<tool_response>": "</tool_response>",
}
ANSWER = {"<answer>": "</answer>"}
_CLOSING = {**CALLS, **REPLIES, **ANSWER}
_OPEN = re.compile("|".join(map(re.escape, _CLOSING)))
_THINK = re.compile(r"</?think>")
_ENDS = re.compile(r"(?:<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>|</s>|\s)+")
_QUESTION = re.compile(r"^[ \t]*Question:", re.MULTILINE)
_TEMPLATE = "Answer the given question."  # how the prompt of Search-R1 begins
QUESTIONS = ("question", "Question", "query", "problem")
TEXTS = ("trajectory", "response", "completion", "output", "generated_text")


def has_tags(text: str) -> bool:
    """Whether a text calls a tool in this way."""
    return any(tag in text for tag in CALLS)


def read_row(row: Mapping[str, Any]) -> Attempt:
    """A row of Search-R1 or R1-Searcher: a question, and the whole text or a chat.

    Raises:
        LeftOut: see `REASONS`.
    """
    chat = objects(row.get("messages")) or objects(row.get("trajectory"))
    question = first_text(row, QUESTIONS) or asked_in(row.get("prompt"))
    if chat:
        from forethought.hindsight.importers.chat import read_chat  # which reads tags itself

        attempt = read_chat(chat, ("tags",))
        return Attempt(question=question or attempt.question, turns=attempt.turns)
    text = first_text(row, TEXTS)
    if not text:
        raise LeftOut("no_trajectory")
    if not question:
        raise LeftOut("no_question")
    return Attempt(question=question, turns=read_text(text))


def asked_in(prompt: Any) -> str:
    """The question of a prompt; of Search-R1's prompt what follows its instructions."""
    chat = [text_of(each.get("content")) for each in objects(prompt) if each.get("role") == "user"]
    text = prompt if isinstance(prompt, str) else chat[0] if len(chat) == 1 else ""
    marks = [*_QUESTION.finditer(text)]
    if not marks and text.lstrip().startswith(_TEMPLATE):  # it stands behind a sentence there
        marks = [*re.finditer("Question:", text)]
    begins = text.lstrip().startswith((_TEMPLATE, "Question:"))
    return text[marks[-1].end() :].strip() if marks and begins else text.strip()


def read_text(text: str, *, replies: bool = True) -> tuple[Said, ...]:
    """The turns of a text.

    Args:
        text: what the policy wrote and, with `replies`, what it was told in between.
        replies: False in a chat, where replies are messages of their own.

    Raises:
        LeftOut: a tag that is never closed, or replies where there should be none.
    """
    turns: list[Said] = []
    place, told = 0, ""
    while found := _OPEN.search(text, place):
        told = _without_think(text[place : found.start()])
        end = text.find(_CLOSING[found[0]], found.end())
        if end < 0:
            raise LeftOut("bad_action")
        content = text[found.end() : end].strip()
        place = end + len(_CLOSING[found[0]])
        if found[0] not in REPLIES:
            turns = _with_act(turns, told, _act(found[0], content))
        elif not replies:
            raise LeftOut("own_reply")
        else:
            turns = _with_reply(turns, told, content)
    return tuple(_with_rest(turns, _without_think(_ENDS.sub(" ", text[place:]))))


def reply_text(text: str) -> str:
    """A reply that is a message of its own, without its tags."""
    plain = text.strip()
    for begin, end in REPLIES.items():
        if plain.startswith(begin) and plain.endswith(end):
            return plain[len(begin) : len(plain) - len(end)].strip()
    return plain


def _without_think(text: str) -> str:
    return _THINK.sub("\n", text).strip()


def _act(tag: str, content: str) -> Act:
    if tag == "<tool_call>":
        return call_of(content)
    if tag in ANSWER:
        boxed = boxes(content)
        return Act(kind="answer", text=boxed[-1].text if boxed else content)
    return Act(kind="python" if tag == "<python>" else "search", text=content)


def _with_act(turns: list[Said], told: str, act: Act) -> list[Said]:
    """One more action: of a turn of its own, or, where nothing stands between, of the last one."""
    last = turns[-1] if turns else None
    if last is not None and last.reply is None and last.acts and not told:
        return [*turns[:-1], Said(think=last.think, acts=(*last.acts, act))]
    return [*turns, Said(think=told, acts=(act,))]


def _with_reply(turns: list[Said], told: str, content: str) -> list[Said]:
    last = turns[-1] if turns else None
    if last is None or last.reply is not None or told:
        raise LeftOut("stray_reply")
    return [*turns[:-1], Said(think=last.think, acts=last.acts, reply=content)]


def _with_rest(turns: list[Said], rest: str) -> list[Said]:
    """Words behind the last tag: an answer that they state, or the beginning of a turn."""
    if not rest:
        return turns
    stated = statements(rest) if turns and turns[-1].acts[-1].kind != "answer" else []
    acts = (Act(kind="answer", text=stated[-1].text),) if stated else ()
    return [*turns, Said(think=rest[: stated[-1].start].strip() if stated else rest, acts=acts)]
