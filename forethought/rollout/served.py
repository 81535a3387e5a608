"""Models behind an OpenAI-compatible server as a back-end: text out, text in, no tokens of ours.

The engine speaks in token ids. A server's tokenizer is not known, so text becomes *pieces*: runs of
characters whose id is their own UTF-8 bytes read as a number. They need no vocabulary, are the same
in every process, and a reply is cut into as many of them as tokens the server counted. So bounds,
spans and counts work as with a model of this process. Roles are three ids of their own, as in the
chat templates of tokenizers.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from forethought.chat.client import ChatClient, ChatFailure, ChatReply, ChatRequest
from forethought.errors import InputError
from forethought.rollout.backend import Completion, Request

CHARS = 4
"""Characters of a piece of text that no server has counted."""
_ROLES = {"system": 2, "user": 3, "assistant": 4}
_ROLE_OF = {number: role for role, number in _ROLES.items()}


class Pieces:
    """What stands where the engine expects a tokenizer."""

    eos_token_id = None
    bos_token_id = None

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Pieces of `CHARS` characters; there are no special tokens to add."""
        return self.counted(text, -(-len(text) // CHARS))

    def counted(self, text: str, count: int) -> list[int]:
        """Exactly `count` pieces of nearly one length that join to the text (0 only for "")."""
        size = len(text)
        edges = [size * n // count for n in range(count + 1)] if count else []
        return [_number(text[begin:end]) for begin, end in pairwise(edges)]

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        """The text of pieces; roles have none."""
        return "".join(_text(number) for number in ids if number not in _ROLE_OF)

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> list[int]:
        """Messages, and the place for a reply behind them."""
        told = [[_ROLES[m["role"]], *self.encode(m["content"])] for m in messages]
        return [*(number for one in told for number in one), _ROLES["assistant"]]

    def messages(self, ids: Sequence[int]) -> tuple[tuple[str, str], ...]:
        """The messages that a sequence stands for, as (role, text); inverts the template."""
        places = [n for n, number in enumerate(ids) if number in _ROLE_OF]
        ends = [*places[1:], len(ids)]
        return tuple(
            (_ROLE_OF[ids[place]], self.decode(ids[place + 1 : end]))
            for place, end in zip(places, ends, strict=True)
        )


def _number(piece: str) -> int:
    return int.from_bytes(b"\x01" + piece.encode("utf-8"), "big")


def _text(number: int) -> str:
    size = (number.bit_length() + 7) // 8
    return number.to_bytes(size, "big")[1:].decode("utf-8")


_Waiting = tuple[Request, "asyncio.Future[Completion]"]


class ServedBackend:
    """Asks a server for turns. Requests made in the same turn of the loop are asked in parallel.

    Replies are taken in the order of the requests, whatever order they come in, and kept on disk by
    their content and the seed that the noise key gives.
    """

    def __init__(self, client: ChatClient) -> None:
        """A back-end over a client, which has the bounds."""
        self._client = client
        self._pieces = Pieces()
        self._waiting: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking: set[asyncio.Task[None]] = set()  # a loop alone does not keep its tasks
        self.replies: dict[tuple[int, ...], ChatReply] = {}  # by noise key: what the server counted

    async def generate(self, request: Request) -> Completion:
        """One turn; `abort` with its reason where no reply came after all retries.

        Raises:
            InputError: the server refuses the key or knows no such model.
            MissingError: there is no server.
            GuardRail: a bound of the client is reached; replies so far are kept.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # requests of a loop that is gone have nobody to answer to
            self._loop, self._waiting = loop, []
        self._waiting.append((request, loop.create_future()))
        if len(self._waiting) == 1:
            loop.call_soon(self._gather, 0)
        return await self._waiting[-1][1]

    def _gather(self, seen: int) -> None:
        """Waits until a turn of the loop brings no new request, then asks for what is there."""
        if len(self._waiting) > seen:
            asyncio.get_running_loop().call_soon(self._gather, len(self._waiting))
            return
        waiting, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._ask(waiting))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, waiting: list[_Waiting]) -> None:
        try:
            asked = [self._asked(request) for request, _ in waiting]
            loop = asyncio.get_running_loop()
            replies = await loop.run_in_executor(None, self._client.ask, asked)
        except asyncio.CancelledError:  # an interrupt: the threads must not go on for minutes
            self._client.stop()
            raise
        except Exception as error:  # handed to every caller that waits, not swallowed
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (request, future), reply in zip(waiting, replies, strict=True):
            if not future.done():
                future.set_result(self._completion(request, reply))

    def _asked(self, request: Request) -> ChatRequest:
        *messages, (role, begun) = self._pieces.messages(request.ids)
        if role != "assistant" or begun:
            raise InputError(
                "a model behind a server",
                got="a turn that begins with text of ours",
                expected="turns that it writes itself",
                next_step="choose the mode faithful or plain",
            )
        sampling = request.sampling
        return ChatRequest(
            messages=tuple(messages),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed_of(request.noise),
            stop=sampling.stop_strings,
        )

    def _completion(self, request: Request, reply: ChatReply | ChatFailure) -> Completion:
        if isinstance(reply, ChatFailure):
            return Completion(ids=(), logprobs=(), stop="abort", reason=reply.reason)
        self.replies[request.noise] = reply
        text, ended = whole_turn(reply.text, request.sampling.stop_strings, reply.finish)
        count = visible_tokens(reply)
        ids = tuple(self._pieces.counted(text, count) if count else self._pieces.encode(text))
        full = reply.finish == "length" and not ended
        return Completion(ids=ids, logprobs=(0.0,) * len(ids), stop="length" if full else "stop")

    def release(self, session: str) -> None:
        """Nothing is kept for a session: each request has the whole of it."""

    async def load_weights(self, weights: Any, version: int) -> None:
        """Refuses.

        Raises:
            InputError: always; the weights of a server are its own.
        """
        raise InputError(
            "a model behind a server",
            got="new weights",
            expected="a model that is evaluated as it is",
            next_step="train a model of this process",
        )

    async def close(self) -> None:
        """Requests that wait end as `abort`."""
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_result(Completion(ids=(), logprobs=(), stop="abort"))


def visible_tokens(reply: ChatReply) -> int:
    """Tokens of a reply's text as the server counts them, its hidden thought left out."""
    return max(reply.completion_tokens - reply.reasoning_tokens, 0)


def seed_of(noise: Sequence[int]) -> int:
    """The seed of a request, below 2**31: a function of the noise key alone."""
    digest = hashlib.sha256(repr(tuple(noise)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def whole_turn(text: str, stops: Sequence[str], finish: str) -> tuple[str, bool]:
    """A reply as the turn it is, and whether a stop string ends it.

    Servers leave the string out that they stopped at; the tag that is open behind the thought says
    which one it was. Some pay no heed to stops: then the turn ends with the first one all the same.
    """
    ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
    if ends:
        return text[: min(ends)], True
    if finish != "stop":
        return text, False
    behind = text.rfind("</think>")
    opened = {text.rfind(stop.replace("</", "<", 1)): stop for stop in stops}
    last = max(opened, default=-1)
    return (text + opened[last], True) if last > behind else (text, False)
