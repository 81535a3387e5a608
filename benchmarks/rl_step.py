"""What does an update of reinforcement learning cost beside TRL's GRPOTrainer, at 2, 4 and 8 turns?

    python benchmarks/rl_step.py [--quick] --json FILE [--size 1m|3m] [--turns 2,4,8]

An update is all of it: 8 prompts x 8 attempts played in a search environment, rewards, advantages,
the loss, the backward pass, AdamW. Ours is the main path of stage 3 with the profile `grpo`. The
peer is `GRPOTrainer.train()` as it is, with `environment_factory` and the same environment class,
one optimiser step at a time, on the CPU, in float32: the whole batch is one micro-batch, gradient
checkpointing and logging are off, which is its quickest setting here (`--micro N` tries another).

Equal work. Both sides begin from the same weights and are given the same tasks. The weights spell
out a grammar (`search_world.py`), so that each side samples by itself, without masks or forced
tokens, turns of fixed lengths that call the tool or answer: `equal_work` counts the sampled and the
forced tokens of both. Rewards are drawn: every second member of a group wins. Where half of the
groups are silent (`silent` .5: nobody wins in every second group), ours does not train on them;
TRL does. The rate is so small that the grammar stays.

Equal results, before anything is timed: rollouts of ours go through TRL's own rewards, advantages
and `_compute_loss`, and through our trainer, at weights that have moved since they were sampled, so
that ratios and clips count. `loss_diff` and `grad_diff` (relative, of the whole gradient) must stay
below 1e-5.

CPU milliseconds an episode come first; `parts` are those of playing and of the rest. Peak memory is
that of a process of its own for each side that makes two updates; `at_start` is what it held before
them, libraries and model included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from typing import Any

from measured import exponent, memory_mb, peak_mb, ratio, spread, write
from rl_sides import SIDES, Counted, Plan, compare
from search_world import QUICK, Lengths
from sides import PAIRS, SHAPES, Spent, compared, rounds, shapes
from trl_side import require_trl

from forethought.errors import ForethoughtError

TURNS = (2, 4, 8)
UNITS = {"cpu": "CPU ms an episode", "wall": "ms an episode, wall"}
MEMORY_UPDATES = 2
APART = 0.02  # by how much of its tokens the work of the sides may differ


def child(name: str, plan: Plan) -> dict[str, float | None]:
    """Resident memory of this process, MB: before the updates of one side, and its peak."""
    if name == "peer":
        require_trl()
    side = SIDES[name](plan)
    before = memory_mb("VmRSS")
    for _ in range(plan.updates):
        side.step()
    side.close()
    return {"at_start": before, "peak": peak_mb()}


def memory(plan: Plan) -> dict[str, dict[str, float]] | None:
    """`child` of both sides, each in a process of its own; None without /proc."""
    found = {}
    few = asdict(plan) | {"updates": MEMORY_UPDATES}
    for name in SIDES:
        words = [sys.executable, __file__, "--child", name, json.dumps(few)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        if None in found[name].values():
            return None
    return found


def memory_cells(found: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The cells of a row about memory."""
    unit = "MB, peak resident"
    sides = {
        name: {**spread([side["peak"]], unit), "at_start": round(side["at_start"], 1)}
        for name, side in found.items()
    }
    return {**sides, "ratio": ratio([found["peer"]["peak"]], [found["ours"]["peak"]])}


def time_cells(
    spent: Mapping[str, Sequence[Spent]], quantity: str, episodes: int
) -> dict[str, Any]:
    """The cells of a row about time."""
    times = {
        name: [getattr(one, quantity) / episodes * 1000 for one in calls]
        for name, calls in spent.items()
    }
    return compared(times["ours"], times["peer"], UNITS[quantity])


def equal_work(done: Mapping[str, Counted], updates: int) -> dict[str, Any]:
    """Tokens of both sides in an update: sampled, and forced ones.

    Raises:
        SystemExit: they are more than 2 % apart.
    """
    found = {}
    for kind, name in (("sampled", "tokens"), ("forced", "forced")):
        mine, theirs = (getattr(done[side], kind) / updates for side in ("ours", "peer"))
        if abs(mine - theirs) > APART * theirs:
            raise SystemExit(f"{kind} tokens of an update: ours {mine}, the peer {theirs}")
        found |= {f"{name}_ours": round(mine), f"{name}_peer": round(theirs)}
    return found


