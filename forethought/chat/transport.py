"""One HTTP POST with the standard library, and what can go wrong with it."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass

from forethought.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a server said; `retry_after` in seconds where it asked for a pause."""

    status: int
    body: bytes
    retry_after: float | None = None


class UnreachableError(Exception):
    """No response came: no connection, a timeout, a connection that broke."""


class RefusedError(InputError):
    """The server understood and will not: a wrong key, no such model, a request too long."""

    def __init__(self, url: str, response: Response) -> None:
        said = response.body[:200].decode("utf-8", errors="replace")
        super().__init__(
            url,
            got=f"HTTP {response.status}: {said}",
            expected="a completion",
            next_step="check OPENAI_API_KEY, the name of the model and its context length",
        )


def post(url: str, headers: dict[str, str], body: bytes, timeout_s: float) -> Response:
    """Sends the body; every status is a response.

    Raises:
        UnreachableError: no response came within `timeout_s` seconds.
        InputError: the address is none.
    """
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    except ValueError as error:
        raise InputError(
            url,
            got=str(error),
            expected="an address such as http://localhost:8000/v1",
            next_step="correct OPENAI_BASE_URL",
        ) from error
    if request.type not in ("http", "https"):
        raise InputError(
            url,
            got=f"the scheme {request.type}",
            expected="http or https",
            next_step="correct OPENAI_BASE_URL",
        )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return Response(status=reply.status, body=reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Response(
                status=error.code, body=error.read(), retry_after=_seconds(error.headers)
            )
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"unreachable: {error}") from error


def _seconds(headers: object) -> float | None:
    said = headers.get("Retry-After") if isinstance(headers, http.client.HTTPMessage) else None
    try:
        return max(float(said), 0.0) if said else None
    except ValueError:
        return None  # a date: the usual pause will do
