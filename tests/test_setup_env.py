"""The set-up script, driven with a fake machine: no pip runs here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "tools" / "setup_env.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["setup_env"] = module
    spec.loader.exec_module(module)
    return module


setup_env = load()
LINUX = setup_env.Host(system="Linux", machine="x86_64", has_gpu=False)
LINUX_GPU = setup_env.Host(system="Linux", machine="x86_64", has_gpu=True)
PIN = setup_env.TORCH_PIN
INDEX = setup_env.TORCH_CPU_INDEX


class FakeMachine:
    """Answers commands as a machine would and remembers them."""

    def __init__(self, fails: Callable[[str], bool] = lambda line: False, torch: str = "") -> None:
        self.fails, self.torch = fails, torch
        self.lines: list[str] = []

    def __call__(
        self, command: Sequence[str], capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        line = " ".join(command)
        self.lines.append(line)
        if "import torch" in line:
            return self.answer(0 if self.torch else 1, self.torch)
        if "nvidia-smi" in line:
            return self.answer(127)
        if " -m venv " in line:
            python = setup_env.venv_python(Path(command[-1]))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text("")
            (Path(command[-1]) / "pyvenv.cfg").write_text("")
        if "pip --version" in line:
            return self.answer(0 if Path(command[0]).exists() else 127)
        return self.answer(1 if self.fails(line) else 0, "Python 3.11")

    @staticmethod
    def answer(code: int, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], code, text, "")

    @property
    def installs(self) -> list[str]:
        return [line.split("pip install ")[1] for line in self.lines if "pip install " in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in setup_env.INPUTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def settings(checkout: Path, *flags: str) -> object:
    return setup_env.parse_flags(flags, checkout)


@pytest.fixture(autouse=True)
def plain_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_env.platform, "system", lambda: "Linux")
    monkeypatch.setattr(setup_env.platform, "machine", lambda: "x86_64")


@pytest.mark.parametrize("choice", ["auto", "cpu"])
def test_without_a_gpu_only_the_cpu_build_is_tried_first_where_pip_looks(choice: str) -> None:
    cpu = f"torch=={PIN}+cpu"
    assert setup_env.torch_attempts(choice, LINUX) == [[cpu], [cpu, "--extra-index-url", INDEX]]


def test_cuda_comes_only_by_word_or_with_a_gpu() -> None:
    assert setup_env.torch_attempts("auto", LINUX_GPU) == [[f"torch=={PIN}"]]
    assert setup_env.torch_attempts("cuda", LINUX) == [[f"torch=={PIN}"]]
    assert setup_env.torch_attempts("cpu", LINUX_GPU)[0] == [f"torch=={PIN}+cpu"]


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64")]
)
def test_elsewhere_the_plain_build_is_taken(system: str, machine: str) -> None:
    there = setup_env.Host(system=system, machine=machine, has_gpu=False)
    assert setup_env.torch_attempts("auto", there) == [[f"torch=={PIN}"]]


def test_a_gpu_counts_only_when_nvidia_smi_lists_it() -> None:
    def nothing_listed(
        command: Sequence[str], capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return FakeMachine.answer(0, "No devices found.")

    assert not setup_env.host(nothing_listed).has_gpu
    assert not setup_env.host(FakeMachine()).has_gpu


def test_the_whole_set_up_installs_torch_first_and_wheels_only(checkout: Path) -> None:
    machine = FakeMachine()
    setup_env.set_up(settings(checkout, "--dev"), machine)
    head = f"--no-input --disable-pip-version-check --only-binary :all: -c {checkout}"
    assert machine.installs == [
        f"{head}/constraints.txt torch=={PIN}+cpu",
        f"{head}/constraints.txt -e {checkout}[dev]",
    ]


def test_no_cpu_build_anywhere_stops_with_both_ways_on_and_never_takes_cuda(
    checkout: Path,
) -> None:
    machine = FakeMachine(fails=lambda line: "torch==" in line)
    with pytest.raises(setup_env.SetupError, match=r"PIP_FIND_LINKS(.|\n)*TORCH=cuda") as caught:
        setup_env.set_up(settings(checkout), machine)
    assert caught.value.code == 4
    assert [line.split("constraints.txt ")[1] for line in machine.installs] == [
        f"torch=={PIN}+cpu",
        f"torch=={PIN}+cpu --extra-index-url {INDEX}",
    ]


def test_a_torch_in_the_range_is_left_alone(checkout: Path) -> None:
    machine = FakeMachine(torch="2.10.0+cu130")
    setup_env.set_up(settings(checkout), machine)
    assert [line.split("constraints.txt ")[1] for line in machine.installs] == [f"-e {checkout}"]


@pytest.mark.parametrize(
    ("version", "inside"),
    [("2.9.0", True), ("2.13.0+cpu", True), ("2.8.1", False), ("3.0.0", False), ("", False)],
)
def test_the_torch_range_is_that_of_the_project(version: str, inside: bool) -> None:
    assert '"torch>=2.9,<3"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert setup_env.in_torch_range(version) is inside


def test_a_fresh_stamp_starts_no_process_at_all(checkout: Path) -> None:
    setup_env.set_up(settings(checkout), FakeMachine())
    again = FakeMachine()
    setup_env.set_up(settings(checkout), again)
    assert again.lines == []


def test_the_larger_environment_serves_the_smaller_need(checkout: Path) -> None:
    setup_env.set_up(settings(checkout, "--dev"), FakeMachine())
    assert setup_env.is_fresh(settings(checkout))
    setup_env.set_up(settings(checkout, "--venv", "other"), FakeMachine())
    assert not setup_env.is_fresh(settings(checkout, "--venv", "other", "--dev"))


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "tools/setup_env.py"])
def test_each_input_makes_the_stamp_stale(checkout: Path, name: str) -> None:
    setup_env.set_up(settings(checkout), FakeMachine())
    with (checkout / name).open("a") as stream:
        stream.write("\n# changed\n")
    assert not setup_env.is_fresh(settings(checkout))


def test_an_environment_without_torch_is_not_fresh_for_one_with_it(checkout: Path) -> None:
    machine = FakeMachine()
    setup_env.set_up(settings(checkout, "--torch", "skip"), machine)
    assert not any("torch" in line.replace(str(checkout), "") for line in machine.installs)
    assert machine.installs[-1].endswith(f"--no-deps -e {checkout}")
    assert not setup_env.is_fresh(settings(checkout))


def test_a_failed_install_leaves_no_stamp(checkout: Path) -> None:
    machine = FakeMachine(fails=lambda line: "-e " in line)
    with pytest.raises(setup_env.SetupError, match="could not be installed"):
        setup_env.set_up(settings(checkout), machine)
    assert not setup_env.is_fresh(settings(checkout))


def test_an_empty_venv_installs_nothing(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = FakeMachine()
    setup_env.set_up(settings(checkout, "--venv", ""), machine)
    assert machine.installs == []
    assert not any(" -m venv " in line for line in machine.lines)
    assert capsys.readouterr().out.startswith("ready: Python 3.11")


def test_a_folder_with_files_is_never_cleared(checkout: Path) -> None:
    (checkout / "photos").mkdir()
    (checkout / "photos" / "one.jpg").write_text("")
    with pytest.raises(setup_env.SetupError, match="no virtual environment"):
        setup_env.set_up(settings(checkout, "--venv", "photos"), FakeMachine())
    assert (checkout / "photos" / "one.jpg").exists()


def test_python_is_the_first_that_really_runs_and_is_new_enough() -> None:
    tried: list[str] = []

    def only_311(command: Sequence[str], capture: bool = False) -> object:
        tried.append(command[0])
        return FakeMachine.answer(0 if command[0] == "python3.11" else 1)

    assert setup_env.find_python("", only_311) == "python3.11"
    assert tried == ["python3.13", "python3.12", "python3.11"]


def test_no_python_that_is_new_enough_is_a_message_with_exit_code_4() -> None:
    with pytest.raises(setup_env.SetupError, match="PYTHON=/path") as caught:
        setup_env.find_python("python3.8", lambda command, capture=False: FakeMachine.answer(1))
    assert caught.value.code == 4


def test_the_script_imports_only_the_standard_library() -> None:
    code = f"import runpy; runpy.run_path({str(ROOT / 'tools' / 'setup_env.py')!r})"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False)
    assert done.returncode == 0


def test_tests_without_bubblewrap_are_told_what_to_install(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for found, told in ((None, True), ("/usr/bin/bwrap", False)):
        monkeypatch.setattr(setup_env.shutil, "which", lambda name, found=found: found)
        for flags in ((), ("--dev",)):
            setup_env.set_up(settings(checkout, *flags), FakeMachine(torch=PIN))
            shown = capsys.readouterr().err
            assert ("apt install bubblewrap" in shown) == (told and bool(flags))
