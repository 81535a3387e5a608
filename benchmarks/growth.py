"""How do time and memory of a rollout and one training step grow with turns, group and vocabulary?

    python benchmarks/growth.py [--quick] --json FILE [--vary turns,group,vocabulary,passages]

One point is a group of episodes of one prompt and an optimiser step on them, with a tiny Llama of
random weights; where passages are varied, each turn also asks a search engine over so many. Ours:
the rollout engine's back-end, packed rows, projections of the tokens that train alone, and the
mapped index. The peer is plain transformers and PyTorch: `generate` on the whole padded histories
at every turn, a padded batch, a loss over the whole vocabulary at every position; bm25s by itself.
Both sides sample as many tokens (none ends a turn) and train on the same given episodes:
`loss_diff` is that of their losses. Every point is a process of its own, and its memory is the peak
above what lay there before it began. `exponent` is the slope in logarithms along each axis: 1 =
twice the size takes twice as much.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import retrieval
import rollout
import torch
from child import take_turns
from gradients import plain_loss
from measured import exponent, memory_mb, peak_mb, write
from sides import build_model, compared
from transformers import GenerationConfig, LlamaForCausalLM

from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.tiny import build_word_tokenizer
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import TrainingSequence

NEEDED = (GenerationConfig, LlamaForCausalLM)  # loaded once, before the points part
PEER = "transformers.generate, padded loss"
UNITS = {"cpu": "CPU s", "memory": "MB, peak above the model at rest"}
LEARNING_RATE = 1e-3
ENGINES = {"ours": "forethought", "peer": "bm25s"}  # names in retrieval.py


@dataclass(frozen=True, slots=True)
class Point:
    """Sizes of one point."""

    turns: int = 4
    group: int = 8
    vocabulary: int = 2048
    passages: int = 0  # 0: no search
    sampled: int = 16  # tokens a turn


AXES = {
    "turns": (2, 4, 8, 16),
    "group": (2, 4, 8, 16, 32),
    "vocabulary": (1_024, 4_096, 16_384, 65_536, 151_936),
    "passages": (1_000, 4_000, 16_000, 64_000),
}
QUICK = {"turns": (2, 6), "group": (2, 8), "vocabulary": (1_024, 16_384), "passages": (200, 800)}
SMALL = Point(turns=2, group=4, vocabulary=1_024, sampled=8)
WARM = Point(turns=1, group=1, vocabulary=128, sampled=2)


def make_work(point: Point) -> rollout.Work:
    """A group: the same prompt for all, replies of their own."""
    work = rollout.make_work(point.vocabulary, point.group, point.turns, point.sampled)
    return replace(work, prompts=[work.prompts[0]] * point.group)


def given(point: Point) -> list[tuple[list[int], list[bool]]]:
    """The episodes that train: ids, and which of them stand for sampled ones."""
    work, draw = make_work(point), np.random.default_rng(1)
    found = []
    for n, prompt in enumerate(work.prompts):
        ids, trains = list(prompt), [False] * len(prompt)
        for replies in work.replies:
            turn = [int(x) for x in draw.integers(4, point.vocabulary, point.sampled)]
            ids += [*turn, *replies[n]]
            trains += [True] * len(turn) + [False] * len(replies[n])
        found.append((ids, trains))
    return found


def training_rows(episodes: Sequence[tuple[list[int], list[bool]]]) -> list[TrainingSequence]:
    """What a step of either side trains on."""
    return [
        TrainingSequence(ids=tuple(ids), ce_weight=tuple(map(float, trains)), source="growth")
        for ids, trains in episodes
    ]


def train_ours(model: Any, rows: Sequence[TrainingSequence]) -> float:
    """One step of the trainer; its mean loss over the tokens that train."""
    policy = Policy(model=model, tokenizer=build_word_tokenizer(["word"]))
    optim = OptimConfig(name="adamw", lr=LEARNING_RATE, schedule="constant", warmup_fraction=0.0)
    trainer = Trainer(policy, optim, TrainerConfig(total_steps=1))
    total = sum(sum(row.ce_weight) for row in rows)
    return trainer.step(rows, denominators=Denominators(ce=total), step_index=0)["ce_loss"]


def train_peer(model: Any, rows: Sequence[TrainingSequence]) -> float:
    """The same step as one writes it: padding, and all logits."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    model.train()
    loss = plain_loss(model, rows)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def searches(side: str, point: Point, folder: Path) -> Callable[[], None]:
    """One search a turn and episode, over the index of a side, opened when it is called."""
    corpus = folder / f"{point.passages}.jsonl"
    queries = retrieval.made_queries(corpus, point.turns * point.group)
    engine = retrieval.ENGINES[ENGINES[side]][0]()

    def ask() -> None:
        search = engine.open(str(corpus), index_of(folder, side, point.passages))
        for query in queries:
            search(query)

    return ask


