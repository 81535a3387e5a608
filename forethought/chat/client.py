"""One client for any OpenAI-compatible server: cached on disk, parallel, retried, bounded.

    client = ChatClient(Server.from_env("gpt-oss-20b"), cache=folder)
    replies = client.ask([ChatRequest(messages=(("user", "2 + 2?"),))])

A reply is cached by the content of its request, so a run that was stopped asks only for what is
missing and a second run asks for nothing. What cannot be had after all retries is a `ChatFailure`
in its place: the caller decides, nothing is made up. The package `openai` would bring a second
retry loop and no cache; one POST does not need it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forethought.chat.transport import AGAIN, RefusedError, Response, UnreachableError, post
from forethought.errors import GuardRail, InputError, Interrupted, MissingError
from forethought.jsonl import write_json

Transport = Callable[[str, dict[str, str], bytes, float], Response]
"""(url, headers, body, timeout in seconds) -> the server's response."""

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, whatever the server asks for."""
_THIS_ONE = frozenset({400, 413, 422})  # one request is refused, such as one that is too long
_CHARS_PER_TOKEN = 3.5  # of English, for the estimate; real counts come with the replies


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What is asked: messages as (role, text) and how to sample."""

    messages: tuple[tuple[str, str], ...]
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    stop: tuple[str, ...] = ()  # strings that end the reply; a server leaves them out of it

    def body(self, model: str) -> dict[str, Any]:
        """The JSON body of the request."""
        row = asdict(self)
        row["messages"] = [{"role": role, "content": text} for role, text in self.messages]
        return {"model": model, **{k: v for k, v in row.items() if v is not None and v != ()}}

    @property
    def prompt_tokens(self) -> int:
        """An estimate of the tokens of the prompt."""
        return 1 + int(sum(len(text) for _, text in self.messages) / _CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What came back; `cached` = nothing was asked for it this time."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str  # "stop", "length", ..., as the server says
    reasoning_tokens: int = 0  # of the completion, where the server counts hidden thought apart
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFailure:
    """Why no reply came, after all retries."""

    reason: str
    refusal: InputError | None = field(default=None, compare=False)  # it would be refused again


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Cost of a million tokens, in whatever currency; 0 = not known."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a batch will take at most, before it starts."""

    requests: int
    cached: int
    prompt_tokens: int  # estimated, of those that are not cached
    completion_tokens: int  # an upper bound: `max_tokens` each
    cost: float  # by `Prices`; 0 where they are not known

    def __str__(self) -> str:
        cost = f", at most {self.cost:.2f}" if self.cost else ""
        return (
            f"{self.requests} requests, {self.cached} of them cached: about {self.prompt_tokens} "
            f"tokens in and at most {self.completion_tokens} out{cost}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLimits:
    """How hard a server is asked, and where to stop."""

    parallel: int = 8
    tries: int = 5
    timeout_s: float = 120.0
    max_tokens: int | None = None  # in and out, of one client; None = no bound
    max_cost: float | None = None  # by `Prices`

    def __post_init__(self) -> None:
        """Refuses what cannot work.

        Raises:
            InputError: a bound below its least value.
        """
        if self.parallel < 1 or self.tries < 1 or not self.timeout_s > 0:
            raise InputError(
                "chat limits",
                got=f"parallel = {self.parallel}, tries = {self.tries}, timeout {self.timeout_s}",
                expected="parallel and tries of at least 1, a timeout above 0",
                next_step="correct the number",
            )


@dataclass(frozen=True, slots=True)
class Server:
    """A model behind an address."""

    model: str  # the name that the server knows
    base_url: str  # such as http://localhost:8000/v1
    api_key: str = field(default="", repr=False)

    @classmethod
    def from_env(cls, model: str, *, needed: bool = True) -> Server:
        """The server of OPENAI_BASE_URL, with the key of OPENAI_API_KEY if there is one.

        Raises:
            MissingError: no address is set, and it is `needed` now: the cache may do without.
        """
        url = os.environ.get("OPENAI_BASE_URL", "")
        if needed and not url:
            raise _no_server(model)
        return cls(model, url, os.environ.get("OPENAI_API_KEY", ""))


def _no_server(model: str) -> MissingError:
    return MissingError(
        f"a server for the model {model}",
        next_step="set OPENAI_BASE_URL, such as http://localhost:8000/v1",
    )


class ServerDown(MissingError):
    """The server has never answered: nothing listens at the address."""


class ChatClient:
    """Asks one model; safe to use from several threads."""

    def __init__(
        self,
        server: Server,
        *,
        cache: Path | None = None,
        limits: ChatLimits | None = None,
        prices: Prices | None = None,
        transport: Transport = post,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """A client of one model.

        Args:
            server: where the model is; without an address only the cache can reply.
            cache: folder of replies, made when the first one comes; None = no cache.
            limits: how hard to ask, where to stop.
            prices: for estimate and bound of cost.
            transport: how a request is sent.
            sleep: how a retry waits.
        """
        self.model, self.limits, self.prices = (
            server.model,
            limits or ChatLimits(),
            prices or Prices(),
        )
        self.prompt_tokens = self.completion_tokens = self.asked = 0
        self._server = server
        self._url = f"{server.base_url.rstrip('/')}/chat/completions"
        self._headers = {"Content-Type": "application/json"}
        if server.api_key:
            self._headers["Authorization"] = f"Bearer {server.api_key}"
        self._cache, self._transport, self._sleep = cache, transport, sleep
        self._lock = threading.Lock()
        self._stopping = False
        self._heard = False  # whether this model ever replied, now or in the cache

    @property
    def cost(self) -> float:
        """What was spent so far, by `Prices`."""
        return self.prices.of(self.prompt_tokens, self.completion_tokens)

    def stop(self) -> None:
        """Nothing further is sent: what waits in other threads ends when its try ends."""
        self._stopping = True

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate:
        """What `ask` would take; nothing is sent."""
        total = cached = prompt = completion = 0
        for request in requests:
            total += 1
            if self.known(request) is not None:
                cached += 1
                continue
            prompt += request.prompt_tokens
            completion += request.max_tokens
        return Estimate(
            requests=total,
            cached=cached,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost=self.prices.of(prompt, completion),
        )

    def ask(self, requests: Sequence[ChatRequest]) -> list[ChatReply | ChatFailure]:
        """The replies, in the order of the requests; what stands there twice is asked once.

        Raises:
            MissingError: there is no address, or nothing listens there (`ServerDown`).
            InputError: the server refuses what is asked (a wrong key, no such model, an option that
                it does not know); one refused request among others is a failure in its place.
            GuardRail: a bound of `limits` is reached; replies that came are in the cache.
        """
        known = {each: self.known(each) for each in dict.fromkeys(requests)}
        found: dict[ChatRequest, ChatReply | ChatFailure] = {
            request: reply for request, reply in known.items() if reply is not None
        }
        missing = [request for request in known if request not in found]
        self._heard = self._heard or bool(found)
        if missing:  # a writer asks for one block at a time, and most come from the cache
            came = self._ask_all(missing)
            self._check_refusals(came)
            found |= zip(missing, came, strict=True)
        return [found[request] for request in requests]

    def _check_refusals(self, replies: Sequence[ChatReply | ChatFailure]) -> None:
        """A server that refuses all that it was ever asked cannot do what is asked of it."""
        refusals = [r.refusal for r in replies if isinstance(r, ChatFailure) and r.refusal]
        if not self._heard and len(refusals) == len(replies):
            raise refusals[0]
        self._heard = self._heard or any(isinstance(reply, ChatReply) for reply in replies)

    def _ask_all(self, requests: Sequence[ChatRequest]) -> list[ChatReply | ChatFailure]:
        with ThreadPoolExecutor(self.limits.parallel) as pool:
            futures = [pool.submit(self._one, request) for request in requests]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, request: ChatRequest) -> ChatReply | ChatFailure:
        if not self._server.base_url:
            raise _no_server(self.model)
        self._check_bounds()
        body = json.dumps(request.body(self.model)).encode()
        reason = ""
        for number in range(self.limits.tries):
            if self._stopping:
                raise Interrupted(f"{self.model} is asked nothing more; replies so far are cached")
            reply, reason, wait = self._try(body)
            if isinstance(reply, ChatFailure):
                return reply
            if reply is not None:
                return self._keep(request, reply)
            if number + 1 < self.limits.tries:
                self._sleep(min(2.0**number if wait is None else wait, LONGEST_WAIT))
        if self.asked == 0 and reason.startswith("unreachable"):
            raise ServerDown(
                f"the server {self._url} ({reason})", next_step="start it, or set OPENAI_BASE_URL"
            )
        return ChatFailure(reason=f"{reason}, {self.limits.tries} times")

    def _try(self, body: bytes) -> tuple[ChatReply | ChatFailure | None, str, float | None]:
        """One attempt: the reply, or why there is none and how long the server wants to rest.

        A failure: this request is refused, and would be again.
        """
        try:
            response = self._transport(self._url, self._headers, body, self.limits.timeout_s)
        except UnreachableError as error:
            return None, str(error), None
        if response.status in AGAIN:
            return None, f"HTTP {response.status}", response.retry_after
        if response.status in _THIS_ONE:
            refusal = RefusedError(self._url, response)
            return ChatFailure(reason=str(refusal), refusal=refusal), "", None
        if response.status != 200:
            raise RefusedError(self._url, response)
        return _reply(response.body), f"no completion in {response.body[:120]!r}", None

    def _check_bounds(self) -> None:
        bounds = self.limits
        used = self.prompt_tokens + self.completion_tokens
        over = bounds.max_tokens is not None and used >= bounds.max_tokens
        dear = bounds.max_cost is not None and self.cost >= bounds.max_cost
        if over or dear:
            raise GuardRail(
                f"{self.model} has used {used} tokens (cost {self.cost:.2f}), the bound is "
                f"{bounds.max_tokens} tokens, cost {bounds.max_cost}; replies so far are cached"
            )

    def _keep(self, request: ChatRequest, reply: ChatReply) -> ChatReply:
        with self._lock:
            self.asked += 1
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
        file = self._file(request)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            row = asdict(reply)
            del row["cached"]
            write_json(file, {"request": request.body(self.model), "reply": row})
        return reply

    def known(self, request: ChatRequest) -> ChatReply | None:
        """The reply that is kept for a request; None where it has to be asked for."""
        file = self._file(request)
        if file is None or not file.is_file():
            return None
        try:
            row = json.loads(file.read_text(encoding="utf-8"))
            return ChatReply(**row["reply"], cached=True)
        except (ValueError, KeyError, TypeError):
            return None  # torn by a crash, or of another version: it is asked for again

    def _file(self, request: ChatRequest) -> Path | None:
        if self._cache is None:
            return None
        text = json.dumps(request.body(self.model), sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()
        return self._cache / name[:2] / f"{name}.json"


def _reply(body: bytes) -> ChatReply | None:
    """The first choice of a completion; None where there is no text."""
    try:
        row = json.loads(body)
        choice = row["choices"][0]
        text = choice["message"]["content"]
        usage = row.get("usage") or {}
        if text is None and choice.get("finish_reason") == "length":
            text = ""  # all tokens went into hidden thought: the model's doing, not the server's
        if not isinstance(text, str):
            return None
        hidden = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
        return ChatReply(
            text=text.encode("utf-8", "replace").decode("utf-8"),  # half a pair is no character
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            finish=str(choice.get("finish_reason") or ""),
            reasoning_tokens=int(hidden or 0),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
