"""Part `correctness` of a GPU record: what only a GPU can show, before anything is timed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch
from gpu_cells import (
    Cell,
    Machine,
    Part,
    backend,
    build,
    keep_deterministic_workspaces,
    largest,
    models,
    recordings,
)
from gpu_train import over, ragged_batch, trainer_of
from gradients import apart, gradient_of, plain_loss
from rollout import Played, Work, episodes, make_work, peer, ties

from forethought.training.policy import Policy
from forethought.types import TrainingSequence

LOGPROB = 1e-3  # nats, float32: sums of other order through all layers
LOGPROB_BF16 = (0.1, 1.0)  # nats: mean and largest, bfloat16 matrices beside float32
GRADIENT = 1e-4  # share of the gradient by which sums of other order may change it, float32


def run(part: Part) -> int:
    """All checks of all models, those behind which a GPU may need a fresh process last."""
    keep_deterministic_workspaces()
    for checks in (CHECKS, LAST_CHECKS):
        _all_models(part, checks)
    return part.end()


def _all_models(part: Part, checks: dict[str, Any]) -> None:
    on = part.on
    for name in models(on.quick):
        model = cache(partial(build, name, on))  # made by the first cell that is not there

        for title, check in checks.items():
            part.do(f"{name}/{title}", lambda check=check, model=model: check(model(), on))


def _work(model: Any, on: Machine) -> Work:
    batch, turns, sampled = (6, 2, 5) if on.quick else (24, 3, 32)
    return make_work(model.config.vocab_size, batch, turns, sampled)


def check_greedy(model: Any, on: Machine) -> Cell:
    """Recorded steps and `generate` take the same likeliest tokens, but for ties."""
    work = _work(model, on)
    mine = episodes(backend(model, "recorded"), work, temperature=0.0).ids
    theirs = peer(model, work, 0.0)
    try:
        found = ties(model, mine, theirs)
    except SystemExit as error:  # what a benchmark ends with is one finding here
        return {"ok": False, "episodes": len(mine), "why": str(error)}
    same = sum(a == b for a, b in zip(mine, theirs, strict=True))
    return {"ok": same + found == len(mine), "episodes": len(mine), "same": same, "ties": found}


def compared(a: Played, b: Played) -> Cell:
    """Two plays of the same work: episodes that are equal, and how far log-probabilities part."""
    gaps, same = [0.0], 0
    for mine, theirs, ours, others in zip(a.ids, b.ids, a.logprobs, b.logprobs, strict=True):
        equal = mine == theirs
        same += equal
        if equal:
            gaps += [abs(x - y) for x, y in zip(ours, others, strict=True)]
    return {
        "episodes": len(a.ids),
        "same": same,
        "same_bytes": a.ids == b.ids and a.logprobs == b.logprobs,
        "logprob_gap": largest(gaps),
    }


def check_paths(model: Any, on: Machine, other: str) -> Cell:
    """Recorded steps sample what steps of the kind `other` do, float32.

    A token that is drawn at the very border between two may part an episode, one in ten at most.
    """
    work = _work(model, on)
    made = backend(model, "recorded")
    a, b = (episodes(one, work, ragged=True) for one in (made, backend(model, other)))
    found = compared(a, b)
    ok = found["same"] >= 0.9 * found["episodes"] and found["logprob_gap"] < LOGPROB
    return {"ok": ok, **found, "captures": recordings(made)}


def check_twice(model: Any, on: Machine) -> Cell:
    """Two runs of recorded steps give the same bytes, in float32 and with bfloat16 matrices."""
    work, found = _work(model, on), {}
    for kind, dtype in (("float32", None), ("bfloat16", torch.bfloat16)):
        a, b = (episodes(backend(model, "recorded", dtype), work, ragged=True) for _ in "ab")
        found[kind] = compared(a, b)["same_bytes"]
    return {"ok": all(found.values()), "same_bytes": found}


@torch.inference_mode()
def _scores(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of ids[1:], float64 on the CPU."""
    row = torch.tensor([ids], device=model.device)
    logits = model(input_ids=row).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(1, row[0, 1:, None])[:, 0].double().cpu()


