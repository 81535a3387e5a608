"""How many branches does stage 0 execute in a minute of CPU time, beside one state at a time?

    python benchmarks/branches.py [--quick] --json FILE [--model FOLDER]

A branch is one alternative action of the student, executed in atlas, with its k continuations; a
label is k continuations behind the action that was taken. Ours is the path of `forethought
prepare`: the engine plays the continuations of all states and tasks together. The peer is the same
code called with one state after another, whose own alternatives and continuations are a batch
still. The student is a base model of the demo's shape. One with random weights would end every
episode at once or never, so it is trained for some seconds on the demo's own episodes, until it
acts in whole turns and answers; `--model` takes a finished one. Both sides sample with the same
weights and the same rules: labels have the same noise and must have the same counts (`same_counts`:
rounding may turn a rare token); branches have the same alternatives, and noise of their own behind
them (`success` of either side). `equal_work` counts the sampled tokens of a round.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from measured import write
from sides import PAIRS, compared, rounds

from forethought import __version__
from forethought.config import load_config
from forethought.hindsight.branch import (
    Alternative,
    BranchPoint,
    Measured,
    Student,
    alternatives,
    measure,
    normalised,
)
from forethought.hindsight.trajectory import Trajectory
from forethought.stages import base
from forethought.stages.context import Context, open_run
from forethought.stages.labels import make_student
from forethought.stages.prepare import branch_places, branch_points
from forethought.training.policy import Policy

PEER = "one state at a time"
WARM_UP = {  # seconds of base training: whole turns, not yet right ones
    "base.drill_tokens": "1",
    "base.page_tokens": "1",
    "base.episode_tokens": "60000",
    "base.batch_sequences": "8",
    "base.min_copy_accuracy": "0",
}
TOY = {
    "model.hidden": "64",
    "model.layers": "2",
    "model.ffn": "128",
    "base.episode_tokens": "20000",
    "rollout.max_turn_tokens": "16",
    "rollout.max_turns": "3",
}
UNITS = {"cpu": "CPU ms a {}", "wall": "ms a {}, wall"}


@dataclass(frozen=True, slots=True)
class Work:
    """What both sides execute."""

    student: Student
    trajectories: Sequence[Trajectory]
    points: Sequence[BranchPoint]  # states before a call
    num: int  # alternatives of a state
    k: int  # continuations


def open_demo(folder: Path, quick: bool, model: str | None) -> tuple[Context, Policy]:
    """The demo's configuration and a base model that acts."""
    small = TOY if quick else {}
    context = open_run(load_config("demo/atlas", {**WARM_UP, **small}), folder, resume=False)
    return context, Policy.load(model) if model else base.run(context)


def make_work(context: Context, policy: Policy, states: int, k: int) -> Work:
    """States that stage 0 would draw from as many trajectories."""
    trajectories = context.domain.trajectories(states, policy.tokenizer)
    student = make_student(context, policy)
    places = branch_places(trajectories, states, context.config.seed)
    points = branch_points(trajectories, places, student)
    return Work(student, trajectories, points, context.config.prepare.alternatives, k)


def branches_together(work: Work) -> list[list[Alternative]]:
    """The alternatives of every state, all states in one call."""
    return alternatives(work.points, work.num, work.k, work.student)


def branches_apart(work: Work) -> list[list[Alternative]]:
    """The same, state by state."""
    found = [alternatives([point], work.num, work.k, work.student) for point in work.points]
    return [options for (options,) in found]


def taken(work: Work) -> list[BranchPoint]:
    """The states behind the actions that were taken at the points."""
    return [
        BranchPoint(
            rollout=point.rollout,
            history=point.rollout.turns[: len(point.history) + 1],
            key=point.key,
        )
        for point in work.points
    ]


def labels_together(work: Work) -> list[Measured]:
    """The counts behind every action, all states in one call."""
    return measure(taken(work), work.k, work.student)


def labels_apart(work: Work) -> list[Measured]:
    """The same, state by state."""
    return [measure([point], work.k, work.student)[0] for point in taken(work)]


def executed(found: Sequence[Sequence[Alternative]]) -> list[Alternative]:
    """Alternatives that called a tool, and so have continuations."""
    return [
        option
        for options in found
        for option in options
        if option.turn.parsed.action is not None and option.turn.parsed.action.kind != "answer"
    ]


def rate(measured: Sequence[Measured]) -> float:
    """Share of the continuations that succeed."""
    return round(sum(m.s for m in measured) / max(sum(m.k for m in measured), 1), 4)


