"""Rows of a data set on the Hugging Face hub, by way of the extra `datasets`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module, util
from typing import Any

from forethought.errors import MissingError
from forethought.types import JsonRow

INSTALL = "pip install 'forethought[datasets]' and allow the network"


def hub_rows(
    hub_id: str, config: str | None, split: str, *, what: str, next_step: str
) -> Iterable[JsonRow]:
    """All rows of one published split, in its order.

    Args:
        hub_id: owner and name.
        config: name of a part; None where there is only one.
        split: as the hub calls it.
        what: the data set, for the message.
        next_step: how else it can be had, for the message.

    Raises:
        MissingError: no `datasets`, no network, or no such data set.
    """
    if util.find_spec("datasets") is None:
        raise MissingError(f"{what}: no local file, no `datasets`", next_step=next_step)
    datasets: Any = import_module("datasets")
    try:
        rows: Iterable[JsonRow] = datasets.load_dataset(hub_id, config, split=split)
    except (OSError, ValueError, RuntimeError) as error:  # no network, no copy, a changed set
        reason = str(error).partition("\n")[0]
        raise MissingError(f"{what} from the hub: {reason}", next_step=next_step) from error
    return rows