def index_of(folder: Path, side: str, passages: int) -> Path:
    """Where the index of a side lies."""
    return folder / f"{side}-{passages}"


def build_indices(folder: Path, sizes: Sequence[int]) -> None:
    """A made corpus of each size, and the index of each side over it."""
    for size in sizes:
        corpus = folder / f"{size}.jsonl"
        retrieval.generate(corpus, size)
        for side, name in ENGINES.items():
            retrieval.ENGINES[name][0]().build(str(corpus), index_of(folder, side, size))


def play(side: str, point: Point, folder: Path) -> dict[str, Any]:
    """A rollout and a step of one side, measured in this process."""
    model = build_model("toy", point.vocabulary)
    work, rows = make_work(point), training_rows(given(point))
    ask = searches(side, point, folder) if point.passages else None
    forget_peak()
    rest, began = memory_mb("VmRSS"), time.process_time()
    if ask is not None:
        ask()
    played = {"ours": rollout.ours, "peer": rollout.peer}[side](model, work)
    loss = {"ours": train_ours, "peer": train_peer}[side](model, rows)
    spent, peak = time.process_time() - began, peak_mb()
    memory = None if rest is None or peak is None else peak - rest
    tokens = sum(map(len, played)) - work.forced
    return {"cpu": spent, "memory": memory, "tokens": tokens, "loss": loss}


def forget_peak() -> None:
    """The peak begins anew, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def apart(side: str, point: Point, folder: Path) -> dict[str, Any]:
    """`play` in a process of its own.

    Raises:
        SystemExit: it failed.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, side, point, folder))
    process.start()
    sender.close()
    try:
        found: dict[str, Any] = receiver.recv()
    except EOFError:
        raise SystemExit(f"{side} failed at {point}") from None
    finally:
        process.join()
    return found


def _answer(sender: Any, side: str, point: Point, folder: Path) -> None:
    torch.set_num_threads(1)
    play(side, WARM, folder)  # not counted: what a process does once
    sender.send(play(side, point, folder))


def rows(axis: str, point: Point, repeats: int, folder: Path) -> list[dict[str, Any]]:
    """CPU time and memory of both sides at one point."""
    calls = {side: partial(apart, side, point, folder) for side in ENGINES}
    runs = take_turns(repeats, calls)
    mine, theirs = runs["ours"][0], runs["peer"][0]
    found = []
    for measure, unit in UNITS.items():
        values = {side: [run[measure] for run in runs[side]] for side in runs}
        if any(value is None or value <= 0 for side in values for value in values[side]):
            continue
        row = {"x": {"vary": axis, **asdict(point), "measure": measure}}
        row |= compared(values["ours"], values["peer"], unit)
        row["peer"] |= {"name": PEER, "version": metadata.version("transformers")}
        row["equal_work"] = {
            "tokens_ours": mine["tokens"],
            "tokens_peer": theirs["tokens"],
            "loss_diff": round(abs(mine["loss"] - theirs["loss"]), 7),
        }
        found.append(row)
    return found


def slopes(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Axis -> measure -> side -> exponent."""
    made: dict[str, Any] = {}
    for row in found:
        axis, measure = row["x"]["vary"], row["x"]["measure"]
        if measure in made.get(axis, {}):
            continue
        there = [r for r in found if (r["x"]["vary"], r["x"]["measure"]) == (axis, measure)]
        made.setdefault(axis, {})[measure] = {
            side: exponent([(r["x"][axis], r[side]["median"]) for r in there]) for side in ENGINES
        }
    return made


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small sizes an axis, once")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--vary", help=f"default {','.join(AXES)}")
    parser.add_argument("--repeats", type=int, help="of each point (default 3; 1 with --quick)")
    args = parser.parse_args(words)
    axes, base = (QUICK, SMALL) if args.quick else (AXES, Point())
    names = args.vary.split(",") if args.vary else list(axes)
    if unknown := set(names) - set(axes):
        parser.error(f"--vary {', '.join(sorted(unknown))}: not among {', '.join(axes)}")
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "passages" in names:
            build_indices(folder, axes["passages"])
        for axis in names:
            for size in axes[axis]:
                print(f"{axis} {size}", file=sys.stderr)
                point = replace(base, **{axis: size})
                found += rows(axis, point, args.repeats or (1 if args.quick else 3), folder)
    made = slopes(found)
    for axis, measures in made.items():
        for measure, sides in measures.items():
            print(f"{axis} {measure}: ours {sides['ours']}, peer {sides['peer']}")
    write(args.json, __doc__.splitlines()[0], found, exponent=made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
