"""Chats: OpenAI's messages with tool calls, TRL's columns, and what verifiers writes.

A chat calls tools by `tool_calls` (lists of objects, or of their JSON texts as verifiers saves
them), or in the text of its messages: tags, ReAct's lines, fenced programs. `openai` is the first
alone; TRL and verifiers fix no such thing, so all are read, the first that occurs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forethought.foresight.contents import boxes
from forethought.hindsight.importers import fences, react, tags
from forethought.hindsight.importers.attempt import (
    Act,
    Attempt,
    LeftOut,
    Said,
    call_of,
    objects,
    text_of,
)

WAYS = ("calls", "tags", "react", "fences")
"""How tools may be called, in the order in which they are looked for."""

_BEFORE = ("system", "developer")
_REPLIES = ("tool", "function", "ipython")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    role: str
    text: str
    think: str  # a field of its own beside the content
    calls: tuple[tuple[Act, str], ...]  # with their ids, "" where there is none
    reply_to: str


def read_openai(row: Mapping[str, Any]) -> Attempt:
    """A row with `messages`.

    Raises:
        LeftOut: see `REASONS`.
    """
    return read_chat(objects(row.get("messages")), ("calls",))


def read_trl(row: Mapping[str, Any]) -> Attempt:
    """A row with `messages`, or with `prompt` and `completion`: texts or lists of messages.

    Raises:
        LeftOut: see `REASONS`.
    """
    if "completion" not in row:
        return read_chat(objects(row.get("messages")), WAYS)
    return read_chat([*_as_chat(row, "prompt", "user"), *_as_chat(row, "completion")], WAYS)


def read_verifiers(row: Mapping[str, Any]) -> Attempt:
    """A row of verifiers' results: `prompt` and `completion`.

    Raises:
        LeftOut: see `REASONS`.
    """
    return read_chat([*_as_chat(row, "prompt", "user"), *_as_chat(row, "completion")], WAYS)


def _as_chat(
    row: Mapping[str, Any], key: str, role: str = "assistant"
) -> Sequence[Mapping[str, Any]]:
    value = row.get(key)
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return objects(value)


def read_chat(rows: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> Attempt:
    """A chat: an opening of the user, then turns and replies.

    Args:
        rows: its messages.
        ways: which of `WAYS` are looked for.

    Raises:
        LeftOut: see `REASONS`.
    """
    chat = [_message(row) for row in rows]
    if not chat:
        raise LeftOut("no_trajectory")
    first = next((i for i, each in enumerate(chat) if each.role == "assistant"), len(chat))
    opening = [each.text for each in chat[:first] if each.role not in _BEFORE]
    if not opening or not opening[0].strip():
        raise LeftOut("no_question")
    if len(opening) > 1:
        raise LeftOut("dialogue")
    question = react.bare_question(tags.asked_in(opening[0]))
    if not question:
        raise LeftOut("no_question")
    turns = chat[first:]
    if not turns:
        raise LeftOut("empty")
    texts = [each.text for each in turns if each.role == "assistant"]
    seen = {
        "calls": any(each.calls for each in turns),
        "tags": any(map(tags.has_tags, texts)),
        "react": any(map(react.has_lines, texts)),
        "fences": any(map(fences.has_fences, texts)),
    }
    way = next((way for way in ways if seen[way]), None)
    if way is None:
        raise LeftOut("no_action")
    if way == "calls":
        return Attempt(question=question, turns=_called(turns))
    if len(turns) == 1:
        said, verdict = _whole_text(turns[0].text, way)
    else:
        said, verdict = _lines(turns) if way == "react" else (_tagged(turns, way), None)
    return Attempt(question=question, turns=said, verdict=verdict)


def _whole_text(text: str, way: str) -> tuple[tuple[Said, ...], bool | None]:
    """One message that holds the whole of it, replies included."""
    if way == "react":
        return react.read_parts(react.parts_of(text))
    return (tags.read_text(text) if way == "tags" else fences.read_text(text)), None


def _message(row: Mapping[str, Any]) -> _Message:
    role, calls = row.get("role"), row.get("tool_calls") or []
    if row.get("function_call"):  # before tool_calls
        calls = [row["function_call"]]
    if not isinstance(role, str) or not isinstance(calls, list):
        raise LeftOut("no_trajectory")
    named = tuple((call_of(call), _id_of(call)) for call in calls)
    thoughts = (row.get(key) for key in _THOUGHTS)
    think = next((each.strip() for each in thoughts if isinstance(each, str)), "")
    reply_to = row.get("tool_call_id")
    return _Message(
        role=role,
        text=text_of(row.get("content")),
        think=think,
        calls=named,
        reply_to=reply_to if isinstance(reply_to, str) else "",
    )


def _id_of(call: Any) -> str:
    found = call.get("id") if isinstance(call, Mapping) else None
    return found if isinstance(found, str) else ""


def _called(chat: Sequence[_Message]) -> tuple[Said, ...]:
    """Turns whose tools are called by `tool_calls`; the last message without one answers."""
    turns: list[Said] = []
    waiting: list[str] = []  # ids of the calls whose replies are due
    told = ""  # of messages that neither call nor are the last
    for index, message in enumerate(chat):
        if message.role in _REPLIES:
            if not waiting or (message.reply_to and waiting[0] and message.reply_to not in waiting):
                raise LeftOut("stray_reply")
            waiting = waiting[1:]
            reply = "\n".join(filter(None, (turns[-1].reply, message.text)))
            turns[-1] = Said(think=turns[-1].think, acts=turns[-1].acts, reply=reply)
        elif message.role != "assistant":
            raise LeftOut("dialogue")
        elif message.calls:
            acts = tuple(act for act, _ in message.calls)
            turns.append(Said(think=_joined(told, message), acts=acts))
            waiting, told = [name for _, name in message.calls], ""
        elif index + 1 < len(chat):
            told, waiting = _joined(told, message), []
        else:
            turns.append(_answered(told, message))
    return tuple(turns)


def _joined(told: str, message: _Message) -> str:
    plain = message.text.replace("<think>", "").replace("</think>", "").strip()
    return "\n".join(filter(None, (told, message.think, plain)))


def _answered(told: str, message: _Message) -> Said:
    """The last message: what is thought, then the answer; a box or `<answer>` holds it alone."""
    thought, closed, text = message.text.rpartition("</think>")
    thought = thought.replace("<think>", "").strip() if closed else ""
    think = "\n".join(filter(None, (told, message.think, thought)))
    tagged = text.partition("<answer>")[2].partition("</answer>")[0].strip()
    boxed = boxes(text)
    answer = tagged or (boxed[-1].text if boxed else "")
    if answer:
        rest = text.partition("<answer>")[0] if tagged else text
        think = "\n".join(filter(None, (think, rest.strip())))
    return Said(think=think, acts=(Act(kind="answer", text=answer or text),))


def _lines(chat: Sequence[_Message]) -> tuple[tuple[Said, ...], bool | None]:
    """ReAct's lines, observations as messages that are not the policy's."""
    parts: list[react.Part] = []
    for message in chat:
        found = react.parts_of(message.text)
        names = [name for name, _ in found]
        if message.role == "assistant":
            if "Observation" in names:
                raise LeftOut("own_reply")
            if len({"Action", "Final Answer"} & set(names)) > 1 or names.count("Action") > 1:
                raise LeftOut("two_actions")
            parts += found
        elif message.role in _REPLIES:
            parts.append(("Observation", message.text.strip()))
        elif names[:1] == ["Observation"]:
            parts.append(("Observation", message.text.partition(":")[2].strip()))
        else:
            raise LeftOut("dialogue")
    return react.read_parts(parts)


def _tagged(chat: Sequence[_Message], way: str) -> tuple[Said, ...]:
    """Tags or fences, replies as messages that are not the policy's."""
    turns: list[Said] = []
    for message in chat:
        if message.role == "assistant":
            if way == "tags":
                turns += tags.read_text(message.text, replies=False)
            else:
                turns += fences.read_text(message.text)
            continue
        if not turns or turns[-1].reply is not None:
            raise LeftOut("stray_reply")
        last = turns.pop()
        turns.append(Said(think=last.think, acts=last.acts, reply=tags.reply_text(message.text)))
    return tuple(turns)
