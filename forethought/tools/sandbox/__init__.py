"""Runs Python that nobody trusts: levels of isolation, sessions, and the interface of both."""

from __future__ import annotations

from forethought.tools.sandbox.levels import (
    AUTO,
    LEVELS,
    open_sandbox,
    own_programs,
    run_python,
    self_test,
    strongest,
    why_not,
)
from forethought.tools.sandbox.types import (
    Probe,
    Sandbox,
    SandboxLimits,
    SandboxResult,
    SandboxSession,
    last_line,
)

__all__ = [
    "AUTO",
    "LEVELS",
    "Probe",
    "Sandbox",
    "SandboxLimits",
    "SandboxResult",
    "SandboxSession",
    "last_line",
    "open_sandbox",
    "own_programs",
    "run_python",
    "self_test",
    "strongest",
    "why_not",
]
