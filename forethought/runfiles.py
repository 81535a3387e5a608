"""The files of a run as they are read back: each has a shape here, and is checked against it.

A reader returns the plain JSON value, so what is there beyond the shape is kept; what does not fit
is an `InputError` that names file and line. Episodes and step records: `forethought.runlog`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from forethought.errors import InputError
from forethought.files import read_text
from forethought.jsonl import no_rows, read_json, read_jsonl
from forethought.keys import json_line
from forethought.types import JsonRow

Count = Annotated[int, Field(ge=0)]


class _Shape(BaseModel):
    """Fields that a reader uses; others may stand beside them."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Head(_Shape):
    """What the page reads of resolved.json."""

    name: str
    seed: Count
    smoke: bool


class _Stage(_Shape):
    arm: str
    stage: str
    eval: str
    metrics: dict[str, Any]


class _State(_Shape):
    """state.json."""

    done: list[str]
    cpu_s: dict[str, float]
    wall_s: dict[str, float] = Field(default_factory=dict)
    stages: list[_Stage] = Field(default_factory=list)
    dose: dict[str, float] = Field(default_factory=dict)
    peak_rss_mb: float = 0.0
    command: str = ""


class _Env(_Shape):
    """env.json."""

    schema_name: Literal["forethought.env/1"] = Field(alias="schema")
    command: str
    sha256: dict[str, str]


class _Cell(_Shape):
    """A figure with its interval."""

    value: float | None
    lo: float | None
    hi: float | None
    n: Count

    @model_validator(mode="after")
    def _whole_interval(self) -> Self:
        if (self.lo is None) != (self.hi is None) or (self.value is None and self.lo is not None):
            raise ValueError("a value with both ends of its interval, or nulls")
        return self


class _Scores(_Shape):
    auroc: float | None = None
    brier_skill: float | None = None


class _Beside(_Shape):
    trivial: _Scores | None = Field(None, alias="trivial.first")
    oracle: _Scores | None = Field(None, alias="oracle.first")
    route: _Scores | None = Field(None, alias="oracle_route.first")
    floor: float | None = Field(None, alias="ece_floor_expected.first")


class _Summary(_Shape):
    """summary.json of an evaluation."""

    schema_name: Literal["forethought.summary/1"] = Field(alias="schema")
    num_tasks: Count
    num_rollouts: Count
    num_failed: Count
    seed: Count
    split: str
    smoke: bool
    model_sha256: str
    data_sha256: str
    metrics: dict[str, _Cell]
    beside: _Beside | None = None


class _Difference(_Shape):
    a: str
    b: str
    metric: str
    diff: float
    lo: float
    hi: float
    p: float


class _RunSummary(_Shape):
    """summary.json of a run."""

    schema_name: Literal["forethought.run/1"] = Field(alias="schema")
    seed: Count
    comparisons: list[_Difference]
    dose: dict[str, float] = Field(default_factory=dict)
    cpu_s: dict[str, float]
    peak_rss_mb: float


class _PooledDifference(_Difference):
    lo_seeds: float
    hi_seeds: float


class _Pooled(_Shape):
    """summary.json of a record of several runs."""

    schema_name: Literal["forethought.pooled/1"] = Field(alias="schema")
    seeds: list[Count]
    evaluations: dict[str, dict[str, _Cell]]
    comparisons: list[_PooledDifference]


class _Sampled(_Shape):
    ids: list[Count]
    logprobs: list[float]
    observation_ids: list[Count]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.ids) != len(self.logprobs):
            raise ValueError(f"as many logprobs as ids ({len(self.ids)})")
        return self


class _Tokens(_Shape):
    """A line of tokens.jsonl."""

    task_id: str
    rollout: Count
    prompt_ids: list[Count]
    turns: list[_Sampled]


class _Token(_Shape):
    text: str
    span: str
    turn: Count | None
    sampled: bool
    pg_weight: float
    advantage: float
    number: bool


class _Shown(_Shape):
    rollout: Count
    success: Literal[0, 1]
    tokens: list[_Token] = Field(min_length=1)


class _Example(_Shape):
    """example.json of stage 3."""

    schema_name: Literal["forethought.example/1"] = Field(alias="schema")
    update: Count
    task_id: str
    question: str
    group: list[Literal[0, 1]]
    rollouts: list[_Shown] = Field(min_length=1)


class _Estimated(_Shape):
    estimate: str
    cut: str
    reason: str | None
    n: Count
    brier_skill: _Cell | None
    auroc: _Cell | None
    ece: _Cell | None
    aurc: _Cell | None
    q_minus: dict[str, dict[str, float] | None] | None


class _FittedOn(_Shape):
    num_tasks: Count
    num_rollouts: Count


class _Estimates(_Shape):
    """estimates.json of an evaluation."""

    schema_name: Literal["forethought.estimates/1"] = Field(alias="schema")
    samples: Count
    fitted_on: _FittedOn
    rows: list[_Estimated]


class _Logistic(_Shape):
    centre: list[float]
    scale: list[Annotated[float, Field(gt=0)]]
    weights: list[float]


