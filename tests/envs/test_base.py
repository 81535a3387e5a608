"""Observations, tools found on a class, calls that do not fit, snapshots and forks."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.envs import ENVS, env_class
from forethought.envs.base import (
    Observation,
    call_tool,
    call_tool_async,
    check_class,
    fork,
    row_of,
    snapshot,
    tools_of,
)
from forethought.errors import InputError
from forethought.types import Task

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class Counter:
    """Counts; `add` is plain, `wait` is a coroutine."""

    def __init__(self) -> None:
        self.total = 0

    def reset(self, **row: Any) -> str:
        """Begins at the row's start."""
        self.total = row.get("start", 0)
        return f"at {self.total}"

    def add(self, number: int, note: str = "") -> str:
        """Adds a number.

        More about it.

        Args:
            number: What to add,
                on two lines.
            note (str): A remark.

        Returns:
            The total.
        """
        self.total += number
        return f"{self.total}{note}"

    async def wait(self, text: str) -> Observation:
        """Replies later.

        Args:
            text: What to reply.
        """
        await asyncio.sleep(0)
        return Observation(text, done=True)

    def _helper(self) -> None:
        raise AssertionError


class Stateful(Counter):
    """The same with its changing part in `state`."""

    def __init__(self) -> None:
        self.state = [0]

    def reset(self, **row: Any) -> str:
        """Begins at 0."""
        self.state = [0]
        return "at 0"

    def add(self, number: int, note: str = "") -> str:
        """Adds a number.

        Args:
            number: What to add.
            note: A remark.
        """
        self.state[0] += number
        return str(self.state[0])


@given(st.text(), st.booleans(), st.booleans(), st.dictionaries(st.text(), json_values, max_size=3))
def test_an_observation_is_its_text_and_survives_copying(
    text: str, done: bool, failed: bool, info: dict[str, Any]
) -> None:
    first = Observation(text, done=done, failed=failed, info=info)
    assert first == text and str(first) == text and hash(first) == hash(text)
    for other in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first), copy.copy(first)):
        assert type(other) is Observation and other == first
        assert (other.done, other.failed, dict(other.info)) == (done, failed, info)


def test_an_observation_cannot_be_changed() -> None:
    info = {"a": 1}
    seen = Observation("x", info=info)
    info["a"] = 2
    assert seen.info["a"] == 1 and not seen.done and not seen.failed
    with pytest.raises(AttributeError, match="immutable"):
        seen.done = True
    with pytest.raises(AttributeError, match="immutable"):
        del seen.done
    with pytest.raises(TypeError):
        seen.info["a"] = 3  # type: ignore[index]


def test_tools_are_the_public_methods_in_order_of_definition() -> None:
    specs = check_class(Counter)
    assert list(specs) == ["add", "wait"] == list(tools_of(Counter()))
    add = specs["add"]
    assert add.parameters == {"number": int, "note": str} and add.required == ("number",)
    assert add.about == {"number": "What to add,", "note": "A remark."}
    assert add.description == "Adds a number.\n\nMore about it."
    assert specs["wait"].is_async and not add.is_async


