#!/usr/bin/env python3
"""Makes the environment that `make demo` and `make test` run in. Standard library only.

In: pyproject.toml, constraints.txt and the flags below. Out: a virtual environment with torch and
forethought (editable), a stamp in it, and one closing line. While the stamp is fresh nothing is
installed and pip is not even started, so a second run works without a network. On Linux x86-64
without an NVIDIA GPU only the CPU build of torch is ever installed; see `torch_attempts`.

Exit codes: 0 ready, 2 a wrong flag or folder, 4 something is missing (Python, torch, a package).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

TORCH_PIN = "2.13.0"
TORCH_RANGE = ((2, 9), (3,))  # at least, below: the range of pyproject.toml
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3")
MIN_PYTHON = (3, 11)
STAMP = "forethought-setup.stamp"
INPUTS = ("pyproject.toml", "constraints.txt", "tools/setup_env.py")
NOT_LOCKED = re.compile(r"(torch|triton|nvidia|cuda|pip|wheel|forethought)\b", re.IGNORECASE)
NO_CPU_TORCH = """\
setup: no CPU build of torch {pin} was found, neither where pip is configured to look nor on
{index}. Two ways on:
  1. put the wheel torch-{pin}+cpu for your Python into a folder and repeat with
     PIP_FIND_LINKS=<that folder>, or point PIP_INDEX_URL at a mirror that has it;
  2. repeat with TORCH=cuda to accept the CUDA build of PyPI: several gigabytes."""

CLOSING = (
    "import sys; sys.path.insert(0, sys.argv[1]); from forethought.cli import main; "
    "sys.exit(main(['check', '--brief']))"
)


class Run(Protocol):
    """Runs a command; a fake one drives the unit tests."""

    def __call__(
        self, command: Sequence[str], capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """The finished process; with `capture`, its output is in it instead of on the terminal."""


class SetupError(Exception):
    """Ends the set-up with a message and an exit code."""

    def __init__(self, message: str, code: int = 4) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Host:
    """What the choice of a torch build depends on."""

    system: str  # platform.system()
    machine: str  # platform.machine()
    has_gpu: bool  # `nvidia-smi -L` lists a GPU


@dataclass(frozen=True)
class Settings:
    """The flags of one call."""

    root: Path
    venv: Path | None  # None: the active interpreter, nothing is installed
    python: str  # "" = the first of PYTHONS that is new enough
    torch: str  # auto | cpu | cuda | skip
    dev: bool
    lock: bool = False


def run_command(command: Sequence[str], capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs a command; one that cannot be started counts as exit 127."""
    pipe = subprocess.PIPE if capture else None
    try:
        return subprocess.run(list(command), check=False, text=True, stdout=pipe, stderr=pipe)
    except OSError as error:
        return subprocess.CompletedProcess(list(command), 127, "", str(error))


def find_python(wanted: str, run: Run) -> str:
    """The interpreter to build on: `wanted`, else the first of PYTHONS that really runs."""
    check = f"import sys; sys.exit(sys.version_info < {MIN_PYTHON})"
    for name in (wanted,) if wanted else PYTHONS:
        if run([name, "-c", check], capture=True).returncode == 0:
            return name
    tried = wanted or ", ".join(PYTHONS)
    raise SetupError(
        f"setup: no Python of at least {MIN_PYTHON[0]}.{MIN_PYTHON[1]} among: {tried}. "
        "Next: install one, or name it with PYTHON=/path/to/python."
    )


def host(run: Run) -> Host:
    """This machine."""
    gpus = run(["nvidia-smi", "-L"], capture=True)
    listed = gpus.returncode == 0 and "GPU" in (gpus.stdout or "")
    return Host(system=platform.system(), machine=platform.machine(), has_gpu=listed)


def torch_attempts(choice: str, machine: Host) -> list[list[str]]:
    """What to hand to `pip install`, in order, until one succeeds; [] = install no torch.

    Off Linux x86-64 the plain pin is a CPU (or Metal) build. On it the plain pin is the CUDA build,
    so it is chosen only by TORCH=cuda, or by auto when a GPU is listed.
    """
    plain = [f"torch=={TORCH_PIN}"]
    if choice == "skip":
        return []
    if machine.system != "Linux" or machine.machine not in ("x86_64", "AMD64"):
        return [plain]
    if choice == "cuda" or (choice == "auto" and machine.has_gpu):
        return [plain]
    cpu = [f"torch=={TORCH_PIN}+cpu"]
    return [cpu, [*cpu, "--extra-index-url", TORCH_CPU_INDEX]]


