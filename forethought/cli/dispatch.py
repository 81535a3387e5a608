"""The table of verbs, and what happens around each of them.

A verb's module is imported only when that verb is called, so `forethought --help` and the small
tools start at once. A verb module offers `HELP: str`, `add_arguments(parser)` and
`run(args) -> int`. With `OVERRIDES = True` it also gets `args.overrides`, the dotted flags of the
command line (`--rl.group_size 8` -> `{"rl.group_size": "8"}`). Results go to standard output,
messages to standard error; exit codes are those of `forethought.errors`.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from forethought import __version__
from forethought.errors import ForethoughtError, InputError, Interrupted
from forethought.runlog import command_line

GROUPS: dict[str, dict[str, str]] = {
    "the method": {
        "demo": "the whole method on a synthetic world, with a page that grows as it runs",
        "run": "all stages of a configuration, with an evaluation after each",
        "prepare": "stage 0: trajectories, executed branches, blocks written in hindsight",
        "midtrain": "stage 1: world-model agentic mid-training",
        "sft": "stage 2: format-eliciting fine-tuning",
        "rl": "stage 3: foresight-conditioned reinforcement learning",
        "corpus": "the corpus of stage 1 or 2 as files, for our trainer or TRL",
        "study": "factors over seeds from shared stages, with a verdict a claim",
        "eval": "evaluate a model or a scripted policy on held-out tasks",
    },
    "look at it": {
        "probe": "rewrite the blocks of a policy while it acts: does it use them?",
        "report": "write the page of one or more runs from their files",
        "view": "read the episodes of a run in the terminal",
        "diff": "compare two runs on the same tasks, paired",
        "play": "act in an environment by hand, or watch a policy",
        "check": "a doctor; or check a configuration, an environment, the sandbox",
        "list": "envs, configs, terms, baselines, modes, templates or benchmarks",
        "fetch": "bring a model into the cache",
        "tasks": "a public question set as tasks.jsonl and corpus.jsonl",
        "serve-search": "serve a corpus to many workers, as Search-R1 does",
    },
    "small tools, JSON lines in and out": {
        "parse": "text to foresight block, thought and action",
        "grade": "predictions against accepted answers",
        "leaks": "does a block tell what it cannot know?",
        "credit": "advantages of every span from judged episodes",
        "retrieve": "search a corpus",
        "index": "index a corpus on disk, for retrieve, serve-search and eval",
        "sandbox": "run a Python file in a sandbox",
        "tokens": "the tokens of an episode with spans and weights",
        "decontaminate": "test questions among training rows",
    },
}
VERBS: dict[str, str] = {
    verb: f"forethought.cli.{verb.replace('-', '_')}" for group in GROUPS.values() for verb in group
}
_OVERRIDE = re.compile(r"--([A-Za-z_]\w*(?:\.\w+)+)(?:=(.*))?", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _speak_utf8()
    try:
        code = _guarded(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader took all it wanted; flushing again at exit must find an open descriptor.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _guarded(words: list[str]) -> int:
    """Runs one command; its errors become messages and exit codes."""
    verb = words[0] if words and words[0] in VERBS else ""
    name = f"forethought {verb}".rstrip()
    try:
        _apply_environment()
        return _call(verb, words[1:]) if verb else _top_level(words)
    except SystemExit as stop:  # argparse: --help and usage errors
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except ForethoughtError as error:
        if os.environ.get("FORETHOUGHT_DEBUG"):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def split_overrides(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Takes the dotted flags out of a command line.

    Args:
        words: the words after the verb.

    Returns:
        the other words in order, and `{"a.b": value}`; the last of equal keys wins.

    Raises:
        InputError: a dotted flag without a value.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    index = 0
    while index < len(words):
        flag = _OVERRIDE.fullmatch(words[index])
        if flag is None:
            rest.append(words[index])
        elif flag[2] is not None:
            overrides[flag[1]] = flag[2]
        else:
            index += 1
            if index == len(words) or words[index].startswith("--"):
                raise InputError(
                    f"--{flag[1]}",
                    got="no value",
                    expected="a dotted flag with a value, such as --rl.group_size 8",
                    next_step="add the value",
                )
            overrides[flag[1]] = words[index]
        index += 1
    return rest, overrides


def _call(verb: str, words: list[str]) -> int:
    module = import_module(VERBS[verb])
    parser = argparse.ArgumentParser(
        prog=f"forethought {verb}", description=module.HELP, allow_abbrev=False
    )
    module.add_arguments(parser)
    if not getattr(module, "OVERRIDES", False):
        return _run(module, parser.parse_args(words), verb, words)
    rest, overrides = split_overrides(words)
    args = parser.parse_args(rest)
    args.overrides = overrides
    return _run(module, args, verb, words)


def _run(module: ModuleType, args: argparse.Namespace, verb: str, words: list[str]) -> int:
    args.verb = verb
    try:
        code = module.run(args)
    except KeyboardInterrupt as stop:
        if not hasattr(args, "resume"):
            raise
        again = command_line([verb, *words, *([] if args.resume else ["--resume"])])
        raise Interrupted(
            "interrupted; what it did is saved up to the last finished stage or checkpoint. "
            f"Next: {again}"
        ) from stop
    assert isinstance(code, int), f"{module.__name__}.run returned {code!r}, not an exit code"
    return code


def _top_level(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="forethought",
        description="Train one language model to look ahead before it acts.",
        usage="forethought VERB [options]   (forethought VERB --help tells them)",
        epilog=verb_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"forethought {__version__}")
    parser.add_argument("verb", nargs="?", choices=list(VERBS), metavar="VERB")
    parser.parse_args(words)
    parser.print_help()
    return 2


def verb_table() -> str:
    """The verbs in groups, one line each."""
    lines: list[str] = []
    for title, verbs in GROUPS.items():
        lines += ["", title + ":"]
        lines += [f"  {verb:<13} {line}" for verb, line in verbs.items()]
    return "\n".join(lines[1:])


def _speak_utf8() -> None:
    """Files are UTF-8 in any locale, and so is what is read and printed."""
    for stream, errors in (
        (sys.stdin, "replace"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(encoding="utf-8", errors=errors)


def _apply_environment() -> None:
    """Hands FORETHOUGHT_THREADS and FORETHOUGHT_OFFLINE to the libraries that read their own."""
    threads = os.environ.get("FORETHOUGHT_THREADS", "")
    if threads:
        if not re.fullmatch("0*[1-9][0-9]{0,3}", threads):
            raise InputError(
                "FORETHOUGHT_THREADS",
                got=repr(threads),
                expected="a whole number of threads, at least 1",
                next_step="correct or unset the variable",
            )
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = threads
    if os.environ.get("FORETHOUGHT_OFFLINE"):
        os.environ["HF_HUB_OFFLINE"] = "1"
