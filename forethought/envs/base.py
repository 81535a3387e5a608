"""What an environment is: observations, tools found on a class, snapshots and forks.

An environment is any class with `reset(**row)` whose other public methods are its tools. A tool has
type hints and a Google-style docstring, takes what the policy gives it, and replies with a `str` or
an `Observation`. Three kinds of failure are told apart: the policy's mistake is
`Observation(failed=True)`, the world's end is `Observation(done=True)`, and any exception is the
machine's fault. Environments never see a token or a tag, and never the answers of a task.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from forethought.errors import InputError
from forethought.tools.threads import run_async
from forethought.types import Task

NOT_TOOLS = ("reset", "get_reward", "state")
"""Public names with a meaning of their own."""

HIDDEN_COLUMNS = (
    "answers",
    "answer",
    "golden_answers",
    "gold",
    "solution",
    "supporting",
    "decomposition",
)
"""Columns of a task's row that an environment must not be given: the answer and the way to it."""

Arguments = str | Mapping[str, Any]
"""Of a tool call: the text for its only parameter, or values by name."""

ToolCall = Callable[[Arguments], Any]
"""A tool bound to an environment: returns an `Observation`, or a coroutine of one."""

_JSON_TYPES: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


class Observation(str):
    """What the policy reads next. Equal to its text; a plain `str` stands for one with defaults."""

    __slots__ = ("done", "failed", "info")

    done: bool  # the world ended the episode
    failed: bool  # the call failed for the policy's reasons; the text says how
    info: Mapping[str, Any]  # JSON for judges and logs; the policy never sees it

    def __new__(
        cls,
        text: str = "",
        *,
        done: bool = False,
        failed: bool = False,
        info: Mapping[str, Any] | None = None,
    ) -> Observation:
        """An immutable observation with a copy of `info`."""
        self = super().__new__(cls, text)
        object.__setattr__(self, "done", done)
        object.__setattr__(self, "failed", failed)
        object.__setattr__(self, "info", types.MappingProxyType(dict(info or {})))
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an Observation is immutable; {name} was set when it was made")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"an Observation is immutable; {name} stays")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (str(self), self.done, self.failed, dict(self.info))


def _rebuild(text: str, done: bool, failed: bool, info: dict[str, Any]) -> Observation:
    return Observation(text, done=done, failed=failed, info=info)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What is known about one tool of a class."""

    name: str
    description: str  # the docstring up to its sections
    parameters: Mapping[str, Any]  # name -> annotated type, in order
    about: Mapping[str, str]  # name -> what the docstring says about it
    required: tuple[str, ...]  # parameters without a default
    is_async: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A moment of an episode, from which `fork` makes instances that go on independently."""

    state: Any = None  # a copy of the environment's `state`; None = replay
    row: Mapping[str, Any] | None = None  # replay: what `reset` got
    calls: tuple[tuple[str, Arguments], ...] = ()  # replay: tool and arguments, in order


def row_of(task: Task) -> dict[str, Any]:
    """What `reset(**row)` gets: id, question, kind, world_seed and columns, never the answers."""
    columns = {key: value for key, value in task.columns.items() if key not in HIDDEN_COLUMNS}
    return {
        **columns,
        "id": task.id,
        "question": task.question,
        "kind": task.kind,
        "world_seed": task.world_seed,
    }


def check_class(cls: type[object]) -> Mapping[str, ToolSpec]:
    """The tools of a class, by name in the order of definition.

    Raises:
        InputError: no `reset(**row)`, no tool, or a tool without type hints or documentation.
    """
    if cls in _CHECKED:
        return _CHECKED[cls]
    reset = getattr(cls, "reset", None)
    if not callable(reset) or not _takes_any_keyword(reset):
        raise _bad_class(cls, "no method reset(self, **row)", "add reset(self, **row)")
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        names.update(dict.fromkeys(vars(base)))
    public = (name for name in names if not name.startswith("_") and name not in NOT_TOOLS)
    functions = {name: getattr(cls, name) for name in public}
    found = {n: _spec(cls, n, f) for n, f in functions.items() if inspect.isfunction(f)}
    if not found:
        raise _bad_class(cls, "no public method", "add a public method with a docstring")
    _CHECKED[cls] = types.MappingProxyType(found)
    return _CHECKED[cls]


_CHECKED: dict[type[object], Mapping[str, ToolSpec]] = {}
"""Classes are read once: an environment is made for every rollout."""


