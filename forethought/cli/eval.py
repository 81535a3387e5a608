"""`forethought eval CONFIG --model M`: episodes.jsonl and summary.json for any policy."""

from __future__ import annotations

import argparse
import json

from forethought.cli._args import natural, not_negative, positive, seeds
from forethought.cli._search import add_search, source_of

HELP = "evaluate a model, a stage of a run, or a scripted policy"
OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("config", help="a TOML file, or a name from `forethought list configs`")
    parser.add_argument(
        "--model",
        required=True,
        help="a Hugging Face folder or name, RUN/STAGE, openai:NAME (behind OPENAI_BASE_URL), or a "
        "scripted policy (wanderer, reactive, first-link, link-wise, planner)",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--tasks", help="tasks.jsonl instead of the configured source")
    parser.add_argument("--corpus", help="corpus.jsonl that the tasks are searched in")
    add_search(parser)
    parser.add_argument(
        "--split",
        choices=["val", "test"],
        help="default: the config's; with --tasks: only the rows of that split",
    )
    source.add_argument(
        "--worlds", type=seeds, metavar="A:B", help="world seeds A to B-1 instead of a split"
    )
    parser.add_argument("--num", type=positive, help="number of tasks (default: the config's)")
    parser.add_argument("--samples", type=positive, help="rollouts a task (default: eval.attempts)")
    parser.add_argument(
        "--mode",
        default="",
        help="one of `forethought list modes`, such as imagine-4 or abstain-40 (default: plain for "
        "a scripted policy and for stages before sft, else faithful); openai:NAME: faithful or "
        "plain",
    )
    parser.add_argument(
        "--temperature", type=not_negative, help="default: the config's; 0 = greedy"
    )
    parser.add_argument(
        "--seed", type=natural, help="seed of the sampling noise (default: the run's)"
    )
    parser.add_argument(
        "--parallel",
        type=positive,
        help="with openai:NAME: requests at a time (default: served.parallel)",
    )
    parser.add_argument(
        "--estimates",
        action="store_true",
        help="also score other estimates of the same episodes (`forethought list baselines`), "
        "fitted on control.estimate_tasks validation tasks: estimates.json",
    )
    parser.add_argument("--out", required=True, help="folder for episodes.jsonl and summary.json")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluates and prints the headline figures."""
    from forethought.config import load_config
    from forethought.evals.command import EvalRequest, evaluate
    from forethought.files import make_folder
    from forethought.report.estimates import print_estimates
    from forethought.report.tables import print_summary
    from forethought.runfiles import read_estimates

    config = load_config(args.config, args.overrides)
    request = EvalRequest(
        model=args.model,
        tasks=args.tasks,
        source=source_of(args),
        split=args.split,
        worlds=args.worlds,
        num=args.num,
        samples=args.samples or config.eval.attempts,
        mode=args.mode,
        temperature=args.temperature,
        seed=args.seed,
        parallel=args.parallel,
        estimates=args.estimates,
        out=make_folder(args.out, "--out"),
    )
    summary = evaluate(config, request)
    made = read_estimates(request.out / "estimates.json") if args.estimates else None
    if args.json:
        print(json.dumps(summary if made is None else {**summary, "estimates": made}))
        return 0
    print_summary(summary)
    if made is not None:
        print_estimates(made)
    return 0
