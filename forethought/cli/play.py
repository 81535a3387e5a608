"""`forethought play ENV`: be the policy yourself, or watch a model take one episode."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from forethought.cli._args import natural, not_negative
from forethought.errors import InputError

if TYPE_CHECKING:
    from forethought.evals.watch import Watched
    from forethought.schema import RunConfig
    from forethought.types import Episode, Task

HELP = "play an environment by hand, or watch a model play it"
CONFIGS = {
    "atlas": "demo/atlas",
    "gsm8k": "maths/gsm8k-smollm2",
    "qa": "search/multihop-smollm2",
    "workbook": "demo/workbook",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("env", choices=sorted(CONFIGS), help="which task source")
    parser.add_argument("--model", help="RUN/STAGE or a folder; without it you are the policy")
    parser.add_argument(
        "--seed", type=natural, default=0, help="which task of the split (default 0)"
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--question", help="with --model: a question of your own, in the world of that task"
    )
    asked.add_argument(
        "--ask", action="store_true", help="with --model: questions from standard input, one a line"
    )
    parser.add_argument(
        "--temperature",
        type=not_negative,
        help="with --model: of sampling (default: eval.temperature of the configuration)",
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(args: argparse.Namespace) -> int:
    """Plays one episode on standard input and output."""
    from forethought.config import load_config
    from forethought.domains import make_domain
    from forethought.envs.base import row_of
    from forethought.evals.baselines import BASELINES

    config = load_config(CONFIGS[args.env])
    if args.model and args.model not in BASELINES:
        return _watch(config, args)
    _refuse_options_of_models(args)
    if args.model:
        return _scripted(config, args)
    domain = make_domain(config)
    task = domain.tasks("val", args.seed + 1)[-1]
    env = domain.make_env()
    first = env.reset(**row_of(task))
    out = sys.stderr if args.json else sys.stdout
    print(f"question: {task.question}", file=out)
    print(first or "", end="", file=out)
    print("type a tool and its text (search employer banok), or: answer TEXT", file=sys.stderr)
    answer, correct = _by_hand(env, task, out)
    if args.json:
        row = {"task_id": task.id, "question": task.question, "answers": list(task.answers)}
        print(json.dumps({**row, "answer": answer, "correct": correct}))
    return 0


def _by_hand(env: Any, task: Any, out: TextIO) -> tuple[str | None, bool]:
    """Carries out the lines of standard input; the answer given, if any, and whether it is right.

    What the environment says goes to `out`.
    """
    from forethought.envs.base import call_tool
    from forethought.rewards.grading import grade

    for line in sys.stdin:
        kind, _, text = line.strip().partition(" ")
        if not kind:
            continue
        if kind == "answer":
            correct = grade(task.kind, text, list(task.answers)).correct
            print("right" if correct else f"wrong; the answer is {task.answers[0]}", file=out)
            return text, correct
        observation = call_tool(env, kind, text)
        print(observation, file=out)
        if getattr(observation, "done", False):
            print("the world ended the episode", file=out)
            break
    return None, False


def _refuse_options_of_models(args: argparse.Namespace) -> None:
    """A player who is no model is asked nothing and samples nothing.

    Raises:
        InputError: an option that only a model heeds.
    """
    given = {"--question": args.question, "--ask": args.ask or None}
    given["--temperature"] = args.temperature
    for option, value in given.items():
        if value is not None:
            raise InputError(
                option,
                got=f"this option and {args.model or 'no --model'}",
                expected="a trained model, which can be asked and samples",
                next_step=f"add --model RUN/rl, or drop {option}",
            )


def _watch(config: RunConfig, args: argparse.Namespace) -> int:
    """Streams the episodes of a model; with --json their rows alone go to standard output."""
    from forethought.evals.watch import Watched
    from forethought.runlog import episode_to_row

    watched = Watched(config, args.model, args.temperature)
    for task in _tasks(watched, args):
        episode = _stream(watched, task, sys.stderr if args.json else sys.stdout)
        if args.json:
            print(json.dumps(episode_to_row(episode)), flush=True)
    return 0


def _tasks(watched: Watched, args: argparse.Namespace) -> Iterator[Task]:
    """The task of the split, the question of the command line, or those of standard input."""
    if args.question is not None:
        yield watched.asked(args.seed, args.question)
    elif args.ask:
        yield from _from_stdin(watched, args.seed)
    else:
        yield watched.task(args.seed)


def _from_stdin(watched: Watched, number: int) -> Iterator[Task]:
    """One task a line; at a terminal a question that cannot be read may be put again.

    Raises:
        InputError: no question, or away from a terminal one that the world cannot read.
    """
    example, typed, asked = watched.task(number).question, sys.stdin.isatty(), False
    if typed:
        print(f"one question a line, such as: {example}\nCtrl-D ends", file=sys.stderr)
    for line in sys.stdin:
        if not line.strip():
            continue
        asked = True
        try:
            task = watched.asked(number, line.strip())
        except InputError as error:
            if not typed:
                raise
            print(error, file=sys.stderr)
            continue
        yield task
    if not asked:
        raise InputError(
            "--ask",
            got="no question on standard input",
            expected=f"one question a line, such as {example!r}",
            next_step="type or pipe one, or use --question TEXT",
        )


def _stream(watched: Watched, task: Task, out: TextIO) -> Episode:
    """The episode of a task, printed while it is played."""
    from forethought.cli._stream import Stream
    from forethought.cli._turns import TurnPrinter

    print(f"question: {task.question}", file=out)
    stream = Stream(watched.tokenizer, TurnPrinter(out, watched.decisions))
    episode = watched.play(task, stream.on_token)
    stream.finish(episode)
    print(f"\n{verdict(episode)}", file=out, flush=True)
    return episode


def verdict(episode: Episode) -> str:
    """What came of an episode; where the right answer is unknown, no word on success."""
    if episode.error is not None:
        return f"no verdict; the episode broke off: {episode.error.message}"
    if episode.answer is None:
        said = f"no answer ({episode.stop_reason})"
    else:
        said = f"answer {episode.answer}"
    if not episode.answers:
        return f"{said}; nobody knows the right one"
    right = f"wrong; the right answer is {episode.answers[0]}"
    return f"{said}; {'right' if episode.success else right}"


def _scripted(config: RunConfig, args: argparse.Namespace) -> int:
    """Prints the episode of a scripted policy."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from forethought.cli._episode import show
    from forethought.evals.command import EvalRequest, evaluate
    from forethought.runlog import episode_to_row, read_episodes

    with TemporaryDirectory() as folder:
        request = EvalRequest(model=args.model, out=Path(folder), num=args.seed + 1)
        evaluate(config, request)
        episode = read_episodes(Path(folder) / "episodes.jsonl")[-1]
    if args.json:
        print(json.dumps(episode_to_row(episode)))
    else:
        show(episode)
    return 0
