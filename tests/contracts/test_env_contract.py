"""What every registered environment promises to the engine, to branching and to plain TRL.

A new environment adds one case.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers.utils import get_json_schema

from forethought.envs import ENVS
from forethought.envs.base import call_tool, check_class, fork, row_of, snapshot, tools_of
from forethought.envs.maths import MathsPython, MathsSession, Workbook
from forethought.envs.search_qa import RemoteSearchQA, SearchQA
from forethought.tools.retrieval import BM25Retriever, Document
from forethought.tools.sandbox import SandboxLimits
from forethought.types import Task

SECRET = "zanzibar"
EXAMPLE = Path(__file__).parents[2] / "examples" / "my_env.py"


@dataclass(frozen=True)
class Case:
    """One environment with a toy task, calls that work and calls that do not."""

    make: Callable[[], Any]
    columns: dict[str, Any]
    good: tuple[tuple[str, Any], ...]
    bad: tuple[tuple[str, Any], ...]


def example_env() -> Any:
    """The environment of examples/my_env.py, loaded once as a module of its own."""
    if "my_env" not in sys.modules:
        spec = importlib.util.spec_from_file_location("my_env", EXAMPLE)
        assert spec is not None and spec.loader is not None
        sys.modules["my_env"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["my_env"])
    return sys.modules["my_env"].GuessNumber()


INDEX = BM25Retriever([Document(id=str(i), title="t", text=f"page {i} lamp") for i in range(5)])
CASES = {
    "search_qa": Case(
        make=lambda: SearchQA(retriever_for=lambda row: INDEX),
        columns={"budget": 6},
        good=(("search", "page 3"), ("search", {"query": "lamp"}), ("search", "4")),
        bad=(("search", ""), ("search", {"question": "lamp"}), ("search", {"query": 3})),
    ),
    "search_qa, awaited": Case(
        make=lambda: RemoteSearchQA(retriever_for=lambda row: INDEX),
        columns={"budget": 6},
        good=(("search", "page 3"), ("search", {"query": "lamp"}), ("search", "4")),
        bad=(("search", ""), ("search", {"question": "lamp"}), ("search", {"query": 3})),
    ),
    "maths": Case(
        make=lambda: MathsPython(SandboxLimits(timeout_s=20.0)),
        columns={},
        good=(("python", "print(2**10)"), ("python", {"code": "print(3)"}), ("python", "print()")),
        bad=(("python", ""), ("python", "1/0"), ("python", {"code": None})),
    ),
    "maths_session": Case(
        make=lambda: MathsSession(SandboxLimits(timeout_s=20.0)),
        columns={},
        good=(
            ("python", "x = 2"),
            ("python", {"code": "x += 1; print(x)"}),
            ("python", "print(x)"),
        ),
        bad=(("python", ""), ("python", "1/0"), ("python", {"code": None})),
    ),
    "workbook": Case(
        make=Workbook,
        columns={"budget": 9},
        good=(
            ("calc", "37 + 7 * 140"),
            ("loop", {"input": "37 , * 1 + 12 - 5 , 70"}),
            ("calc", "digits ( 527 )"),
        ),
        bad=(("calc", ""), ("calc", "7 / 2"), ("loop", "1 , + 1 , 300"), ("loop", {"n": 3})),
    ),
    "example": Case(
        make=example_env,
        columns={"budget": 5},
        good=(("guess", "50"), ("guess", {"number": 3}), ("guess", "99")),
        bad=(("guess", "many"), ("guess", "200"), ("guess", {})),
    ),
}
every_env = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def task(case: Case) -> Task:
    columns = {**case.columns, "answer": SECRET}
    return Task(id="t", question="?", answers=(SECRET,), kind="qa", world_seed=7, columns=columns)


def test_every_registered_environment_has_a_case() -> None:
    assert set(ENVS) <= set(CASES)
    for name, cls in ENVS.items():
        assert type(CASES[name].make()) is cls


@every_env
def test_the_same_row_gives_the_same_episode(case: Case) -> None:
    def play(env: Any) -> list[Any]:
        opening = env.reset(**row_of(task(case)))
        seen = [call_tool(env, *call) for call in case.good]
        return [opening, *((str(o), o.done, o.failed, dict(o.info)) for o in seen)]

    env = case.make()
    first = play(env)
    assert play(env) == first == play(case.make())


@every_env
def test_tools_have_types_and_documentation_that_chat_templates_understand(case: Case) -> None:
    env = case.make()
    for name, spec in check_class(type(env)).items():
        schema = get_json_schema(getattr(env, name))["function"]
        assert schema["name"] == name and schema["description"]
        assert list(schema["parameters"]["properties"]) == list(spec.parameters)
        for parameter, about in spec.about.items():
            assert about in schema["parameters"]["properties"][parameter]["description"]


@every_env
def test_a_fork_of_a_snapshot_continues_as_the_original(case: Case) -> None:
    env = case.make()
    env.reset(**row_of(task(case)))
    first, *rest = case.good
    call_tool(env, *first)
    moment = pickle.loads(pickle.dumps(snapshot(env)))
    twins = [fork(case.make, moment) for _ in range(2)]
    expected = [call_tool(env, *call) for call in rest]
    for twin in twins:
        assert [call_tool(twin, *call) for call in rest] == expected


@every_env
def test_bad_input_of_the_policy_is_a_failed_observation(case: Case) -> None:
    env = case.make()
    env.reset(**row_of(task(case)))
    for call in (*case.bad, ("no_such_tool", "x"), ("reset", "x"), ("state", "x")):
        seen = call_tool(env, *call)
        assert seen.failed and seen and not seen.done, call


@every_env
def test_good_calls_do_not_fail(case: Case) -> None:
    env = case.make()
    env.reset(**row_of(task(case)))
    assert not any(call_tool(env, *call).failed for call in case.good)


@every_env
def test_the_answers_never_reach_an_environment(case: Case) -> None:
    env = case.make()
    row = row_of(task(case))
    assert SECRET not in repr(row)
    opening = env.reset(**row)
    seen = [call_tool(env, *call) for call in case.good]
    assert SECRET not in repr([opening, seen, [dict(o.info) for o in seen], env.state])


@every_env
def test_the_class_works_as_an_environment_factory_of_trl(case: Case) -> None:
    """TRL: `reset(**row)` with all columns, other public methods as tools, str replies."""
    env = case.make()
    row = {"prompt": [{"role": "user", "content": "?"}], "answers": [SECRET], **row_of(task(case))}
    opening = env.reset(**row)
    assert opening is None or isinstance(opening, str)
    members = inspect.getmembers(env, predicate=inspect.ismethod)
    names = [n for n, _ in members if not n.startswith("_") and n not in ("reset", "get_reward")]
    assert sorted(tools_of(env)) == names
    for name, arguments in case.good:
        if isinstance(arguments, dict):
            reply = getattr(env, name)(**arguments)
            assert isinstance(asyncio.run(reply) if inspect.iscoroutine(reply) else reply, str)