def actions(options: Sequence[Alternative]) -> list[tuple[str, str]]:
    """What the alternatives of a state do."""
    return [normalised(each.turn.parsed.action) for each in options if each.turn.parsed.action]


def of_branches(ours: list[list[Alternative]], peer: list[list[Alternative]]) -> dict[str, Any]:
    """How many branches there are, and what both sides made of them."""

    def actions(found: list[list[Alternative]]) -> list[list[tuple[str, str]]]:
        return [
            [
                normalised(option.turn.parsed.action)
                for option in options
                if option.turn.parsed.action
            ]
            for options in found
        ]

    pairs = list(zip(actions(ours), actions(peer), strict=True))
    mine, theirs = executed(ours), executed(peer)
    return {
        "number": (len(mine), len(theirs)),
        "same_alternatives": round(sum(a == b for a, b in pairs) / len(pairs), 4),
        "success": {
            "ours": rate([option.measured for option in mine]),
            "peer": rate([option.measured for option in theirs]),
        },
    }


def of_labels(ours: list[Measured], peer: list[Measured]) -> dict[str, Any]:
    """How many labels there are, and how many have the same counts."""
    same = [(a.s, a.k) == (b.s, b.k) for a, b in zip(ours, peer, strict=True)]
    return {
        "number": (len(ours), len(peer)),
        "same_counts": round(sum(same) / len(same), 4),
        "success": {"ours": rate(ours), "peer": rate(peer)},
    }


PATHS: dict[str, tuple[Callable[[Work], Any], Callable[[Work], Any], Callable[..., Any]]] = {
    "branch": (branches_together, branches_apart, of_branches),
    "label": (labels_together, labels_apart, of_labels),
}


def rows(work: Work, what: str, pairs: int) -> list[dict[str, Any]]:
    """CPU and wall time of one kind of work."""
    together, apart, compare = PATHS[what]
    stats = work.student.backend.stats  # type: ignore[attr-defined]
    found: dict[str, Any] = {}
    tokens: dict[str, int] = {}
    waves: dict[str, int] = {}
    for side, call in (("ours", together), ("peer", apart)):  # not timed: it warms both up
        before = stats.sampled, stats.waves
        found[side] = call(work)
        tokens[side], waves[side] = stats.sampled - before[0], stats.waves - before[1]
    outcome = compare(found["ours"], found["peer"])
    number = dict(zip(("ours", "peer"), outcome.pop("number"), strict=True))
    if not all(number.values()):
        raise SystemExit("the student tries no alternative that calls a tool")
    spent = rounds(pairs, {"ours": partial(together, work), "peer": partial(apart, work)})
    made = []
    for quantity, unit in UNITS.items():
        times = {
            side: [getattr(each, quantity) / number[side] * 1000 for each in spent[side]]
            for side in spent
        }
        x = {"work": what, "states": len(work.points), "k": work.k, "measure": quantity}
        row = {"x": x, **compared(times["ours"], times["peer"], unit.format(what)), **outcome}
        row["peer"] |= {"name": PEER, "version": __version__}
        row["per_minute"] = {
            side: round(60_000 / row[side]["median"], 1) for side in ("ours", "peer")
        }
        row["equal_work"] = {"tokens_ours": tokens["ours"], "tokens_peer": tokens["peer"]}
        row["waves"] = waves
        made.append(row)
    return made


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a toy model, few states")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--model", metavar="FOLDER", help="a base, such as RUN/base/model")
    parser.add_argument("--states", type=int, help="default 64; 6 with --quick")
    parser.add_argument("--k", type=int, help="continuations (default 8; 2 with --quick)")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"{PAIRS} (default) or more")
    args = parser.parse_args(words)
    if args.pairs < PAIRS:
        parser.error(f"--pairs {args.pairs}: fewer than {PAIRS} say too little")
    states, k = args.states or (6 if args.quick else 64), args.k or (2 if args.quick else 8)
    with tempfile.TemporaryDirectory() as folder:
        context, policy = open_demo(Path(folder) / "run", args.quick, args.model)
        work = make_work(context, policy, states, k)
        found = [row for what in PATHS for row in rows(work, what, args.pairs)]
    for row in found:
        told = " ".join(str(value) for value in row["x"].values())
        print(
            f"{told}: {row['ours']['median']} {row['ours']['unit']}, ratio {row['ratio']['value']}"
        )
    write(args.json, __doc__.splitlines()[0], found, pairs=args.pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