def in_torch_range(version: str) -> bool:
    """True for a torch version inside the range of pyproject.toml."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        return False
    low, high = TORCH_RANGE
    return low <= tuple(int(part) for part in numbers.groups()) < high


def digest(root: Path) -> str:
    """Hash of everything that the environment is made from, the checkout's place included."""
    sha = hashlib.sha256(str(root.resolve()).encode())
    for name in INPUTS:
        sha.update(b"\0" + name.encode() + b"\0" + (root / name).read_bytes())
    return sha.hexdigest()


def venv_python(venv: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def stamp_text(settings: Settings) -> str:
    """What a finished set-up leaves behind."""
    torch = "none" if settings.torch == "skip" else "there"
    return f"{digest(settings.root)} torch={torch} {'dev' if settings.dev else 'run'}\n"


def is_fresh(settings: Settings) -> bool:
    """True if an earlier call made this environment or a larger one from the same inputs."""
    if settings.venv is None or not venv_python(settings.venv).exists():
        return False
    stamp = settings.venv / STAMP
    if not stamp.is_file():
        return False
    wanted = stamp_text(settings)
    return stamp.read_text("utf-8") in (wanted, wanted.replace(" run\n", " dev\n"))


def make_venv(settings: Settings, venv: Path, run: Run) -> str:
    """Makes the virtual environment unless a working one is there; returns its interpreter."""
    python = str(venv_python(venv))
    if run([python, "-m", "pip", "--version"], capture=True).returncode == 0:
        return python
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        raise SetupError(
            f"setup: VENV={venv} is a folder with files that is no virtual environment. "
            "Next: name another folder.",
            2,
        )
    base = find_python(settings.python, run)
    print(f"setup: making {venv} with {base}", flush=True)
    if run([base, "-m", "venv", "--clear", str(venv)]).returncode != 0:
        raise SetupError(
            f"setup: {base} cannot make a virtual environment. Next: install its venv module "
            "(Debian: apt install python3-venv), or name another Python with PYTHON=."
        )
    return python


def installed_torch(python: str, run: Run) -> str:
    """The version of an importable torch, else ""."""
    found = run([python, "-c", "import torch; print(torch.__version__)"], capture=True)
    return (found.stdout or "").strip() if found.returncode == 0 else ""


def pip_install(python: str, settings: Settings) -> list[str]:
    """The head of each pip command: wheels only, versions as locked."""
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:"]
    return command if settings.lock else [*command, "-c", str(settings.root / "constraints.txt")]


def install_torch(python: str, settings: Settings, run: Run) -> None:
    """Installs the right build of torch unless one in the range is importable already."""
    present = installed_torch(python, run)
    if in_torch_range(present):
        print(f"setup: torch {present} is there and is left alone", flush=True)
        return
    attempts = torch_attempts(settings.torch, host(run))
    for words in attempts:
        print("setup: pip install " + " ".join(words), flush=True)
        if run([*pip_install(python, settings), *words]).returncode == 0:
            return
    if any("+cpu" in word for words in attempts for word in words):
        raise SetupError(NO_CPU_TORCH.format(pin=TORCH_PIN, index=TORCH_CPU_INDEX))
    if attempts:
        raise SetupError(f"setup: torch {TORCH_PIN} could not be installed; pip says why above.")


def project_commands(python: str, settings: Settings) -> list[list[str]]:
    """The pip commands that install forethought; without torch its other needs come by name."""
    head = pip_install(python, settings)
    project = str(settings.root) + ("[dev]" if settings.dev else "")
    if settings.torch != "skip":
        return [[*head, "-e", project]]
    import tomllib

    table = tomllib.loads((settings.root / "pyproject.toml").read_text("utf-8"))["project"]
    needs = table["dependencies"] + (table["optional-dependencies"]["dev"] if settings.dev else [])
    others = [need for need in needs if not need.startswith("torch>")]
    return [[*head, *others], [*head, "--no-deps", "-e", str(settings.root)]]


def install(settings: Settings, venv: Path, run: Run) -> str:
    """Makes the environment and its stamp; returns its interpreter."""
    python = make_venv(settings, venv, run)
    install_torch(python, settings, run)
    for command in project_commands(python, settings):
        if run(command).returncode != 0:
            raise SetupError(
                "setup: a package could not be installed; pip says why above. Next: check the "
                "network or pip's configuration and repeat; what was installed is kept."
            )
    temporary = venv / (STAMP + ".tmp")
    temporary.write_text(stamp_text(settings), "utf-8")
    temporary.replace(venv / STAMP)
    return python


def write_lock(python: str, settings: Settings, run: Run) -> None:
    """Writes what is installed into constraints.txt, below the comment that it begins with."""
    frozen = run([python, "-m", "pip", "freeze", "--all", "--exclude-editable"], capture=True)
    if frozen.returncode != 0:
        raise SetupError("setup: pip freeze failed; constraints.txt is as it was.")
    pins = [line for line in frozen.stdout.splitlines() if "==" in line]
    pins = [line for line in pins if NOT_LOCKED.match(line) is None]
    path = settings.root / "constraints.txt"
    comment = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    path.write_text("\n".join([*comment, *sorted(pins, key=str.lower)]) + "\n", "utf-8")


def closing_line(python: str, root: Path, seconds: float, run: Run) -> str:
    """Python, torch build, threads, sandbox level, seconds: asked from the environment itself."""
    found = run([python, "-c", CLOSING, str(root)], capture=True)
    if found.returncode != 0:
        raise SetupError(f"setup: {python} cannot run forethought: {found.stderr.strip()}")
    return f"ready: {found.stdout.strip()}, {seconds:.0f} s"


def parse_flags(argv: Sequence[str], root: Path) -> Settings:
    """Flags to settings."""
    parser = argparse.ArgumentParser(description="Make the environment of this checkout.")
    parser.add_argument("--venv", default=".venv", help='"" = active interpreter, no installing')
    parser.add_argument("--python", default="", help="interpreter to build on")
    parser.add_argument("--torch", default="auto", choices=("auto", "cpu", "cuda", "skip"))
    parser.add_argument("--dev", action="store_true", help="with the tools for tests and checks")
    parser.add_argument("--lock", action="store_true", help="newest versions; rewrite the lock")
    flags = parser.parse_args(argv)
    venv = Path(os.path.abspath(root / flags.venv)) if flags.venv else None
    return Settings(
        root=root,
        venv=venv,
        python=flags.python,
        torch=flags.torch,
        dev=flags.dev,
        lock=flags.lock,
    )


def sandbox_note() -> str:
    """What to install for the tests of the sandbox; "" where it is there."""
    if platform.system() != "Linux" or shutil.which("bwrap") is not None:
        return ""
    return (
        "setup: bubblewrap is missing, so that tests of the sandbox will fail. Next: "
        "apt install bubblewrap (Debian, Ubuntu), dnf install bubblewrap (Fedora)."
    )


def set_up(settings: Settings, run: Run) -> None:
    """Does what the settings ask for and prints the closing line."""
    started = time.monotonic()
    note = sandbox_note() if settings.dev else ""
    if note:
        print(note, file=sys.stderr, flush=True)
    if is_fresh(settings) and not settings.lock:
        return
    if settings.venv is None:
        python = settings.python or find_python("", run)
    else:
        python = install(settings, settings.venv, run)
    if settings.lock:
        write_lock(python, settings, run)
    print(closing_line(python, settings.root, time.monotonic() - started, run), flush=True)


def main(argv: Sequence[str], run: Run = run_command) -> int:
    """Entry point; an interpreter that is too old hands over to one that is not."""
    try:
        settings = parse_flags(argv, Path(__file__).resolve().parent.parent)
        if sys.version_info < MIN_PYTHON:
            python = find_python(settings.python, run)
            return run([python, os.path.abspath(__file__), *argv]).returncode
        set_up(settings, run)
    except SetupError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("setup: interrupted; repeat to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