def measure(plan: Plan, pairs: int, with_memory: bool) -> list[dict[str, Any]]:
    """The rows of one number of turns."""
    same = compare(plan)
    sides = {name: make(plan) for name, make in SIDES.items()}
    try:
        for side in sides.values():
            side.step()  # warms up
        before = {name: replace(side.counted) for name, side in sides.items()}
        spent = rounds(pairs, {name: side.step for name, side in sides.items()})
    finally:
        for side in sides.values():
            side.close()
    done = {name: side.counted - before[name] for name, side in sides.items()}
    work = equal_work(done, pairs) | same
    parts = {
        name: {
            part: round(getattr(counted, f"{part}_s") / pairs / plan.episodes * 1000, 2)
            for part in ("played", "rest")
        }
        for name, counted in done.items()
    }
    x = {
        "model": plan.size,
        "turns": plan.turns,
        "batch": f"{plan.prompts}x{plan.members}",
        "silent": 0.5 if plan.silent else 0.0,
    }
    cells = {name: time_cells(spent, name, plan.episodes) for name in UNITS}
    cells["cpu"]["parts"] = parts
    held = memory(plan) if with_memory else None
    if held is not None:
        cells["memory"] = memory_cells(held)
    rows = []
    for name, found in cells.items():
        found["peer"] |= {"name": "trl.GRPOTrainer", "version": metadata.version("trl")}
        rows.append({"x": {**x, "measure": name}, **found, "equal_work": work})
    return rows


def parsed(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a toy model, few short episodes")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--size", choices=SHAPES, help="of a Llama from scratch; default 1m")
    parser.add_argument("--turns", help=f"default {','.join(map(str, TURNS))}; 2,3 with --quick")
    parser.add_argument("--prompts", type=int, help="groups of an update; default 8, 2 quick")
    parser.add_argument("--members", type=int, help="attempts of a group; default 8, 4 quick")
    parser.add_argument("--micro", type=int, help="sequences of a micro-batch of the peer")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"{PAIRS} (default) or more")
    args = parser.parse_args(words)
    if args.pairs < PAIRS:
        parser.error(f"--pairs {args.pairs}: fewer than {PAIRS} say too little")
    return args


def save(path: str, rows: list[dict[str, Any]], pairs: int) -> None:
    """Writes what there is so far: a run takes long, and what it has found is not lost."""
    loud = [row for row in rows if row["x"]["measure"] == "cpu" and not row["x"]["silent"]]
    slopes = {
        side: exponent([(row["x"]["turns"], row[side]["median"]) for row in loud])
        for side in ("ours", "peer")
    }
    more = {"exponent": slopes} if slopes["ours"] is not None else {}
    write(path, (__doc__ or "").splitlines()[0], rows, pairs=pairs, models=shapes(rows), **more)


def main(words: list[str]) -> int:
    """Plays every number of turns and writes the figures."""
    if words[:1] == ["--child"]:
        settings = json.loads(words[2])
        plan = Plan(**{**settings, "lengths": Lengths(**settings["lengths"])})
        print(json.dumps(child(words[1], plan)))
        return 0
    args = parsed(words)
    try:
        require_trl()
    except ForethoughtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    quick = args.quick
    turns = [int(x) for x in args.turns.split(",")] if args.turns else (2, 3) if quick else TURNS
    found = []
    for silent in (False, True):
        for number in turns:
            plan = Plan(
                size=args.size or ("toy" if quick else "1m"),
                lengths=QUICK if quick else Lengths(),
                turns=number,
                prompts=args.prompts or (2 if quick else 8),
                members=args.members or (4 if quick else 8),
                silent=silent,
                updates=args.pairs + 1,
                micro=args.micro,
            )
            print(f"{plan.size}, {number} turns, silent {silent}", file=sys.stderr)
            weighed = not silent and (not quick or number == turns[-1])
            found += measure(plan, args.pairs, weighed)
            save(args.json, found, args.pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
