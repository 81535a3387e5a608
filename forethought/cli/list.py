"""`forethought list NOUN`: the names that other commands and configurations accept."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from forethought.config import config_names
from forethought.errors import MissingError

HELP = "List the names that other commands and configurations accept."
REGISTRIES: dict[str, tuple[tuple[str, str], ...]] = {
    "envs": (("forethought.envs", "ENVS"),),
    "terms": (("forethought.rewards.terms", "TERMS"),),
    "baselines": (
        ("forethought.evals.baselines", "BASELINES"),
        ("forethought.stats.estimates", "ESTIMATES"),
    ),
    "modes": (("forethought.rollout.modes", "MODES"),),
    "templates": (("forethought.foresight.templates", "FREE_TEMPLATES"),),
    "benchmarks": (("forethought.data.benchmarks", "ABOUT"),),
}
"""Noun -> where its names are kept: a mapping, or names alone."""
NOUNS = ("envs", "configs", "terms", "baselines", "modes", "templates", "benchmarks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("noun", choices=NOUNS)
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Prints one name a line with the first sentence of its documentation."""
    rows = names(args.noun)
    if args.json:
        print(json.dumps([{"name": name, "about": about} for name, about in rows.items()]))
        return 0
    width = max((len(name) for name in rows), default=0)
    for name, about in rows.items():
        print(f"{name:<{width}}  {about}".rstrip())
    return 0


def names(noun: str) -> dict[str, str]:
    """Names of one kind, each with a line about it.

    Raises:
        MissingError: this installation lacks the registry.
    """
    if noun == "configs":
        return {name: config_line(name) for name in config_names()}
    found: dict[str, str] = {}
    for module, attribute in REGISTRIES[noun]:
        found |= _names_in(module, attribute)
    return found


def _names_in(module: str, attribute: str) -> dict[str, str]:
    try:
        registry: Any = getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise MissingError(
            f"{module}.{attribute} ({error})", next_step="install forethought again, whole"
        ) from error
    if isinstance(registry, Mapping):
        return {str(name): about(value) for name, value in registry.items()}
    if all(isinstance(value, str) for value in registry):
        return {str(value): "" for value in registry}
    return {str(index): about(value) for index, value in enumerate(registry)}


def config_line(name: str) -> str:
    """The first comment of a shipped configuration."""
    from importlib import resources

    text = (resources.files("forethought") / "configs" / f"{name}.toml").read_text("utf-8")
    first = text.splitlines()[0] if text else ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def about(value: Any) -> str:
    """The first line of a thing's own documentation; a plain value stands for itself."""
    if isinstance(value, str):
        return value
    if inspect.isclass(value) or callable(value):
        return (inspect.getdoc(value) or "").partition("\n")[0]
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
