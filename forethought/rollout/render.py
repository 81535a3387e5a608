"""Between tokens and meaning: prompts, wrapped observations, stops, and the parsed turn.

The history is append-only. What was sampled is never encoded again; an observation is encoded by
itself and its ids are appended. The syntax of a turn belongs to `forethought.foresight.block`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forethought.errors import InputError
from forethought.foresight.block import parse
from forethought.rollout.instructions import instruction
from forethought.rollout.spans import decode, token_spans
from forethought.types import BLOCK_SPANS, CharSpan, ParsedTurn, Span, Task, Turn

MODES = ("foresight", "plain", "free")
"""foresight: a tagged block before every action; plain: none; free: a block in free words."""

_STOPS = {"search": ("</search>", "</answer>"), "maths": ("</tool_call>",)}
_VOID = {
    "search": "No action was found. End the turn with <search>...</search> or "
    "<answer>...</answer>.",
    "maths": "No action was found. End the turn with a <tool_call> or a line 'Answer: ...'.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """How one domain looks as text. `spaced`: a word-level vocabulary, blanks between words."""

    name: str
    style: Literal["search", "maths"] = "search"
    spaced: bool = False
    prompt_style: Literal["bare", "instruct", "chat", "messages"] = "bare"
    mode_flags: bool = True  # a bare prompt ends with "; foresight" or "; plain"
    void_text: str = ""  # reply to a turn without an action; "" = a standard message
    old_blocks: bool = True  # whether later turns see the blocks of earlier ones
    guide: str = ""  # for `messages`: the tools, and how to read the questions of a world

    def prompt_text(self, task: Task, mode: str, opening: str = "") -> str:
        """The prompt of a task; `opening` is what the environment says at its reset.

        For `chat` this is the user's message; the template is put around it by `encode_prompt`.
        For `messages` the instruction is the system's and the question the user's.
        """
        _check_mode(mode)
        question = f"{task.question}{' ' if self.spaced else chr(10)}{opening}".rstrip()
        if self.prompt_style != "bare":
            return f"{instruction(self.style, mode)}\n\nQuestion: {question}\n\n"
        flag = f" ; {mode}" if self.mode_flags and mode != "free" else ""
        return f"{question}{flag}" if self.spaced else f"{question}{flag}\n"

    def encode_prompt(
        self, tokenizer: Any, task: Task, mode: str, opening: str = ""
    ) -> tuple[int, ...]:
        """Ids of the prompt, with the tokenizer's own beginning-of-sequence token, if any, once.

        Raises:
            InputError: `chat` with a tokenizer that has no chat template.
        """
        if self.prompt_style == "messages":
            told = instruction(self.style, mode, self.guide)
            question = f"Question: {task.question}\n{opening}".strip()
            return _messages(tokenizer, [("system", told), ("user", question)])
        text = self.prompt_text(task, mode, opening)
        if self.prompt_style != "chat":
            return _opening_ids(tokenizer) + encode(tokenizer, text)
        if not getattr(tokenizer, "chat_template", None):
            raise InputError(
                "model.prompt_style",
                got="chat, and a tokenizer without a chat template",
                expected="a model tuned for chat",
                next_step='set model.prompt_style to "instruct"',
            )
        message = [{"role": "user", "content": text.strip()}]
        whole = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return encode(tokenizer, whole)

    def wrap_observation(self, text: str) -> str:
        """An observation with its tags, as it is appended after the sampled turn."""
        if self.style == "maths":
            return f"\n<tool_response>\n{text}\n</tool_response>\n"
        if self.spaced:
            return f"<information> {text} </information>"
        return f"\n<information>{text}</information>\n"

    def encode_turn(self, tokenizer: Any, text: str) -> tuple[int, ...]:
        """Ids of a turn that is written for training, ended as a sampled one would end.

        A turn without a closing tag (an answer line) gets the end-of-sequence token, so that the
        policy learns to stop there.
        """
        ids = encode(tokenizer, text)
        eos = getattr(tokenizer, "eos_token_id", None)
        return ids if eos is None or text.rstrip().endswith(self.stop_strings()) else (*ids, eos)

    def encode_observation(self, tokenizer: Any, text: str) -> tuple[int, ...]:
        """Ids of a wrapped observation; for `messages` it is one of the user's."""
        wrapped = self.wrap_observation(text)
        if self.prompt_style == "messages":
            return _messages(tokenizer, [("user", wrapped.strip())])
        return encode(tokenizer, wrapped)

    def cut_observation(self, tokenizer: Any, text: str, max_tokens: int) -> str:
        """The longest beginning of a text whose wrapped observation has at most `max_tokens`.

        Words of a word-level vocabulary stay whole. "" where the tags alone are more.
        """
        if len(self.encode_observation(tokenizer, text)) <= max_tokens:
            return text
        ends = [m.end() for m in re.finditer(r"\S+" if self.spaced else r"(?s).", text)]
        fits, over = 0, len(ends)  # pieces that are known to fit, and not to fit
        while over - fits > 1:
            middle = (fits + over) // 2
            begun = text[: ends[middle - 1]]
            if len(self.encode_observation(tokenizer, begun)) <= max_tokens:
                fits = middle
            else:
                over = middle
        return text[: ends[fits - 1]] if fits else ""

    def reply_at(self, tokenizer: Any, ids: Sequence[int]) -> tuple[int, int]:
        """`[begin, end)` of the tokens of a wrapped observation that are of its text.

        A token that holds wrapping and text belongs to what its first character that is not white
        space belongs to.
        """
        if not ids:
            return (0, 0)
        wrapped = decode(tokenizer, ids)
        begin, end = wrapped.index(">") + 1, wrapped.rindex("</")
        begin += len(wrapped[begin:end]) - len(wrapped[begin:end].lstrip())
        inside = CharSpan(span=Span.OBSERVATION, start=begin, end=end)
        spans = token_spans(tokenizer, ids, wrapped, [inside])
        places = [
            n
            for n, (span, token) in enumerate(zip(spans, ids, strict=True))
            if span is Span.OBSERVATION and decode(tokenizer, (token,)).strip()
        ]
        return (places[0], places[-1] + 1) if places else (0, 0)

    def void_observation(self) -> str:
        """The reply to a turn without an action. Word-level worlds have no words for more."""
        return self.void_text or ("none" if self.spaced else _VOID[self.style])

    def unknown_tool(self, name: str) -> str:
        """The reply to a call of a tool that the environment does not have."""
        return "none" if self.spaced else f"There is no tool named {name}."

    def stop_strings(self) -> tuple[str, ...]:
        """Closing tags that end a turn."""
        return _STOPS[self.style]

    def stop_ids(self, tokenizer: Any, extra: Sequence[str] = ()) -> tuple[int, ...]:
        """Tokens that end a turn: closing tags that are one token, and end-of-sequence.

        `extra` are further strings that end a turn.
        """
        ids: list[int] = []
        for tag in (*self.stop_strings(), *extra):
            piece = encode(tokenizer, tag)
            if len(piece) == 1 and decode(tokenizer, piece).strip() == tag:
                ids.append(piece[0])
        eos = getattr(tokenizer, "eos_token_id", None)
        return tuple(ids) if eos is None or eos in ids else (*ids, eos)

    def stops(
        self, tokenizer: Any, extra: Sequence[str] = ()
    ) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Stop ids, and the stop strings that still have to be looked for in the text.

        A word-level vocabulary can write a tag in one way only, so its id is enough; elsewhere a
        tag may come in pieces even if it is a token, too.
        """
        ids = self.stop_ids(tokenizer, extra)
        known = {decode(tokenizer, (i,)).strip() for i in ids} if self.spaced else set()
        strings = (*self.stop_strings(), *extra)
        return ids, tuple(s for s in strings if s not in known)

    def parse(self, text: str, mode: str) -> ParsedTurn:
        """What a turn's text says in this style and mode."""
        _check_mode(mode)
        style = "free" if mode == "free" else self.style
        parsed: ParsedTurn = parse(text, style=style, expect_foresight=mode != "plain")
        return parsed

    def build_turn(
        self, tokenizer: Any, ids: Sequence[int], logprobs: Sequence[float], mode: str
    ) -> Turn:
        """A turn from its sampled ids, without an observation yet.

        An end-of-sequence token at the end stays in `ids` and is left out of `text`.
        """
        ids = tuple(ids)
        eos = getattr(tokenizer, "eos_token_id", None)
        shown = ids[:-1] if ids and ids[-1] == eos else ids
        text = decode(tokenizer, shown)
        parsed = self.parse(text, mode)
        spans = token_spans(tokenizer, ids, text, parsed.spans)
        return Turn(
            ids=ids,
            logprobs=tuple(logprobs),
            text=text,
            parsed=parsed,
            token_spans=spans,
            observation="",
            observation_ids=(),
            kept_ids=None if self.old_blocks else without_block(ids, spans),
        )


