"""The environments. A class whose typed public methods are its tools; see docs/environments.md."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from forethought.envs.base import check_class
from forethought.envs.maths import MathsPython, MathsSession, Workbook
from forethought.envs.search_qa import SearchQA
from forethought.errors import InputError

ENVS: dict[str, type[Any]] = {
    "search_qa": SearchQA,
    "maths": MathsPython,
    "maths_session": MathsSession,
    "workbook": Workbook,
}
"""Name -> class. A class outside this tree is named `package.module:Class`."""


def env_class(name: str) -> type[Any]:
    """The class that a registered name or `package.module:Class` stands for, its tools checked.

    Raises:
        InputError: no such name, module or class, or the class is no environment.
    """
    if name in ENVS:
        return ENVS[name]
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise _not_found(name, repr(name))
    try:
        found = getattr(import_module(module_name), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise _not_found(name, str(error)) from error
    if not isinstance(found, type):
        raise _not_found(name, f"a {type(found).__name__}, not a class")
    check_class(found)
    return found


def _not_found(name: str, why: str) -> InputError:
    return InputError(
        f"environment {name}",
        got=why,
        expected=f"one of {', '.join(ENVS)}, or an importable package.module:Class",
        next_step="correct the name, or put its folder on PYTHONPATH",
    )
