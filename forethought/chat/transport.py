"""One HTTP POST with the standard library, and what can go wrong with it."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from forethought.errors import InputError

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses that may pass."""
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a server said; `retry_after` in seconds where it asked for a pause."""

    status: int
    body: bytes
    retry_after: float | None = None


class UnreachableError(Exception):
    """No whole response came: no connection, a timeout, a connection that broke."""


class OversizeError(Exception):
    """The response is longer than the caller takes; asking again would not help."""


class RefusedError(InputError):
    """The server understood and will not: a wrong key, no such model, a request too long."""

    def __init__(
        self,
        url: str,
        response: Response,
        *,
        expected: str = "a completion",
        next_step: str = "check OPENAI_API_KEY, the name of the model and its context length",
    ) -> None:
        said = response.body[:200].decode("utf-8", errors="replace")
        super().__init__(
            url, got=f"HTTP {response.status}: {said}", expected=expected, next_step=next_step
        )


def post(
    url: str, headers: dict[str, str], body: bytes, timeout_s: float, max_bytes: int | None = None
) -> Response:
    """Sends the body; every status is a response.

    A server that is silent for `timeout_s` seconds is given up, and so is one that has talked for
    so long without coming to an end: together at most twice as long.

    Args:
        url: where to.
        headers: of the request.
        body: of the request.
        timeout_s: seconds for the response.
        max_bytes: of its body; None = no bound.

    Raises:
        UnreachableError: no whole response came in time.
        OversizeError: its body is larger than `max_bytes`.
        InputError: the address is none.
    """
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    except ValueError as error:
        raise _no_address(url, str(error)) from error
    if request.type not in ("http", "https"):
        raise _no_address(url, f"the scheme {request.type}")
    # The clock bounds the wait and decides nothing else.
    deadline = time.monotonic() + timeout_s
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return Response(status=reply.status, body=_read(reply, deadline, max_bytes))
    except urllib.error.HTTPError as error:
        with error:
            return Response(
                status=error.code,
                body=_read(error, deadline, max_bytes),
                retry_after=_seconds(error.headers),
            )
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"unreachable: {error}") from error


def _read(reply: Any, deadline: float, max_bytes: int | None) -> bytes:
    """The body, in pieces, so that time and size are looked at between them."""
    said = reply.headers.get("Content-Length") or ""
    length = int(said) if said.isdecimal() else None
    pieces: list[bytes] = []
    size = 0
    while length is None or size < length:
        try:
            piece = reply.read1(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"unreachable: {error or type(error).__name__}") from error
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise OversizeError(f"a response of more than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise UnreachableError("unreachable: the response did not come to its end in time")
    if length is not None and size < length:
        raise UnreachableError(f"unreachable: the response was cut at {size} of {length} bytes")
    return b"".join(pieces)


def _no_address(url: str, got: str) -> InputError:
    return InputError(
        url,
        got=got,
        expected="an address such as http://localhost:8000/v1",
        next_step="correct the address (that of a model is OPENAI_BASE_URL)",
    )


def _seconds(headers: object) -> float | None:
    said = headers.get("Retry-After") if isinstance(headers, http.client.HTTPMessage) else None
    try:
        return max(float(said), 0.0) if said else None
    except ValueError:
        return None  # a date: the usual pause will do
