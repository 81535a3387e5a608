"""`forethought play ENV`: be the policy yourself, or watch a model take one episode."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from forethought.cli._args import natural, not_negative
from forethought.errors import InputError

if TYPE_CHECKING:
    from forethought.config import RunConfig
    from forethought.types import Episode, Task

HELP = "play an environment by hand, or watch a model play it"
CONFIGS = {"atlas": "demo/atlas", "gsm8k": "maths/gsm8k-smollm2", "workbook": "demo/workbook"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("env", choices=sorted(CONFIGS), help="which task source")
    parser.add_argument("--model", help="RUN/STAGE or a folder; without it you are the policy")
    parser.add_argument(
        "--seed", type=natural, default=0, help="which task of the split (default 0)"
    )
    parser.add_argument("--question", help="with --model: a question of your own in that world")
    parser.add_argument("--temperature", type=not_negative, help="with --model (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(args: argparse.Namespace) -> int:
    """Plays one episode on standard input and output."""
    from forethought.config import load_config
    from forethought.domains import make_domain
    from forethought.envs.base import row_of

    config = load_config(CONFIGS[args.env])
    if args.model:
        from forethought.evals.baselines import BASELINES

        return _scripted(config, args) if args.model in BASELINES else _watch(config, args)
    if args.question is not None:
        raise InputError(
            "--question",
            got="a question and no --model",
            expected="a model that is asked",
            next_step="add --model RUN/rl, or drop --question and play by hand",
        )
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


def _watch(config: RunConfig, args: argparse.Namespace) -> int:
    """Streams the episode of a model; with --json its row alone is printed."""
    from forethought.cli._stream import Stream
    from forethought.evals.watch import Asked, watch
    from forethought.runlog import episode_to_row

    out = sys.stderr if args.json else sys.stdout
    streams: list[Stream] = []

    def begin(task: Task, tokenizer: Any, decisions: tuple[str, ...]) -> Callable[..., None]:
        print(f"question: {task.question}", file=out)
        streams.append(Stream(tokenizer, out, decisions))
        return streams[0].on_token

    asked = Asked(
        model=args.model,
        number=args.seed,
        question=args.question,
        temperature=args.temperature,
    )
    episode = watch(config, asked, begin)
    for turn in episode.turns[streams[0].replies :]:
        if turn.observation:
            streams[0].reply(turn.observation)
    if args.json:
        print(json.dumps(episode_to_row(episode)))
        return 0
    print(f"\n{_verdict(episode)}")
    return 0


def _verdict(episode: Episode) -> str:
    if episode.answer is None:
        said = f"no answer ({episode.stop_reason})"
    else:
        said = f"answer {episode.answer}"
    if not episode.answers:
        return f"{said}; nobody knows the right one"
    return f"{said}; {'right' if episode.success else f'wrong: {episode.answers[0]}'}"


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
