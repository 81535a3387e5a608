"""The wheel holds everything that a command needs, away from the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forethought.config import config_names

ROOT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel, built from a copy of the sources, was installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    skip = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(ROOT / "forethought", source / "forethought", ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*PIP, *build, str(source)], check=True, stdout=subprocess.PIPE)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    install = ["install", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*PIP, *install, str(wheel)], check=True, stdout=subprocess.PIPE)
    return target


def forethought(installed: Path, cwd: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", "from forethought.cli import main; raise SystemExit(main())"]
    done = subprocess.run(
        [*command, *words], check=True, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def test_the_wheel_lists_every_configuration_from_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    listed = [
        line.split()[0] for line in forethought(installed, tmp_path, "list", "configs").splitlines()
    ]
    assert listed == config_names()
    assert listed


def test_every_file_of_the_package_is_in_the_wheel(installed: Path) -> None:
    def files(root: Path) -> set[str]:
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return {str(path) for path in found if not re.search(r"__pycache__|(^|/)\.", str(path))}

    assert files(ROOT / "forethought") == files(installed / "forethought")


def test_the_demo_of_the_wheel_starts_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    assert "--fast" in forethought(installed, tmp_path, "demo", "--help")
