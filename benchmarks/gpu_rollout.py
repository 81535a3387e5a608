"""Part `rollout` of a GPU record: tokens a second beside `generate`, and what a step must read."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from gpu_cells import (
    Cell,
    Machine,
    Part,
    backend,
    build,
    ceilings,
    hidden_weights,
    models,
    recordings,
)
from rollout import Work, episodes, make_work, peer

SIDES = ("recorded", "growing", "generate")


def run(part: Part) -> int:
    """Every model and batch."""
    on = part.on
    part.do("ceilings", lambda: ceilings(on))
    speed = part.cells.get("ceilings", {}).get("copy_gb_s")
    for name in models(on.quick):
        model = cache(partial(build, name, on))  # made by the first cell that is not there

        for batch in (3, 9) if on.quick else (64, 256):
            for side in SIDES:
                title = f"{name}/{batch}/{side}"
                part.do(title, lambda m=model, b=batch, s=side: _side(m(), on, b, s))
            title = f"{name}/{batch}/limit"
            part.do(title, lambda m=model, b=batch: _limit(m(), on, b, speed))
    return part.end()


def _work(model: Any, on: Machine, batch: int) -> Work:
    turns, sampled = (2, 4) if on.quick else (3, 64)
    return make_work(model.config.vocab_size, batch, turns, sampled)


def _side(model: Any, on: Machine, batch: int, side: str) -> Cell:
    """Sampled tokens a second over whole episodes, prompts and replies included.

    Ours has matrices in bfloat16 and a float32 head; `generate` is given the whole model in
    bfloat16. A back-end plays as it does in a run: its first episodes make the recordings, which
    are timed apart.
    """
    work = _work(model, on, batch)
    tokens, found = batch * work.sampled * len(work.replies), {}
    if side == "generate":
        narrow = copy.deepcopy(model).to(torch.bfloat16)
        play: Callable[[], Any] = lambda: peer(narrow, work)  # noqa: E731
    else:
        made = backend(model, side, torch.bfloat16)

        def play() -> None:
            for n in range(batch):
                made.release(str(n))  # as a fresh back-end: nothing is known of the episodes
            episodes(made, work)

        found["first_s"] = round(on.seconds(play), 3)
        found["captures"] = recordings(made)
    taken = on.median(play, 1 if on.quick else 3)
    return {
        "tokens": tokens,
        "tokens_per_s": round(tokens / taken, 1),
        "ms_per_step": round(1000 * taken * batch / tokens, 4),
        **found,
    }


def _limit(model: Any, on: Machine, batch: int, speed: float | None) -> Cell:
    """Time of a decode step that only reads what it must, at the speed of a copy.

    That is every matrix once in bfloat16, the float32 head once, and the keys and values of the
    mean context of each row.
    """
    config, work = model.config, _work(model, on, batch)
    prompt = sum(map(len, work.prompts)) / batch
    replies = [sum(map(len, turn)) / batch for turn in work.replies]
    lengths, at = [], prompt
    for reply in replies:
        lengths.append(at + work.sampled / 2)
        at += work.sampled + reply
    context = sum(lengths) / len(lengths)
    wide = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    cache = 2 * 2 * config.num_hidden_layers * wide * context * batch
    weights = 2 * hidden_weights(model) + 4 * config.vocab_size * config.hidden_size
    found: Cell = {"context": round(context, 1), "gb_per_step": round((weights + cache) / 1e9, 6)}
    if speed:
        found["ms_per_step"] = round((weights + cache) / speed / 1e6, 4)
        found["tokens_per_s"] = round(batch / found["ms_per_step"] * 1000, 1)
    return found