def without_block(ids: Sequence[int], spans: Sequence[Span]) -> tuple[int, ...] | None:
    """What is left of a turn without its block, and without free text before its thought.

    None: nothing is left out.
    """
    thought = next((n for n, span in enumerate(spans) if span is Span.THINK), 0)
    kept = tuple(
        token
        for n, (token, span) in enumerate(zip(ids, spans, strict=True))
        if span not in BLOCK_SPANS and (n >= thought or span is not Span.OTHER)
    )
    return None if len(kept) == len(ids) else kept


def encode(tokenizer: Any, text: str, *, special: bool = False) -> tuple[int, ...]:
    """Ids of a text, with `special` between the tokens that the tokenizer itself puts around it.

    The tokenizer behind a fast one is asked itself, which takes .4 of the time, but not where its
    state of the moment is not what the one in front of it would set.
    """
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if (
        inner is None
        or inner.truncation
        or inner.padding
        or inner.encode_special_tokens != tokenizer.split_special_tokens
    ):
        return tuple(tokenizer.encode(text, add_special_tokens=special))
    return tuple(inner.encode_batch_fast([text], add_special_tokens=special)[0].ids)


def _messages(tokenizer: Any, messages: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """Ids of messages (role, text), and the place for a reply behind them."""
    rows = [{"role": role, "content": text} for role, text in messages]
    return tuple(tokenizer.apply_chat_template(rows, tokenize=True, add_generation_prompt=True))


def _opening_ids(tokenizer: Any) -> tuple[int, ...]:
    """The beginning-of-sequence token if this tokenizer puts one in front of every text."""
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None:
        return ()
    return (bos,) if encode(tokenizer, "", special=True)[:1] == (bos,) else ()


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise InputError(
            "mode", got=repr(mode), expected=" | ".join(MODES), next_step="choose one of these"
        )
