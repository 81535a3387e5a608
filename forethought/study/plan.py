"""What a study file says: factors, cells, and the claims that they decide.

    name = "first"
    config = "demo/atlas"
    seeds = [0, 1, 2]
    metrics = ["success", "brier_skill_expected.first"]
    [set]
    "eval.num_tasks" = 1000
    [factors.amt]
    yes = {}
    no = { "midtrain.corpus" = "none" }
    [factors.rl]
    grpo = { "rl.profile" = "grpo" }
    causal = {}
    [[claims]]
    claim = "mid-training sharpens the estimate"
    metric = "brier_skill_expected.first"
    cells = { "yes-causal" = 1, "no-causal" = -1 }

A cell is one level of each factor at one seed; its id is `SEED-LEVEL-LEVEL`. A claim is a sum of
cells with weights: an effect, a simple contrast or an interaction.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forethought.config import load_config
from forethought.errors import InputError
from forethought.files import read_text
from forethought.keys import toml_line
from forethought.schema import RunConfig

Overrides = dict[str, Any]
"""Dotted keys of a configuration and their values."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Claim(_Part):
    """A sentence that the study decides, and how."""

    claim: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    cells: dict[str, float] = Field(min_length=2)  # levels of a cell -> weight
    margin: float = 0.0  # supported above it, refuted below it, by the whole interval


class _StudyFile(_Part):
    name: str = Field(min_length=1)
    config: str
    seeds: tuple[int, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = Field(min_length=1)
    set: Overrides = {}
    factors: dict[str, dict[str, Overrides]] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of the study."""

    seed: int
    levels: tuple[str, ...]
    config: RunConfig

    @property
    def arm(self) -> str:
        """The levels as claims name them, such as `yes-fe-causal`."""
        return "-".join(self.levels)

    @property
    def id(self) -> str:
        """Its name in commands and folders."""
        return f"{self.seed}-{self.arm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A study that was read."""

    name: str
    cells: tuple[Cell, ...]  # seed by seed, factors in the order of the file
    claims: tuple[Claim, ...]
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]

    def cell(self, cell_id: str) -> Cell:
        """The cell of an id.

        Raises:
            InputError: there is none.
        """
        for cell in self.cells:
            if cell.id == cell_id:
                return cell
        raise InputError(
            "--cell",
            got=repr(cell_id),
            expected="one of " + ", ".join(cell.id for cell in self.cells),
            next_step="see `forethought study FILE --list`",
        )


def read_plan(file: Path) -> Plan:
    """Reads a study file; every configuration in it is checked.

    Raises:
        InputError: not TOML, an unknown or missing key, a level that is no configuration, a claim
            about a cell or a metric that the study does not have.
    """
    text = read_text(file, "a study")
    try:
        table = tomllib.loads(text)
        study = _StudyFile.model_validate(table)
    except (ValueError, RecursionError) as error:
        raise _misfit(file, text, error) from error
    names = list(study.factors)
    cells: list[Cell] = []
    for seed in study.seeds:
        for levels in itertools.product(*(study.factors[name] for name in names)):
            keys: Overrides = {**study.set, "seed": seed}
            for name, level in zip(names, levels, strict=True):
                keys |= study.factors[name][level]
            config = load_config(study.config, {key: written(v) for key, v in keys.items()})
            cells.append(Cell(seed=seed, levels=levels, config=config))
    plan = Plan(
        name=study.name,
        cells=tuple(cells),
        claims=study.claims,
        metrics=study.metrics,
        seeds=study.seeds,
    )
    _check(file, plan)
    return plan


def written(value: Any) -> str:
    """A value of a TOML file as a command line writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(f'"{v}"' if isinstance(v, str) else written(v) for v in value) + "]"
    return str(value)


def _check(file: Path, plan: Plan) -> None:
    arms = list(dict.fromkeys(cell.arm for cell in plan.cells))
    if len(set(plan.seeds)) < len(plan.seeds):
        raise InputError(
            str(file), got="a seed twice", expected="each once", next_step="remove the double one"
        )
    for claim in plan.claims:
        unknown = [arm for arm in claim.cells if arm not in arms]
        if unknown or claim.metric not in plan.metrics:
            raise InputError(
                str(file),
                got=f"the claim {claim.claim!r} about {', '.join(unknown) or claim.metric}",
                expected=f"cells of {', '.join(arms)}; metrics of {', '.join(plan.metrics)}",
                next_step="correct the claim",
            )


def _misfit(file: Path, text: str, error: Exception) -> InputError:
    if not isinstance(error, ValidationError):
        return InputError(
            str(file),
            got=f"text that is not TOML ({error})",
            expected="a study file",
            next_step="mend the line that the message names",
        )
    first: Mapping[str, Any] = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return InputError(
        str(file),
        line=toml_line(text, key),
        got=f"{key} = {first.get('input')!r:.80}",
        expected=str(first["msg"]),
        next_step="see docs/studies.md",
    )
