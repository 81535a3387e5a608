"""Mathematical problems solved with a Python tool that runs in a limited subprocess."""

from __future__ import annotations

from typing import Any

from forethought.envs.base import Observation
from forethought.errors import InputError
from forethought.tools.python import SandboxLimits, SandboxResult, last_line, run_python


class MathsPython:
    """Solve a problem with a Python interpreter; every call is a fresh program."""

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        max_calls: int | None = None,
        max_chars: int = 1000,
    ) -> None:
        """An environment for one rollout at a time.

        Args:
            limits: bounds of one call.
            max_calls: the call after this many ends the episode; None = no bound.
            max_chars: characters of an observation.

        Raises:
            InputError: a bound that leaves nothing.
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
        self.state = 0  # calls made

    def reset(self, **row: Any) -> None:
        """Begins an episode; the problem itself stands in the prompt."""
        self.state = 0

    def python(self, code: str) -> Observation:
        """Runs a Python program and shows what it prints.

        Args:
            code: The whole program; nothing is kept from earlier calls.

        Returns:
            The printed text, or the last line of the error.
        """
        if self._max_calls is not None and self.state >= self._max_calls:
            return Observation("No calls are left.", done=True, info={"calls": self.state})
        self.state += 1
        if not code.strip():
            return Observation("Error: the program is empty.", failed=True)
        result = run_python(code, self._limits)
        text, failed = _told(result, self._limits)
        info = {"exit": result.exit, "killed": result.killed, "calls": self.state}
        return Observation(_cut(text, self._max_chars), failed=failed, info=info)


def _told(result: SandboxResult, limits: SandboxLimits) -> tuple[str, bool]:
    """What the policy reads about a call, and whether it failed."""
    if result.killed is not None:
        why = {
            "time": f"no end within {limits.timeout_s:g} seconds",
            "memory": f"more than {limits.memory_mb} MB of memory",
            "output": f"more than {limits.output_bytes} bytes of output",
            "processes": f"more than {limits.processes} processes",
        }
        return f"Error: the program was stopped: {why[result.killed]}.", True
    if result.exit != 0:
        return last_line(result.stderr) or f"Error: the program ended with {result.exit}.", True
    return result.stdout.strip() or "The program printed nothing.", False


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 4].rstrip() + " ..."
