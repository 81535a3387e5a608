"""`forethought probe RUN`: rewrite the blocks of a policy while it acts, and see what changes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from forethought.cli._args import natural, positive

HELP = "delete, swap or change the blocks of a policy while it acts: does it use them?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("run", help="a run (its stage rl), or RUN/STAGE")
    parser.add_argument(
        "--do",
        default="delete,swap,opposite,q=5,q=50,q=95",
        help="interventions (default: %(default)s)",
    )
    parser.add_argument("--split", choices=["val", "test"], help="default: the run's")
    parser.add_argument("--num", type=positive, help="number of tasks (default: the run's)")
    parser.add_argument(
        "--samples", type=positive, default=8, help="first actions behind a block (default 8)"
    )
    parser.add_argument("--seed", type=natural, help="seed of the noise (default: the run's)")
    parser.add_argument("--out", required=True, help="folder for the episodes and probe.json")
    parser.add_argument("--json", action="store_true", help="print probe.json")


def run(args: argparse.Namespace) -> int:
    """Probes and prints one line an intervention."""
    from forethought.domains import make_domain
    from forethought.errors import InputError
    from forethought.evals.command import EvalRequest, setting_of, trained_config
    from forethought.evals.interventions import Prober, parse_interventions, probe
    from forethought.files import make_folder
    from forethought.rollout.hf.backend import backend_for
    from forethought.rollout.modes import parse_mode
    from forethought.stages.context import set_threads
    from forethought.training.policy import Policy

    do = parse_interventions(args.do)
    model = args.run if (Path(args.run) / "model").is_dir() else str(Path(args.run) / "rl")
    config = trained_config(model)
    if config is None or not config.teaches_blocks:
        raise InputError(
            args.run,
            got="no run" if config is None else "a run that teaches no blocks",
            expected="a run whose model writes blocks, or RUN/STAGE",
            next_step="name the folder that `forethought run` or `demo` wrote",
        )
    set_threads(config)
    domain = make_domain(config)
    split = args.split or config.eval.split
    tasks = domain.tasks(split, args.num or config.eval.num_tasks)
    out = make_folder(args.out, "--out")
    request = EvalRequest(model=model, seed=args.seed, out=out)
    setting = setting_of(config, domain, request, parse_mode("faithful"), split)
    policy = Policy.load(str(Path(model) / "model"), dtype=config.model.dtype)
    prober = Prober(setting, policy, backend_for(policy, config.rollout), tasks)
    result = probe(prober, setting, do, out, samples=args.samples)
    if args.json:
        print(json.dumps(result))
        return 0
    for row in result["interventions"]:
        success = (row["effect"] or {}).get("success")
        told = "-" if success is None else _interval(success["diff"], success["lo"], success["hi"])
        shift = row["first_action"]
        cell = None if shift is None else shift["excess"]
        moved = "-" if cell is None else _interval(cell["value"], cell["lo"], cell["hi"])
        print(f"{row['do']:<9} n={row['n']:<5} success {told}  first action moved {moved}")
    return 0


def _interval(value: float, lo: float | None, hi: float | None) -> str:
    bounds = "" if lo is None or hi is None else f" [{lo:+.3f}, {hi:+.3f}]"
    return f"{value:+.3f}{bounds}"
