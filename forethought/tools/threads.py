"""Between event loops and threads: what waits in a thread, and loops for callers without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, for callers without an event loop or inside one (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(coroutine))
        except BaseException as error:  # carried to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_daemon(function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Runs a function in a thread of its own, so that a hanging one cannot hold up the exit.

    The thread itself cannot be stopped; a tool that may hang for good belongs in a worker process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(results: list[T], error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(results[0])
        else:
            future.set_exception(error)

    def work() -> None:
        results: list[T] = []
        failure = None
        try:
            results.append(function(*arguments))
        except BaseException as error:  # carried to the loop's thread
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, results, failure)

    threading.Thread(target=work, daemon=True).start()
    return future