def test_a_call_takes_a_text_values_by_name_or_a_json_object() -> None:
    env = Counter()
    env.reset(start=1)
    assert call_tool(env, "add", {"number": 2}) == "3"
    assert call_tool(env, "add", '{"number": 2, "note": "!"}') == "5!"
    seen = call_tool(env, "wait", "later")
    assert seen == "later" and seen.done
    assert asyncio.run(call_tool_async(env, "wait", "later")) == "later"

    async def in_a_notebook() -> str:
        return call_tool(env, "wait", "later")

    assert asyncio.run(in_a_notebook()) == "later"
    assert asyncio.run(call_tool_async(env, "add", {"number": 1})) == "6"
    assert asyncio.iscoroutinefunction(tools_of(env)["wait"])


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("nope", "x", "no tool 'nope'. Tools: add, wait"),
        ("_helper", "x", "no tool"),
        ("reset", "x", "no tool"),
        ("add", "not json", "JSON object with number, note"),
        ("add", {}, "number is missing"),
        ("add", {"number": "2"}, "number must be a whole number"),
        ("add", {"number": True}, "number must be a whole number"),
        ("add", {"number": 2, "more": 1}, "no argument 'more'"),
        ("wait", {"text": 1}, "text must be a string"),
    ],
)
def test_a_call_that_does_not_fit_is_an_observation_in_words(
    name: str, arguments: Any, words: str
) -> None:
    env = Counter()
    env.reset()
    seen = call_tool(env, name, arguments)
    assert seen.failed and not seen.done and words in seen
    assert asyncio.run(call_tool_async(env, name, arguments)) == seen
    assert env.total == 0


def test_an_error_of_the_machine_is_no_observation() -> None:
    class Broken(Counter):
        def add(self, number: int, note: str = "") -> str:
            """Fails.

            Args:
                number: Any.
                note: Any.
            """
            raise OSError("disk")

        async def wait(self, text: str) -> Any:
            """Replies with the wrong thing.

            Args:
                text: Any.
            """
            return 3

    with pytest.raises(OSError, match="disk"):
        call_tool(Broken(), "add", {"number": 1})
    with pytest.raises(TypeError, match="not with text"):
        call_tool(Broken(), "wait", "x")


def a_class(**members: Any) -> type[Any]:
    return type("Made", (), {"reset": Counter.reset, **members})


def untyped(self, x):  # type: ignore[no-untyped-def]
    """Documented.

    Args:
        x: Something.
    """


def undocumented(self: Any, x: str) -> str:
    return x


def many(self: Any, *x: str) -> str:
    """Takes any number.

    Args:
        x: Things.
    """
    return ""


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (type("NoReset", (), {"add": Counter.add}), "no method reset"),
        (a_class(reset=lambda self: None, add=Counter.add), "no method reset"),
        (a_class(), "no public method"),
        (a_class(tool=untyped), "x without a type"),
        (a_class(tool=undocumented), "no docstring line for x"),
        (a_class(tool=many), "name every parameter|\\*x"),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused(cls: type[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_class(cls)


def test_a_fork_goes_on_alone_from_state() -> None:
    env = Stateful()
    env.reset()
    call_tool(env, "add", {"number": 2})
    moment = pickle.loads(pickle.dumps(snapshot(env)))
    one, two = fork(Stateful, moment), fork(Stateful, moment)
    assert call_tool(one, "add", {"number": 5}) == "7"
    assert call_tool(two, "add", {"number": 1}) == "3"
    assert call_tool(env, "add", {"number": 1}) == "3"


def test_a_fork_without_state_replays_its_calls() -> None:
    env = Counter()
    with pytest.raises(InputError, match=r"self\.state"):
        snapshot(env)
    moment = snapshot(env, row={"start": 10}, calls=[("add", {"number": 1}), ("wait", "x")])
    assert call_tool(fork(Counter, moment), "add", {"number": 1}) == "12"


def test_a_row_never_holds_the_answers() -> None:
    columns = {"budget": 3, "answer": "b", "golden_answers": ["b"], "id": "fake"}
    task = Task(id="t", question="q", answers=("b",), kind="qa", world_seed=5, columns=columns)
    assert row_of(task) == {
        "budget": 3, "id": "t", "question": "q", "kind": "qa", "world_seed": 5
    }  # fmt: skip


def test_a_class_is_found_by_name_or_by_path() -> None:
    assert env_class("maths") is ENVS["maths"]
    assert env_class("forethought.envs.search_qa:SearchQA") is ENVS["search_qa"]
    for name in ("nope", "no.module:X", "forethought.envs.maths:Nope", "forethought.envs:ENVS"):
        with pytest.raises(InputError, match="environment"):
            env_class(name)
