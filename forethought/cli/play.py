"""`forethought play ENV`: be the policy yourself, or watch a model take one episode."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from forethought.cli._args import natural

HELP = "play an environment by hand, or watch a model play it"
CONFIGS = {"atlas": "demo/atlas", "gsm8k": "maths/gsm8k-smollm2"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("env", choices=sorted(CONFIGS), help="which task source")
    parser.add_argument("--model", help="RUN/STAGE or a folder; without it you are the policy")
    parser.add_argument(
        "--seed", type=natural, default=0, help="which task of the split (default 0)"
    )


def run(args: argparse.Namespace) -> int:
    """Plays one episode on standard input and output."""
    from forethought.config import load_config
    from forethought.domains import make_domain
    from forethought.envs.base import row_of

    config = load_config(CONFIGS[args.env])
    if args.model:
        return _watch(config, args)
    domain = make_domain(config)
    task = domain.tasks("val", args.seed + 1)[-1]
    env = domain.make_env()
    first = env.reset(**row_of(task))
    print(f"question: {task.question}")
    print(first or "", end="")
    print("type a tool and its text (search employer banok), or: answer TEXT", file=sys.stderr)
    return _by_hand(env, task)


def _by_hand(env: Any, task: Any) -> int:
    from forethought.envs.base import call_tool
    from forethought.rewards.grading import grade

    for line in sys.stdin:
        kind, _, text = line.strip().partition(" ")
        if not kind:
            continue
        if kind == "answer":
            verdict = grade(task.kind, text, list(task.answers))
            print("right" if verdict.correct else f"wrong; the answer is {task.answers[0]}")
            return 0
        observation = call_tool(env, kind, text)
        print(observation)
        if getattr(observation, "done", False):
            print("the world ended the episode")
            return 0
    return 0


def _watch(config: Any, args: argparse.Namespace) -> int:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from forethought.evals.command import EvalRequest, evaluate
    from forethought.runlog import read_episodes

    with TemporaryDirectory() as folder:
        request = EvalRequest(model=args.model, out=Path(folder), num=args.seed + 1)
        evaluate(config, request)
        episode = read_episodes(Path(folder) / "episodes.jsonl")[-1]
    print(f"question: {episode.question}")
    for turn in episode.turns:
        print(turn.text)
        if turn.observation:
            print(f"  -> {turn.observation}")
    print(f"answer {episode.answer!r}; success {episode.success}; right: {episode.answers[0]}")
    return 0
