"""How long do episodes of several turns take beside `generate` that reads the history anew?

    python benchmarks/rollout.py [--quick] --json FILE [--size 1m|3m] [--model FOLDER]

Ours is the in-process back-end of the rollout engine: keys and values live through an episode, so a
turn reads only what is new. The peer calls `model.generate` of transformers once a turn, on the
whole histories, padded on the left. Both sample as many tokens in every turn (no token ends one)
and are given the same observations in between; ours returns log-probabilities, too. The prompts all
differ, so nothing is shared between episodes. Before anything is timed both sides play greedily:
`same_tokens` is the share of sampled tokens that are equal, and an episode that parts anywhere but
at a tie of two tokens (`ties` counts those) ends the benchmark. The limit is the time of one bare
forward pass for each sampled token: same model, batch and context, a cache that is already there,
no prefill, no mask, no sampling; its share is that of our time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import torch
from measured import exponent, write
from sides import PAIRS, SHAPES, build_model, compared, rounds, shapes

from forethought.rollout.backend import Request, Sampling
from forethought.rollout.hf.backend import HFBackend
from forethought.rollout.hf.cache import WaveCache, probe_layout

TURNS = (2, 4, 8)
UNITS = {"cpu": "CPU ms an episode", "wall": "ms an episode, wall"}
TIE = 1e-4
"""Two logits no further apart than this share of the largest one are a tie: sums of other order, in
float32 and through the layers, differ by less."""


@dataclass(frozen=True, slots=True)
class Work:
    """What both sides play."""

    prompts: list[list[int]]  # [B]
    replies: list[list[list[int]]]  # [T][B] forced behind each turn; of the last one nothing
    sampled: int  # tokens a turn

    @property
    def forced(self) -> int:
        """Tokens that were not sampled."""
        return sum(map(len, self.prompts)) + sum(len(x) for turn in self.replies for x in turn)


def make_work(vocabulary: int, batch: int, turns: int, sampled: int) -> Work:
    """Ragged prompts of twice as many tokens as a turn, replies of one and a half times as many."""
    draw = np.random.default_rng(0)

    def some(mean: int) -> list[int]:
        ids = draw.integers(4, vocabulary, draw.integers(mean * 3 // 4, mean * 5 // 4))
        return [int(x) for x in ids]

    replies = [[some(sampled * 3 // 2) for _ in range(batch)] for _ in range(turns - 1)]
    return Work([some(2 * sampled) for _ in range(batch)], [*replies, [[]] * batch], sampled)


@dataclass(frozen=True, slots=True)
class Played:
    """Episodes that a back-end played."""

    ids: list[list[int]]  # whole episodes
    logprobs: list[list[float]]  # of the sampled tokens


def episodes(
    made: HFBackend, work: Work, *, temperature: float = 1.0, ragged: bool = False
) -> Played:
    """Plays all episodes; with `ragged`, turns of one wave are up to a half shorter."""

    async def play() -> Played:
        ids = [list(prompt) for prompt in work.prompts]
        scores: list[list[float]] = [[] for _ in ids]
        for turn, replies in enumerate(work.replies):
            requests = []
            for n, row in enumerate(ids):
                most = work.sampled - (n % 5 * work.sampled // 8 if ragged else 0)
                sampling = Sampling(temperature=temperature, max_tokens=most)
                one = Request(ids=tuple(row), session=str(n), noise=(n, turn), sampling=sampling)
                requests.append(one)
            found = await asyncio.gather(*map(made.generate, requests))
            for n, (done, reply) in enumerate(zip(found, replies, strict=True)):
                ids[n] += [*done.ids, *reply]
                scores[n] += done.logprobs
        return Played(ids, scores)

    return asyncio.run(play())


def ours(model: Any, work: Work, temperature: float = 1.0) -> list[list[int]]:
    """Plays all episodes with the back-end; returns their tokens."""
    backend = HFBackend(model, max_batch=len(work.prompts))
    return episodes(backend, work, temperature=temperature).ids


def peer(model: Any, work: Work, temperature: float = 1.0) -> list[list[int]]:
    """Plays all episodes with `generate`; returns their tokens."""
    from transformers import GenerationConfig

    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    config = GenerationConfig(
        do_sample=temperature > 0, max_new_tokens=work.sampled, pad_token_id=0, **sampling
    )
    model.generation_config = GenerationConfig(pad_token_id=0)  # no end tokens
    episodes = [list(prompt) for prompt in work.prompts]
    for replies in work.replies:
        width = max(map(len, episodes))
        ids = torch.tensor([[0] * (width - len(x)) + x for x in episodes])
        mask = torch.tensor([[0] * (width - len(x)) + [1] * len(x) for x in episodes])
        ids, mask = ids.to(model.device), mask.to(model.device)
        whole = model.generate(ids, attention_mask=mask, generation_config=config)
        for n, reply in enumerate(replies):
            episodes[n] += [*whole[n, width:].tolist(), *reply]
    return episodes


@torch.inference_mode()
def bare(model: Any, work: Work) -> None:
    """One forward pass for each sampled token, at the mean context of the batch."""
    means = [sum(map(len, rows)) // len(rows) for rows in (work.prompts, *work.replies)]
    batch, context = len(work.prompts), means[0]
    cache = WaveCache(probe_layout(model), batch, sum(means) + work.sampled * len(work.replies))
    cache.point(context)
    ids = torch.full((batch, 1), 5)
    for reply in means[1:]:
        for _ in range(work.sampled):
            cache.advance(context)
            position = torch.full((batch, 1), context)
            model(input_ids=ids, position_ids=position, past_key_values=cache, use_cache=True)
            context += 1
        context += reply


def ties(model: Any, mine: list[list[int]], theirs: list[list[int]]) -> int:
    """How many of the greedy episodes part at a tie.

    Raises:
        SystemExit: one parts where the two tokens are not equally likely, or not the likeliest.
    """
    found = 0
    for a, b in zip(mine, theirs, strict=True):
        place = next((n for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)
        if place is None:
            continue
        with torch.inference_mode():
            begin = torch.tensor([a[:place]], device=model.device)
            logits = model(input_ids=begin).logits[0, -1].double()
        lost = logits.max() - logits[[a[place], b[place]]].min()
        if lost > TIE * logits.abs().max():
            raise SystemExit(f"greedy tokens differ by {float(lost):.3g} in their logits: no tie")
        found += 1
    return found


def greedy(model: Any, work: Work) -> dict[str, Any]:
    """What both sides play without chance, compared; that warms both up, too."""
    mine, theirs = (play(model, work, 0.0) for play in (ours, peer))
    pairs = [pair for a, b in zip(mine, theirs, strict=True) for pair in zip(a, b, strict=True)]
    same = sum(x == y for x, y in pairs) - work.forced
    return {
        "same_tokens": round(same / (len(pairs) - work.forced), 4),
        "ties": ties(model, mine, theirs),
    }


def measure(model: Any, name: str, work: Work, pairs: int) -> list[dict[str, Any]]:
    """The rows of one number of turns."""
    batch, turns = len(work.prompts), len(work.replies)
    agreement = greedy(model, work)
    bare(model, work)
    tokens: dict[str, set[int]] = {"ours": set(), "peer": set()}  # of one call

    def counted(side: str, play: Callable[[Any, Work], list[list[int]]]) -> None:
        tokens[side].add(sum(map(len, play(model, work))) - work.forced)

    calls = {"ours": lambda: counted("ours", ours), "peer": lambda: counted("peer", peer)}
    spent = rounds(pairs, {**calls, "limit": lambda: bare(model, work)})
    (of_ours,), (of_peer,) = tokens["ours"], tokens["peer"]  # every call sampled as many
    version = metadata.version("transformers")
    found = []
    for quantity, unit in UNITS.items():
        times = {side: [getattr(x, quantity) / batch * 1000 for x in spent[side]] for side in spent}
        row = {
            "x": {"model": name, "turns": turns, "batch": batch, "measure": quantity},
            **compared(times["ours"], times["peer"], unit),
            **agreement,
            "equal_work": {"tokens_ours": of_ours, "tokens_peer": of_peer, "loss_diff": None},
        }
        row["peer"] |= {"name": "transformers.generate", "version": version}
        least = float(np.median(times["limit"]))
        row["limit"] = {
            "what": f"a bare forward pass for each sampled token, {unit}",
            "value": round(least, 4),
            "share": round(least / float(np.median(times["ours"])), 4),
        }
        found.append(row)
    return found


def main(words: list[str]) -> int:
    """Plays every number of turns and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a toy model, few short episodes")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--size", choices=SHAPES, help="of a Llama from scratch; default 1m")
    parser.add_argument("--model", metavar="M", help="a model folder instead, or a name of the hub")
    parser.add_argument("--turns", help=f"default {','.join(map(str, TURNS))}")
    parser.add_argument("--batch", type=int, help="episodes at a time; default 64, 4 with --quick")
    parser.add_argument("--sampled", type=int, help="tokens a turn; default 32, 4 with --quick")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"{PAIRS} (default) or more")
    args = parser.parse_args(words)
    if args.pairs < PAIRS:
        parser.error(f"--pairs {args.pairs}: fewer than {PAIRS} say too little")
    name = args.model or args.size or ("toy" if args.quick else "1m")
    batch, sampled = (
        args.batch or (4 if args.quick else 64),
        args.sampled or (4 if args.quick else 32),
    )
    turns = [int(x) for x in args.turns.split(",")] if args.turns else TURNS
    model, found = build_model(name), []
    for number in turns:
        print(f"{name}, {number} turns", file=sys.stderr)
        work = make_work(model.config.vocab_size, batch, number, sampled)
        found += measure(model, name, work, args.pairs)
    timed = [row for row in found if row["x"]["measure"] == "cpu"]
    slopes = {
        side: exponent([(row["x"]["turns"], row[side]["median"]) for row in timed])
        for side in ("ours", "peer")
    }
    more = {"exponent": slopes} if slopes["ours"] is not None else {}
    write(
        args.json,
        __doc__.splitlines()[0],
        found,
        sampled=sampled,
        pairs=args.pairs,
        models=shapes(found),
        **more,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