def _takes_any_keyword(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _bad_class(cls: type[Any], got: str, next_step: str) -> InputError:
    return InputError(
        f"{cls.__module__}.{cls.__qualname__}",
        got=got,
        expected="a class with reset(**row) and typed, documented tools (docs/environments.md)",
        next_step=next_step,
    )


def _spec(cls: type[Any], name: str, function: Callable[..., Any]) -> ToolSpec:
    try:
        hints = get_type_hints(function)
    except NameError as error:
        raise _bad_class(cls, f"{name}: a type that is not known: {error}", "import it") from error
    listed = list(inspect.signature(function).parameters.values())[1:]
    text = inspect.getdoc(function) or ""
    about = _documented(text)
    for parameter in listed:
        if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            raise _bad_class(cls, f"{name}: *{parameter.name}", "name every parameter")
        if parameter.name not in hints:
            raise _bad_class(cls, f"{name}: {parameter.name} without a type", "add a type hint")
        if parameter.name not in about:
            got = f"{name}: no docstring line for {parameter.name}"
            raise _bad_class(cls, got, 'describe it under "Args:"')
    if not text:
        raise _bad_class(cls, f"{name} without a docstring", "say what the tool does")
    return ToolSpec(
        name=name,
        description=re.split(r"\n\s*\n?(?:Args|Returns|Raises):", text)[0].strip(),
        parameters={parameter.name: hints[parameter.name] for parameter in listed},
        about={parameter.name: about[parameter.name] for parameter in listed},
        required=tuple(p.name for p in listed if p.default is inspect.Parameter.empty),
        is_async=inspect.iscoroutinefunction(function),
    )


def _documented(docstring: str) -> dict[str, str]:
    """Parameters under "Args:" of a Google-style docstring, each with its first line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", docstring, re.MULTILINE)
    if section is None:
        return {}
    lines = re.findall(r"^\s+(\w+)(?: \([^)]*\))?: *(.*)$", section.group(1), re.MULTILINE)
    return {name: text for name, text in lines if text}


def tools_of(env: Any) -> dict[str, ToolCall]:
    """The tools of an instance by name, each a function of a text or of values by name.

    A call that does not fit the parameters is a failed observation; a tool that is a coroutine
    function stays one.

    Raises:
        InputError: the class breaks the contract.
    """
    specs = check_class(type(env))
    return {name: _bound(env, spec) for name, spec in specs.items()}


def _bound(env: Any, spec: ToolSpec) -> ToolCall:
    method = getattr(env, spec.name)

    def call(arguments: Arguments) -> Observation:
        values = _values(spec, arguments)
        return values if isinstance(values, Observation) else _observation(method(**values))

    async def call_async(arguments: Arguments) -> Observation:
        values = _values(spec, arguments)
        return values if isinstance(values, Observation) else _observation(await method(**values))

    return call_async if spec.is_async else call


def _observation(reply: Any) -> Observation:
    if isinstance(reply, Observation):
        return reply
    if not isinstance(reply, str):
        raise TypeError(f"a tool replied with a {type(reply).__name__}, not with text")
    return Observation(reply)


def _values(spec: ToolSpec, arguments: Arguments) -> dict[str, Any] | Observation:
    """Arguments by name, or a failed observation that says why they do not fit."""
    if isinstance(arguments, str):
        kinds = list(spec.parameters.values())
        if kinds == [str]:
            return {next(iter(spec.parameters)): arguments}
        try:
            decoded = json.loads(arguments)
        except json.JSONDecodeError:
            decoded = None
        if len(kinds) == 1 and not isinstance(decoded, dict):
            arguments = {next(iter(spec.parameters)): decoded}
        elif isinstance(decoded, dict):
            arguments = decoded
        else:
            return _refused(spec, f"it takes a JSON object with {', '.join(spec.parameters)}")
    for name in arguments:
        if name not in spec.parameters:
            return _refused(spec, f"there is no argument {name!r}")
    for name in spec.required:
        if name not in arguments:
            return _refused(spec, f"the argument {name} is missing")
    for name, value in arguments.items():
        if not _fits(value, spec.parameters[name]):
            return _refused(spec, f"{name} must be {_JSON_TYPES[spec.parameters[name]]}")
    return dict(arguments)


def _fits(value: Any, kind: Any) -> bool:
    """True unless a plain JSON type was asked for and another one came."""
    if kind not in _JSON_TYPES:
        return True
    if isinstance(value, bool) and kind is not bool:
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _refused(spec: ToolSpec, why: str) -> Observation:
    return Observation(f"Error: {spec.name} was not called: {why}.", failed=True)


def _unknown(name: str, tools: Mapping[str, ToolCall]) -> Observation:
    known = ", ".join(tools)
    return Observation(f"Error: there is no tool {name!r}. Tools: {known}.", failed=True)


def call_tool(env: Any, name: str, arguments: Arguments) -> Observation:
    """Calls a tool and waits for its reply.

    A tool that is a coroutine function runs in an event loop of its own; code that has a running
    loop and wants it to go on meanwhile uses `call_tool_async`.
    """
    tools = tools_of(env)
    if name not in tools:
        return _unknown(name, tools)
    reply = tools[name](arguments)
    result: Observation = run_async(reply) if inspect.iscoroutine(reply) else reply
    return result


async def call_tool_async(env: Any, name: str, arguments: Arguments) -> Observation:
    """`call_tool` inside a running event loop."""
    tools = tools_of(env)
    if name not in tools:
        return _unknown(name, tools)
    reply = tools[name](arguments)
    result: Observation = await reply if inspect.iscoroutine(reply) else reply
    return result


def snapshot(
    env: Any,
    *,
    row: Mapping[str, Any] | None = None,
    calls: Sequence[tuple[str, Arguments]] = (),
) -> Snapshot:
    """What `fork` needs to go on from here.

    Args:
        env: an environment in the middle of an episode.
        row: what `reset` got; needed only where `env` has no attribute `state`.
        calls: tools and arguments since then; likewise.

    Raises:
        InputError: no `state`, and no row to replay.
    """
    if hasattr(env, "state"):
        return Snapshot(state=copy.deepcopy(env.state))
    if row is None:
        raise _bad_class(
            type(env),
            "no attribute `state`, and no row and calls to replay",
            "keep all that changes in `self.state`, or pass row= and calls=",
        )
    return Snapshot(row=dict(row), calls=tuple(calls))


def fork(factory: Callable[[], Any], moment: Snapshot) -> Any:
    """A new environment that goes on from a snapshot; forks do not share what changes."""
    env = factory()
    if moment.row is None:
        env.state = copy.deepcopy(moment.state)
        return env
    opening = env.reset(**moment.row)
    if inspect.iscoroutine(opening):
        run_async(opening)
    for name, arguments in moment.calls:
        call_tool(env, name, arguments)
    return env
