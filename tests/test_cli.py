"""Around the verbs: verbs, start-up, overrides, errors, exit codes."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import forethought
from forethought.cli import VERBS, dispatch, main
from forethought.cli.dispatch import GROUPS, split_overrides
from forethought.errors import GuardRail, InputError, Interrupted, MissingError

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "numpy", "pandas", "scipy")


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )


def cpu_seconds(code: str, *words: str) -> float:
    """CPU time of the quickest of three children: free of the noise of a busy machine."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python(code, *words).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.fixture
def fake_verb(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The verb `play`, replaced by a module whose `run` the test sets."""
    module = SimpleNamespace(
        __name__="fake", HELP="a fake", OVERRIDES=True, run=lambda args: 0, seen=[]
    )

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("config", nargs="?")
        parser.add_argument("--out")

    module.add_arguments = add_arguments
    monkeypatch.setattr(dispatch, "import_module", lambda name: module)
    return module


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_module_with_the_three_parts(verb: str) -> None:
    module = import_module(VERBS[verb])
    assert isinstance(module.HELP, str) and module.HELP
    assert callable(module.run)
    module.add_arguments(argparse.ArgumentParser())


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_takes_under_a_second_and_no_torch(verb: str) -> None:
    code = (
        "import sys; from forethought.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert cpu_seconds(code, verb, "--help") < 1


def test_import_forethought_takes_under_a_third_of_a_second_and_nothing_heavy() -> None:
    code = f"import sys, forethought; sys.exit(any(n in sys.modules for n in {HEAVY!r}))"
    assert cpu_seconds(code) < 0.3


@pytest.mark.parametrize(
    "words",
    [
        ["parse", "-"],
        ["grade", "-"],
        ["leaks", "-"],
        ["credit", "-"],
        ["decontaminate", "--train", "-", "--test", "-"],
        ["tasks", "nq", "--from", "-", "--out", "."],
    ],
    ids=lambda words: words[0],
)
def test_small_tools_never_import_torch(words: list[str]) -> None:
    code = (
        f"import sys, forethought.{'cli.' + words[0]}; from forethought.cli import main;"
        f"main({words!r}); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, input="", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("world", ["atlas", "workbook"])
def test_a_replay_shows_twenty_recorded_episodes_within_three_seconds_and_without_torch(
    world: str,
) -> None:
    words = ["demo", "--replay", "--world", world]
    code = (
        f"import sys; from forethought.cli import main; code = main({words!r}); "
        "sys.exit(code or ('torch' in sys.modules) * 7)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3.0
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("A recording, not a live model")
    assert shown.stdout.count("\n  foresees  ") >= 20 and shown.stdout.count("expected q") >= 20
    assert shown.stdout.count("  answer ") == 20


def test_top_level_help_names_every_verb_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for group in GROUPS.values():
        for verb, line in group.items():
            assert f"  {verb:<13} {line}\n" in shown + "\n"


def test_no_verb_shows_the_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "small tools" in capsys.readouterr().out


def test_an_unknown_verb_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dream"]) == 2
    assert "'dream'" in capsys.readouterr().err


def test_an_unknown_flag_is_a_usage_error() -> None:
    assert main(["list", "configs", "--nope"]) == 2


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"forethought {forethought.__version__}"


def test_dotted_flags_are_overrides_wherever_they_stand() -> None:
    words = ["--rl.group_size", "4", "demo/atlas", "--out", "o", "--rl.c_g=-0.5", "--a.b", "-1"]
    rest, overrides = split_overrides(words)
    assert rest == ["demo/atlas", "--out", "o"]
    assert overrides == {"rl.group_size": "4", "rl.c_g": "-0.5", "a.b": "-1"}


def test_a_dotted_flag_without_a_value_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"--rl\.updates"):
        split_overrides(["--rl.updates", "--resume"])
    with pytest.raises(InputError, match="no value"):
        split_overrides(["x", "--rl.updates"])


def test_a_verb_gets_its_overrides(fake_verb: SimpleNamespace) -> None:
    fake_verb.run = lambda args: fake_verb.seen.append((args.config, args.overrides)) or 0
    assert main(["play", "--rl.updates", "3", "demo/atlas"]) == 0
    assert fake_verb.seen == [("demo/atlas", {"rl.updates": "3"})]


def test_a_verb_without_overrides_refuses_dotted_flags(fake_verb: SimpleNamespace) -> None:
    fake_verb.OVERRIDES = False
    assert main(["play", "demo/atlas", "--rl.updates", "3"]) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("f.jsonl", got="a", expected="b", next_step="c", line=7), 2),
        (GuardRail("NaN", checkpoint="run/rl/40"), 3),
        (MissingError("vllm", next_step="pip install"), 4),
        (Interrupted("saved; go on with: forethought run x --resume"), 130),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 0),
    ],
)
def test_errors_become_messages_and_exit_codes(
    error: BaseException,
    code: int,
    fake_verb: SimpleNamespace,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise error

    fake_verb.run = fail
    monkeypatch.setattr(dispatch.os, "dup2", lambda *descriptors: None)
    assert main(["play"]) == code
    shown = capfd.readouterr().err
    assert "Traceback" not in shown
    assert str(error) in shown


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_an_interrupt_of_a_verb_that_resumes_says_how_to_go_on(
    more: list[str], fake_verb: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    declare = fake_verb.add_arguments

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        declare(parser)
        parser.add_argument("--resume", action="store_true")

    fake_verb.run, fake_verb.add_arguments = fail, add_arguments
    words = ["run", "my config.toml", "--out", "a b", "--rl.updates", "3", *more]
    assert main(words) == 130
    said = capsys.readouterr().err
    command = "forethought run 'my config.toml' --out 'a b' --rl.updates 3 --resume"
    assert said.count("--resume") == 1 and f"Next: {command}\n" in said and "saved" in said


LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_no_locale_ends_in_a_traceback(tmp_path: Path) -> None:
    said = "caf\u00e9 \u2192 \U0001f600"
    row = {"id": "1", "text": f"<think>{said}</think><search>q</search>"}
    text = json.dumps(row, ensure_ascii=False) + "\n"
    (tmp_path / "caf\u00e9.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "bad.jsonl").write_text('{"id": "caf\u00e9"', encoding="utf-8")
    environment = {**os.environ, **LOCALE, "PYTHONPATH": str(ROOT)}
    for words, given, code in (
        (["parse"], text, 0),
        (["parse", str(tmp_path / "caf\u00e9.jsonl")], "", 0),
        (["parse", str(tmp_path / "bad.jsonl")], "", 2),
        (["parse", str(tmp_path / "\u00e9")], "", 2),
        (["play", "atlas"], "search caf\u00e9\nanswer caf\u00e9\n", 0),
        (["parse", str(tmp_path / "\u00e9"), "--\u00e9"], "", 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "forethought", *words],
            input=given.encode(),
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == code, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        if words[0] == "parse" and code == 0:
            assert json.loads(done.stdout.decode("utf-8"))["think"] == said


def test_debug_keeps_the_traceback(
    fake_verb: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise GuardRail("NaN")

    fake_verb.run = fail
    monkeypatch.setenv("FORETHOUGHT_DEBUG", "1")
    with pytest.raises(GuardRail):
        main(["play"])


def test_a_bug_keeps_its_traceback(fake_verb: SimpleNamespace) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise ZeroDivisionError

    fake_verb.run = fail
    with pytest.raises(ZeroDivisionError):
        main(["play"])


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = (
        "import subprocess, sys;"
        "tool = subprocess.Popen([sys.executable, '-m', 'forethought', '--help'],"
        " stdout=subprocess.PIPE, stderr=subprocess.PIPE);"
        "tool.stdout.close(); err = tool.stderr.read(); tool.wait(); sys.exit(err.decode())"
    )
    assert python(code).stderr.strip() == ""


def test_threads_must_be_a_whole_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORETHOUGHT_THREADS", "two")
    assert main(["list", "configs"]) == 2
    assert "FORETHOUGHT_THREADS: got 'two'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "noun", ["envs", "configs", "terms", "baselines", "modes", "templates", "benchmarks"]
)
def test_every_noun_lists_names_as_text_and_as_json(
    noun: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", noun]) == 0
    text = capsys.readouterr().out.splitlines()
    assert main(["list", noun, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert [line.split()[0] for line in text] == [row["name"].split()[0] for row in rows]


def test_fetch_of_an_unknown_name_says_which_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "gpt-9"]) == 2
    assert "smollm2-135m-instruct" in capsys.readouterr().err
