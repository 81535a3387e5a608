"""Mathematical problems solved with a Python tool that runs in a sandbox.

`MathsPython` runs whole programs of the policy, `MathsSession` keeps names between them; `Workbook`
has the two tools of the synthetic world of sums, whose calls become small programs of our own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from forethought.envs.base import Observation
from forethought.errors import InputError
from forethought.tools.sandbox import (
    Sandbox,
    SandboxLimits,
    SandboxResult,
    SandboxSession,
    last_line,
    open_sandbox,
    own_programs,
)
from forethought.worlds.workbook import physics


@dataclass(frozen=True, slots=True)
class Calls:
    """What changes in an episode."""

    made: int = 0
    kept: tuple[str, ...] = ()  # programs whose names are there; a fork runs them again


class MathsPython:
    """Solve a problem with a Python interpreter; every call is a fresh program."""

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        max_calls: int | None = None,
        max_chars: int = 1000,
        sandbox: Sandbox | None = None,
    ) -> None:
        """An environment for one rollout at a time.

        Args:
            limits: bounds of one call.
            max_calls: the call after this many ends the episode; None = no bound.
            max_chars: characters of an observation.
            sandbox: where programs run; None = the strongest level that works here.

        Raises:
            InputError: a bound that leaves nothing.
            MissingError: no sandbox was named, and nothing stronger than `limits` works here.
        """
        if max_chars < 8 or (max_calls is not None and max_calls < 0):
            raise InputError(
                "maths",
                got=f"max_calls = {max_calls}, max_chars = {max_chars}",
                expected="max_calls from 0, max_chars from 8",
                next_step="correct the environment's options",
            )
        self._limits = limits or SandboxLimits()
        self._max_calls = max_calls
        self._max_chars = max_chars
        self._sandbox = sandbox or open_sandbox()
        self.state = Calls()

    def reset(self, **row: Any) -> None:
        """Begins an episode; the problem itself stands in the prompt."""
        self.state = Calls()

    def python(self, code: str) -> Observation:
        """Runs a Python program and shows what it prints.

        Args:
            code: The whole program; nothing is kept from earlier calls.

        Returns:
            The printed text, or the last line of the error.
        """
        return self._call(code)

    def _call(self, code: str) -> Observation:
        if self._max_calls is not None and self.state.made >= self._max_calls:
            return Observation("No calls are left.", done=True, info={"calls": self.state.made})
        self.state = replace(self.state, made=self.state.made + 1)
        if not code.strip():
            return Observation("Error: the program is empty.", failed=True)
        result = self._run(code)
        text, failed = _told(result, self._limits)
        info = {"exit": result.exit, "killed": result.killed, "calls": self.state.made}
        return Observation(_cut(text, self._max_chars), failed=failed, info=info)

    def _run(self, code: str) -> SandboxResult:
        return self._sandbox.run(code, self._limits)


class MathsSession(MathsPython):
    """Solve a problem with a Python interpreter that keeps its names for the whole episode."""

    _session: SandboxSession | None = None
    _ran: tuple[str, ...] = ()  # what made the session as it is

    def reset(self, **row: Any) -> None:
        """Begins an episode with an interpreter that knows nothing."""
        super().reset(**row)
        self._end()

    def python(self, code: str) -> Observation:
        """Runs a Python program and shows what it prints.

        Args:
            code: The program; names of earlier calls are there, unless one of them was stopped.

        Returns:
            The printed text, or the last line of the error.
        """
        return self._call(code)

    async def __aexit__(self, *error: object) -> None:
        """Ends the interpreter with the episode."""
        self._end()

    def _run(self, code: str) -> SandboxResult:
        session = self._session
        if session is None or not session.alive or self._ran != self.state.kept:
            self._end()
            session = self._session = self._sandbox.session(self._limits)
            for earlier in self.state.kept:  # this instance is a fork, or the state was put back
                session.run(earlier)
        result = session.run(code)
        self._ran = (*self.state.kept, code) if session.alive else ()
        self.state = replace(self.state, kept=self._ran)
        return result

    def _end(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session, self._ran = None, ()


def _told(result: SandboxResult, limits: SandboxLimits) -> tuple[str, bool]:
    """What the policy reads about a call, and whether it failed."""
    if result.killed is not None:
        why = {
            "time": f"no end within {limits.timeout_s:g} seconds",
            "memory": f"more than {limits.memory_mb} MB of memory",
            "output": f"more than {limits.output_bytes} bytes of output",
            "processes": f"more than {limits.processes} processes, or some that outlive a call",
        }
        return f"Error: the program was stopped: {why[result.killed]}.", True
    if result.exit != 0:
        return last_line(result.stderr) or f"Error: the program ended with {result.exit}.", True
    return result.stdout.strip() or "The program printed nothing.", False


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 4].rstrip() + " ..."


class Workbook:
    """Sums and loops with bounded fuel, size and number of calls."""

    def __init__(self, session: SandboxSession | None = None) -> None:
        """An environment for one rollout at a time; `session` runs the programs."""
        self._session = session or own_programs()  # level `limits`: no policy wrote them
        self.state = 0  # calls left

    def reset(self, **row: Any) -> None:
        """Begins an episode with the calls that the column `budget` allows."""
        self.state = int(row["budget"])

    def calc(self, input: str) -> Observation:
        """Works out a sum of at most three operations.

        Args:
            input: Whole numbers, + - * / ** ( ) and digits ( .. ), such as `37 + 7 * 140`.

        Returns:
            The number, how many digits it has and whether it is odd, such as `527 d3 odd`, or
            "too big", "no integer" or "malformed".
        """
        told = physics.calc_prints(input)
        if told in (physics.MALFORMED, physics.TOO_BIG):  # of the latter some could not be run
            return self._spend(lambda: told)
        return self._spend(lambda: self._run(_sum_program(input)))

    def loop(self, input: str) -> Observation:
        """Applies the operations of a day to a number, day after day.

        Args:
            input: Start, operations and days, such as `37 , * 1 + 12 - 5 , 140`.

        Returns:
            The number as `calc` shows it, or "out of fuel" (256 operations), "too big" or
            "malformed".
        """
        call = physics.parse_loop(input)
        if call is None:
            return self._spend(lambda: physics.MALFORMED)
        if call.fuel > physics.FUEL:
            return self._spend(lambda: physics.OUT_OF_FUEL)
        return self._spend(lambda: self._run(_loop_program(call)))

    def _spend(self, work: Callable[[], str]) -> Observation:
        if self.state <= 0:
            return Observation("none", done=True, failed=True)
        self.state -= 1
        text = work()
        failed = text in physics.FAILURES
        return Observation(physics.shown(text), failed=failed, info={"left": self.state})

    def _run(self, program: str) -> str:
        result = self._session.run(program)
        if result.exit != 0 or result.killed:
            error = last_line(result.stderr)
            if error != f"ArithmeticError: {physics.NO_INTEGER}":
                raise RuntimeError(f"the calculator failed: {error or result.killed}")
            return physics.NO_INTEGER
        return physics.printed(int(result.stdout))


_FUNCTIONS = f"""
def divide(a, b):
    if b == 0 or a % b:
        raise ArithmeticError({physics.NO_INTEGER!r})
    return a // b
def digits(number):
    return sum(map(int, str(abs(number))))
"""


_LEADING_ZEROS = re.compile(r"\b0+(?=\d)")


class _ExactDivision(ast.NodeTransformer):
    """Writes `a / b` as `divide(a, b)`."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div):
            return node
        name = ast.Name("divide", ast.Load())
        return ast.Call(name, [node.left, node.right], [])


def _sum_program(text: str) -> str:
    plain = _LEADING_ZEROS.sub("", text.strip())  # 007 is no number in Python
    tree = _ExactDivision().visit(ast.parse(plain, mode="eval"))
    return f"{_FUNCTIONS}print({ast.unparse(tree)})"


def _loop_program(call: physics.LoopCall) -> str:
    day = "".join(f"    x = x {operator} {number}\n" for operator, number in call.rule)
    return f"x = {call.start}\nfor _ in range({call.days}):\n{day}print(x)"