def check_logprobs(model: Any, on: Machine) -> Cell:
    """The same weights give the same log-probabilities on the CPU, on the device, in a rollout."""
    work = _work(model, on)
    plain = episodes(backend(model, "recorded"), work)
    narrow = episodes(backend(model, "recorded", torch.bfloat16), work)
    at_home = copy.deepcopy(model).to("cpu")
    rows = plain.ids[:3]
    device = [(_scores(model, ids) - _scores(at_home, ids)).abs().max().item() for ids in rows]
    gaps = {
        "rollout": _sampled_gaps(model, plain, work),
        "bf16": _sampled_gaps(model, narrow, work),
    }
    mean = sum(gaps["bf16"]) / len(gaps["bf16"])
    found = {
        "cpu_gap": largest(device),
        "rollout_gap": largest(gaps["rollout"]),
        "bf16_gap_mean": float(f"{mean:.3g}"),
        "bf16_gap": largest(gaps["bf16"]),
    }
    ok = max(found["cpu_gap"], found["rollout_gap"]) < LOGPROB
    ok = ok and mean < LOGPROB_BF16[0] and found["bf16_gap"] < LOGPROB_BF16[1]
    return {"ok": ok, **found}


def _sampled_gaps(model: Any, played: Played, work: Work) -> list[float]:
    """Sampled tokens: log-probability in the rollout beside that of a float32 pass."""
    gaps: list[float] = []
    for n, ids in enumerate(played.ids):
        scores, place, found = _scores(model, ids), len(work.prompts[n]), []
        for replies in work.replies:
            found += scores[place - 1 : place - 1 + work.sampled].tolist()
            place += work.sampled + len(replies[n])
        gaps += [abs(a - b) for a, b in zip(found, played.logprobs[n], strict=True)]
    return gaps


def check_gradients(model: Any, on: Machine) -> Cell:
    """Packed rows, lone rows and padded rows of plain transformers have one gradient.

    Sequences begin alike in threes: packed rows read that once, lone rows each for itself.
    """
    batch = _few_sequences(model)

    def ours(**config: Any) -> tuple[dict[str, float], list[torch.Tensor]]:
        trainer = trainer_of(copy.deepcopy(model), clip_grad_norm=0.0, **config)
        return gradient_of(trainer, batch, over(batch))

    row = 1024  # of several sequences
    told, packed = ours(row_length=row)
    _, narrow = ours(row_length=row, bf16=True)
    _, lone = ours(share_rows=False, share_prefixes=False)
    theirs = copy.deepcopy(model)
    plain_loss(theirs, batch).backward()
    reference = [p.grad for p in theirs.parameters()]
    found = {
        "packed_gap": largest([apart(packed, reference)]),
        "lone_gap": largest([apart(lone, reference)]),
        "bf16_gap": largest([apart(narrow, reference)]),
        "shared_tokens": told["shared_tokens"],
    }
    ok = max(found["packed_gap"], found["lone_gap"]) < GRADIENT and found["bf16_gap"] < 0.1
    return {"ok": ok, **found}


def _few_sequences(model: Any) -> list[TrainingSequence]:
    return ragged_batch(model, num=12, most=300, common=59)


def check_training_twice(model: Any, on: Machine) -> Cell:
    """Two runs of two optimiser steps give the same weights; without the switch it is only told."""
    batch = _few_sequences(model)

    def trained() -> str:
        trainer = trainer_of(copy.deepcopy(model), bf16=True)
        for step in range(2):
            trainer.step(batch, denominators=over(batch), step_index=step)
        policy: Policy = trainer.policy
        return policy.sha256()

    plain = trained() == trained()
    torch.use_deterministic_algorithms(True)
    try:
        switched = trained() == trained()
    finally:
        torch.use_deterministic_algorithms(False)
    return {"ok": switched, "same_bytes": {"as it is": plain, "deterministic": switched}}


def check_fallback(model: Any, on: Machine) -> Cell:
    """A forward pass that waits for its own numbers is decoded step by step, and all goes on."""
    if not on.on_gpu:
        return {"skipped": "recordings need a GPU"}
    work = _work(model, on)
    expected = episodes(backend(model, "growing"), work)
    waiting = copy.deepcopy(model)
    layer = waiting.model.layers[0].mlp
    forward = layer.forward
    layer.forward = lambda x: forward(x) * (1.0 if float(x.sum()) < float("inf") else 2.0)
    refused = backend(waiting, "recorded")
    found = compared(episodes(refused, work), expected)
    after = compared(episodes(backend(model, "recorded"), work), expected)
    ok = refused._static is None and found["same"] == after["same"] == found["episodes"]
    return {"ok": ok, "refused": refused._static is None, "same": found["same"], **after}


CHECKS = {
    "greedy": check_greedy,
    "recorded beside growing": partial(check_paths, other="growing"),
    "recorded beside the same buffers": partial(check_paths, other="again"),
    "rollouts twice": check_twice,
    "log-probabilities": check_logprobs,
    "gradients": check_gradients,
    "training twice": check_training_twice,
}
LAST_CHECKS = {"fallback": check_fallback}
