"""The error vocabulary: what a user's mistake, a missing part or a guard rail is called.

Every class carries its exit code; the command line prints the message and leaves with it. Anything
that is not a `ForethoughtError` is our bug and keeps its traceback.
"""

from __future__ import annotations


class ForethoughtError(Exception):
    """Base of all errors that end a command with a message instead of a traceback."""

    exit_code = 1


class InputError(ForethoughtError, ValueError):
    """The user's input or configuration cannot be used (exit 2).

    The message says where, what was got, what was expected and the next step.
    """

    exit_code = 2

    def __init__(
        self, where: str, *, got: str, expected: str, next_step: str, line: int | None = None
    ) -> None:
        self.where, self.line = where, line
        place = where if line is None else f"{where}:{line}"
        super().__init__(f"{place}: got {got}; expected {expected}. Next: {next_step}")


class GuardRail(ForethoughtError):
    """A run was stopped because going on would be wrong (exit 3)."""

    exit_code = 3

    def __init__(self, reason: str, *, checkpoint: str | None = None) -> None:
        last = f" Last good checkpoint: {checkpoint}." if checkpoint else ""
        super().__init__(f"stopped: {reason}.{last}")


class MissingError(ForethoughtError):
    """Something that is needed is not here: an extra, a server, data, a sandbox level (exit 4)."""

    exit_code = 4

    def __init__(self, what: str, *, next_step: str) -> None:
        super().__init__(f"missing: {what}. Next: {next_step}")


class Interrupted(ForethoughtError):
    """The user stopped a run; its state is saved (exit 130)."""

    exit_code = 130
