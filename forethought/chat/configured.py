"""The client that a section of a configuration describes; replies are kept in FORETHOUGHT_HOME."""

from __future__ import annotations

from forethought.chat.client import ChatClient, ChatLimits, Prices, Server
from forethought.data.models import cache_home
from forethought.schema import AskedConfig


def client_of(section: AskedConfig, model: str, *, needed: bool = False) -> ChatClient:
    """A client of a model behind OPENAI_BASE_URL.

    No server is asked for before a reply is needed that is not in the cache.

    Raises:
        MissingError: OPENAI_BASE_URL is not set, and a server is `needed` from the start.
    """
    return ChatClient(
        Server.from_env(model, needed=needed),
        cache=cache_home() / "chat",
        limits=ChatLimits(
            parallel=section.parallel,
            tries=section.tries,
            timeout_s=section.timeout_s,
            max_tokens=section.max_total_tokens,
            max_cost=section.max_cost,
        ),
        prices=Prices(prompt=section.price_prompt, completion=section.price_completion),
    )