class _Estimate(_Shape):
    """estimate.json of a stage whose policy states no q."""

    schema_name: Literal["forethought.estimate/1"] = Field(alias="schema")
    features: list[str]
    logistic: _Logistic
    episodes: Count
    split: str

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        fit, count = self.logistic, len(self.features)
        if not len(fit.centre) == len(fit.scale) == len(fit.weights) - 1 == count:
            raise ValueError(f"a centre, scale and weight for each of {count} features")
        return self


_SUMMARIES: dict[str, type[_Shape]] = {
    "forethought.summary/1": _Summary,
    "forethought.run/1": _RunSummary,
    "forethought.pooled/1": _Pooled,
}


def read_head(file: Path) -> JsonRow:
    """Name, seed and smoke mark of a run, and what else its resolved.json holds.

    Raises:
        InputError: the file is absent or does not fit.
    """
    return _document(file, _Head, "the resolved configuration of a run")


def read_state(file: Path) -> JsonRow:
    """What a run has finished and what it cost.

    Raises:
        InputError: the file is absent or does not fit.
    """
    return _document(file, _State, "the state of a run")


def read_env(file: Path) -> JsonRow:
    """What a run was made with.

    Raises:
        InputError: the file is absent or does not fit.
    """
    return _document(file, _Env, "the environment of a run")


def read_summary(file: Path) -> JsonRow:
    """The summary of an evaluation.

    Raises:
        InputError: the file is absent or does not fit.
    """
    return _document(file, _Summary, "the summary of an evaluation")


def read_run_summary(file: Path) -> JsonRow:
    """The summary of a finished run.

    Raises:
        InputError: the file is absent or does not fit.
    """
    return _document(file, _RunSummary, "the summary of a finished run")


def read_any_summary(file: Path) -> JsonRow:
    """The summary of an evaluation, a run or several runs; its `schema` says of which.

    Raises:
        InputError: the file is absent or does not fit.
    """
    found = read_json(file, "a summary").get("schema")
    if not isinstance(found, str) or found not in _SUMMARIES:
        raise InputError(
            str(file),
            line=json_line(read_text(file, "a summary"), ["schema"]),
            got=f"schema = {found!r}"[:80],
            expected=" | ".join(_SUMMARIES),
            next_step="name the folder of a run, an evaluation or a record",
        )
    return _document(file, _SUMMARIES[found], "a summary")


def read_metrics(file: Path) -> list[JsonRow]:
    """The lines of a metrics.jsonl: `step`, and numbers or nulls.

    Raises:
        InputError: the file is absent or does not fit.
    """
    rows: list[JsonRow] = []
    for line, row in read_jsonl(file):
        for key, value in row.items():
            kind = int if key == "step" else (int, float, type(None))
            if isinstance(value, bool) or not isinstance(value, kind):
                raise _misfit(file, line, f"{key} = {value!r}"[:80], "a number, or null")
        if "step" not in row:
            raise _misfit(file, line, "no step", 'field "step" of type int')
        rows.append(row)
    return rows


def read_tokens(file: Path) -> list[JsonRow]:
    """The lines of a tokens.jsonl, at least one.

    Raises:
        InputError: the file is absent, empty, or does not fit.
    """
    rows = [_checked(row, _Tokens, file, line) for line, row in read_jsonl(file)]
    if not rows:
        raise no_rows(file, "rollout")
    return rows


def read_example(file: Path) -> JsonRow:
    """Rollouts of stage 3 with the weight and advantage of every token.

    Raises:
        InputError: the file is absent or does not fit.
    """
    return _document(file, _Example, "rollouts of stage 3")


def read_estimates(file: Path) -> JsonRow:
    """Estimates of one set of episodes, side by side.

    Raises:
        InputError: the file is absent or does not fit.
    """
    return _document(file, _Estimates, "the estimates of an evaluation")


def read_estimate(file: Path, features: Sequence[str]) -> JsonRow:
    """The estimate beside a model that states no q, fitted on exactly these features.

    Raises:
        InputError: the file is absent, does not fit, or is about other features.
    """
    row = _document(file, _Estimate, "the estimate of a model without blocks")
    if row["features"] != list(features):
        raise _misfit(file, None, f"features {row['features']}", f"features {list(features)}")
    return row


def _document(file: Path, shape: type[_Shape], what: str) -> JsonRow:
    return _checked(read_json(file, what), shape, file, None)


def _checked(row: JsonRow, shape: type[_Shape], file: Path, line: int | None) -> JsonRow:
    """The row itself, if it fits."""
    try:
        shape.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        parts = first["loc"]
        if line is None:
            line = json_line(read_text(file, "JSON"), parts)
        name = ".".join(map(str, parts))
        absent = first["type"] == "missing"
        got = f"no {name}" if absent else f"{name} = {first.get('input')!r}"[:80]
        message = first["msg"].removeprefix("Value error, ")
        raise _misfit(file, line, got, f'field "{name}"' if absent else message) from error
    return row


def _misfit(file: Path, line: int | None, got: str, expected: str) -> InputError:
    return InputError(
        str(file),
        line=line,
        got=got,
        expected=expected,
        next_step="restore the file, or make it anew with the command that wrote it",
    )
