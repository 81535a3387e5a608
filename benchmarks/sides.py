"""Two sides that take turns: their times, and a model that both run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from child import take_turns
from measured import ratio, spread

from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama

VOCABULARY = 2048
SHAPES = {  # of about 0.1, 1 and 3 million parameters with a vocabulary of 2048
    "toy": ModelShape(hidden=32, layers=2, heads=2, ffn=64),
    "1m": ModelShape(),
    "3m": ModelShape(hidden=192, layers=6, heads=6, ffn=576),
}
WORDIER = {"32k": ("1m", 32_000)}  # shapes with another vocabulary
PAIRS = 5


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call took."""

    cpu: float  # seconds of all threads of this process
    wall: float  # seconds


def build_model(name: str, vocabulary: int = VOCABULARY) -> Any:
    """A Llama of `SHAPES` with random weights, or a model folder; for inference until told."""
    if name in SHAPES:
        return build_tiny_llama(vocabulary, SHAPES[name], seed=0).eval()
    return Policy.load(name).model


def shapes(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Width, layers, heads and inner width of the models in rows that are not a folder's."""
    names = {row["x"]["model"] for row in rows}
    known = SHAPES | {name: SHAPES[shape] for name, (shape, _) in WORDIER.items()}
    return {name: asdict(known[name]) for name in sorted(names & known.keys())}


def rounds(num: int, calls: Mapping[str, Callable[[], Any]]) -> dict[str, list[Spent]]:
    """What all calls took, `num` times each, in turns."""

    def timed(call: Callable[[], Any]) -> Spent:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        return Spent(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)

    return take_turns(num, {name: partial(timed, call) for name, call in calls.items()})


def compared(ours: Sequence[float], peer: Sequence[float], unit: str) -> dict[str, Any]:
    """The cells `ours`, `peer` and `ratio` of a row; the caller names the peer."""
    return {
        "ours": spread(ours, unit),
        "peer": spread(peer, unit),
        "ratio": ratio(peer, ours),
    }
