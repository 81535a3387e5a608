"""Rules of every test run: offline, one thread, seeded, its own cache folder, skips listed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["FORETHOUGHT_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("forethought", derandomize=True, deadline=None)
settings.load_profile("forethought")

ALLOWED = Path(__file__).with_name("skips_allowed.txt")
SKIPS = pytest.StashKey[list[tuple[str, str]]]()
LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("FORETHOUGHT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    monkeypatch.delenv("FORETHOUGHT_DEBUG", raising=False)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: Any) -> Iterator[None]:
    """A connection to another machine fails at once and says so."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(
            LOCAL
        ):
            raise OSError(f"tests are offline; this one tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips", action="store_true", help="fail if a test not in skips_allowed.txt skips"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPS] = []
    config.pluginmanager.register(_SkipLog(config.stash[SKIPS]), "forethought-skips")


class _SkipLog:
    """Collects every skip, from a mark, a call or a whole module, in this process."""

    def __init__(self, skips: list[tuple[str, str]]) -> None:
        self.skips = skips

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: Any) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.skips.append((report.nodeid, str(reason)))


def allowed_skips() -> set[str]:
    lines = ALLOWED.read_text("utf-8").splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    refused = [node for node, _ in session.config.stash[SKIPS] if node not in allowed_skips()]
    if refused and exitstatus == 0 and session.config.getoption("--strict-skips"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    skips = config.stash[SKIPS]
    allowed = allowed_skips()
    terminalreporter.section(f"skipped tests: {len(skips)}")
    for node, reason in skips:
        verdict = "allowed" if node in allowed else "NOT in tests/skips_allowed.txt"
        terminalreporter.write_line(f"{node}: {reason} ({verdict})")
