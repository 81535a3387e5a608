"""How far is the stated q from the truth? Continuations from the states in which it was written.

    python studies/truth_of_q.py RUN [--stage rl] [--states 300] [--k 32] --json FILE

One turn of each of N validation tasks is drawn by the seed; the policy goes on K times from just
behind the block, at the training temperature, in a replay of the environment. The share that
succeeds is the truth of that state up to binomial noise, whose mean absolute size is given beside
the error. A replayed world is the one that was drawn: where a page is gone it is gone every time.
So truths are near 0 or 1, and an estimate that knows the law and not the draw is far from both;
`mae_calibrated` is what its error would be if it were right about every chance, 2 q (1 - q).
"""

from __future__ import annotations

import argparse
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from forethought.config import read_resolved
from forethought.evals.run import judge_all, make_starts, roll_out
from forethought.hindsight.branch import BranchPoint, measure
from forethought.rollout.hf.backend import backend_for
from forethought.runlog import RunPaths
from forethought.stages.context import open_run, set_threads
from forethought.stages.evaluate import setting_for
from forethought.stages.labels import make_student
from forethought.training.policy import Policy
from forethought.types import Rollout, Span, Turn


def block_ids(turn: Turn) -> tuple[int, ...]:
    """The turn up to the end of its confidence element; () where there is none to be read."""
    if turn.parsed.foresight is None or turn.parsed.foresight.q is None:
        return ()
    last = max(n for n, span in enumerate(turn.token_spans) if span is Span.CONFIDENCE)
    return turn.ids[: last + 1]


def drawn(rollout: Rollout, seed: int) -> int | None:
    """The turn of a rollout to look at: any with a readable number."""
    readable = [n for n, turn in enumerate(rollout.turns) if block_ids(turn)]
    rng = random.Random(f"truth/{seed}/{rollout.task.id}")
    return rng.choice(readable) if readable else None


def noise_floor(share: float, k: int) -> float:
    """E|s/k - p| of a binomial with p = share, by its normal approximation."""
    return math.sqrt(2.0 * share * (1.0 - share) / (math.pi * k))


def measured(run: Path, stage: str, states: int, k: int) -> dict[str, Any]:
    """The rows of the study and its means."""
    paths = RunPaths(run)
    config = read_resolved(paths.resolved)
    set_threads(config)
    context = open_run(config, run, resume=True)
    policy = Policy.load(str(context.stage_dir(stage) / "model"))
    setting = setting_for(
        context, temperature=config.rl.temperature, mode=context.prompt_after(stage), label=stage
    )
    # Behind the tasks that a run evaluates and that its controls are fitted on.
    tasks = context.domain.tasks("val", states, offset=2000)
    backend = backend_for(policy, config.rollout)
    rollouts = roll_out(setting, make_starts(setting, tasks), backend, policy.tokenizer)
    episodes = judge_all(setting, rollouts, policy)
    places = [(n, drawn(rollout, config.seed)) for n, rollout in enumerate(rollouts)]
    found = [(n, turn) for n, turn in places if turn is not None and rollouts[n].error is None]
    points = [
        BranchPoint(
            rollout=rollouts[n],
            history=rollouts[n].turns[:turn],
            key=n,
            prefix_ids=block_ids(rollouts[n].turns[turn]),
        )
        for n, turn in found
    ]
    # The student of the labels, writing blocks and at the temperature of stage 3.
    student = replace(make_student(context, policy), engine=setting.engine, mode=setting.mode)
    rows = []
    for (n, turn), result in zip(found, measure(points, k, student), strict=True):
        said = episodes[n].turns[turn]
        if said.foresight is None or said.q_expected is None or not result.k:
            continue
        stated = {"q": said.foresight.q, "expected": said.q_expected}
        rows.append({"turn": turn, **stated, "s": result.s, "k": result.k})
    return {"run": str(run), "stage": stage, "means": means(rows), "rows": rows}


def means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Errors of the expected and of the stated q, over all states, first turns and later ones."""
    parts = {
        "all": rows,
        "first": [row for row in rows if row["turn"] == 0],
        "later": [row for row in rows if row["turn"] > 0],
    }
    made: dict[str, Any] = {}
    for name, part in parts.items():
        if not part:
            continue
        share = np.array([row["s"] / row["k"] for row in part])
        expected = np.array([row["expected"] for row in part])
        stated = np.array([row["q"] for row in part])
        made[name] = {
            "states": len(part),
            "success": round(float(share.mean()), 4),
            "expected_q": round(float(expected.mean()), 4),
            "mae_expected": round(float(np.abs(expected - share).mean()), 4),
            "mae_stated": round(float(np.abs(stated - share).mean()), 4),
            "mae_calibrated": round(float((2 * expected * (1 - expected)).mean()), 4),
            "mae_constant": round(float(np.abs(share.mean() - share).mean()), 4),
            "noise_floor": round(
                float(
                    np.mean([noise_floor(s, row["k"]) for s, row in zip(share, part, strict=True)])
                ),
                4,
            ),
            "correlation": round(float(np.corrcoef(expected, share)[0, 1]), 4),
        }
    return made


def main() -> None:
    """Measures one stage of a run and prints the means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--stage", default="rl")
    parser.add_argument("--states", type=int, default=300)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    found = measured(args.run, args.stage, args.states, args.k)
    args.json.write_text(json.dumps(found), encoding="utf-8")
    print(json.dumps(found["means"], indent=1))


if __name__ == "__main__":
    main()
