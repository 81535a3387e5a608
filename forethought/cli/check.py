"""`forethought check`: a doctor for this machine, a configuration, an environment, the sandbox.

Each check is a `Finding`. Exit 0 when none of them is bad, 1 otherwise; a configuration that cannot
be used exits 2 like everywhere else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata, util

from forethought.errors import ForethoughtError, InputError, MissingError

HELP = "A doctor for this machine; or check a configuration, an environment, the sandbox."
OVERRIDES = True
NEEDED = (
    *("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "numpy"),
    *("pydantic", "bm25s", "math_verify", "rich", "jinja2", "gguf"),
)
OPTIONAL = (
    *("accelerate", "peft", "datasets", "trl", "vllm", "verl", "trackio", "tensorboard"),
    *("sentence_transformers", "faiss"),
)
MIN_FREE_GB = 2.0  # the demo's run folder and the fetched model, with room to spare


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of a check."""

    what: str
    ok: bool | None  # None: worth knowing, neither good nor bad
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("what", nargs="?", help="CONFIG | env | sandbox (default: this machine)")
    parser.add_argument("name", nargs="?", help="env: a name of `list envs` or package.module:Name")
    parser.add_argument("--brief", action="store_true", help="this machine in one line")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Prints what was found."""
    if args.brief:
        print(brief())
        return 0
    findings = list(_findings(args))
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        marks = {True: "ok", False: "BAD", None: "-"}
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(f"{marks[finding.ok]:<4} {finding.what:<{width}}  {finding.text}")
    return int(any(finding.ok is False for finding in findings))


def _findings(args: argparse.Namespace) -> Iterable[Finding]:
    if args.what is None:
        return doctor()
    if args.what == "sandbox":
        return check_sandbox()
    if args.what == "env":
        if args.name is None:
            raise InputError(
                "check env",
                got="no name",
                expected="a name of `forethought list envs`, or package.module:Name",
                next_step="add the name",
            )
        return check_env(args.name)
    return check_config(args.what, args.overrides)


def brief() -> str:
    """Python, torch build, threads and sandbox level in one line."""
    words = [f"Python {platform.python_version()}"]
    if util.find_spec("torch") is None:
        words.append("no torch")
    else:
        import torch

        words += [f"torch {torch.__version__}", f"{torch.get_num_threads()} threads"]
    return ", ".join([*words, f"sandbox level {_sandbox_level()}"])


def doctor() -> list[Finding]:
    """What this machine has, and what is missing."""
    version = platform.python_version()
    findings = [
        Finding(what="python", ok=sys.version_info >= (3, 11), text=f"{version} {sys.executable}")
    ]
    findings += [_package(name, needed=True) for name in NEEDED]
    if util.find_spec("torch") is not None:
        findings.append(_torch())
    findings += [_package(name, needed=False) for name in OPTIONAL]
    findings += [_maths_judge(), _sandbox_line(), *_cache(), _configs()]
    return findings


def _package(name: str, *, needed: bool) -> Finding:
    if util.find_spec(name) is not None:
        names = metadata.packages_distributions().get(name, [name])
        return Finding(what=name, ok=True, text=metadata.version(names[0]))
    if needed:
        return Finding(what=name, ok=False, text="missing: run `make setup` or install forethought")
    return Finding(what=name, ok=None, text="not installed (optional)")


def _maths_judge() -> Finding:
    from forethought.rewards.grading import check_grader

    try:
        check_grader("maths")
    except ForethoughtError as error:
        return Finding(what="maths judge", ok=False, text=str(error))
    return Finding(what="maths judge", ok=True, text="a process that tells the known pairs apart")


def _torch() -> Finding:
    import torch

    from forethought.training.policy import choose_device

    try:
        device = str(choose_device())
    except ForethoughtError as error:
        return Finding(what="device", ok=False, text=str(error))
    threads = torch.get_num_threads()
    return Finding(
        what="device", ok=True, text=f"{device}, {threads} threads, {os.cpu_count()} cores"
    )


def _sandbox_level() -> str:
    """The level that programs of a policy get; "none" where it must be named."""
    from forethought.tools.sandbox import strongest

    try:
        return strongest()
    except MissingError:
        return "none"


def _sandbox_line() -> Finding:
    level = _sandbox_level()
    if level == "none":
        return Finding(what="sandbox", ok=None, text="none for `auto`: `forethought check sandbox`")
    bad = [finding.what for finding in _probes(level) if not finding.ok]
    text = f"level {level}, every probe passed" if not bad else "failed: " + ", ".join(bad)
    return Finding(what="sandbox", ok=not bad, text=text)


def _cache() -> list[Finding]:
    from forethought.data.models import ENCODERS, MODELS, cache_home, is_fetched

    home = cache_home()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    writable = os.access(there, os.W_OK)
    findings = [
        Finding(
            what="cache", ok=writable, text=f"{home}" + ("" if writable else " cannot be written")
        ),
        Finding(what="disk", ok=free >= MIN_FREE_GB, text=f"{free:.1f} GB free at {there}"),
    ]
    for name in [*MODELS, *ENCODERS]:
        text = "fetched" if is_fetched(name) else f"not fetched (`forethought fetch {name}`)"
        findings.append(Finding(what=name, ok=None, text=text))
    return findings


def _configs() -> Finding:
    from forethought.config import config_names, load_config

    names = config_names()
    for name in names:
        load_config(name)
    return Finding(what="configs", ok=bool(names), text=", ".join(names))


def check_config(path_or_name: str, overrides: dict[str, str]) -> list[Finding]:
    """Reads a configuration as `run` would, and looks for its model and device.

    Raises:
        InputError: a value that cannot be used, or a model's folder that is not one.
    """
    from forethought.config import load_config

    config = load_config(path_or_name, overrides)
    findings = [Finding(what=path_or_name, ok=True, text=f"a run named {config.name}")]
    findings += [_model(config.model.name), _torch()]
    for key, value in config.model_dump().items():
        findings.append(Finding(what=key, ok=None, text=json.dumps(value, default=str)))
    return findings


def _model(name: str) -> Finding:
    """Whether a run would find its model."""
    from forethought.data.models import MODELS, is_fetched, locate_model, resolve_model

    if name == "tiny":
        return Finding(what="model", ok=True, text="tiny, trained from scratch")
    if name in MODELS and not is_fetched(name):
        return Finding(what="model", ok=False, text=f"not here: `forethought fetch {name}`")
    where, _ = locate_model(resolve_model(name))
    local = os.path.isdir(where)
    text = where if local else f"{where}, asked for at the hub when the run starts"
    return Finding(what="model", ok=True if local else None, text=text)


def check_sandbox() -> list[Finding]:
    """Tries to break each level of the Python tool and reports which ones held."""
    from forethought.tools.sandbox import LEVELS, strongest, why_not

    try:
        found = [Finding(what="auto", ok=True, text=f"level {strongest()}")]
    except MissingError as error:
        found = [Finding(what="auto", ok=False, text=str(error))]
    for level in reversed(LEVELS):
        why = why_not(level)
        found += [Finding(what=level, ok=None, text=f"not here: {why}")] if why else _probes(level)
    return found


def _probes(level: str) -> list[Finding]:
    from forethought.tools.sandbox import self_test

    rows = self_test(level)
    return [Finding(what=f"{level}: {row.what}", ok=row.held, text=row.text) for row in rows]


def check_env(name: str) -> list[Finding]:
    """The tools of an environment as a policy is told of them; nothing is started.

    Raises:
        InputError: no such environment, or its class breaks the contract.
    """
    from forethought.envs import env_class
    from forethought.envs.base import check_class

    tools = check_class(env_class(name))
    findings = [Finding(what=name, ok=True, text=f"an environment with tools: {', '.join(tools)}")]
    for tool in tools.values():
        arguments = ", ".join(
            parameter if parameter in tool.required else f"[{parameter}]"
            for parameter in tool.parameters
        )
        text = " ".join(tool.description.split())
        findings.append(Finding(what=f"{tool.name}({arguments})", ok=None, text=text))
    return findings
