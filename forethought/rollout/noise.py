"""Sampling noise that depends on its key and the token's number, and on nothing else.

A uniform is a function of `(noise key, position)`: the batch it is drawn in, the order of requests
and a restart do not change it. Two policies that are run with the same keys share their noise,
which makes paired comparisons tighter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# 64-bit words in one block of Philox4x64 (Salmon et al. 2011, "Parallel random numbers").
_LANES = 4


def noise_key(noise: Sequence[int]) -> int:
    """128-bit key of a tuple of integers: equal tuples give equal keys on every machine."""
    text = ",".join(str(int(part)) for part in noise)
    return int.from_bytes(hashlib.blake2b(text.encode("ascii"), digest_size=16).digest(), "little")


def uniforms(noise: Sequence[int], start: int, n: int) -> NDArray[np.float64]:
    """Uniforms number `start` to `start + n - 1` of a key.

    Args:
        noise: the key, for example (run seed, task, rollout).
        start: number of the first one, from 0.
        n: how many.

    Returns:
        [n] float64 in [0, 1); element i depends on `noise` and `start + i` only.
    """
    block, lane = divmod(start, _LANES)
    raw = np.random.Philox(key=noise_key(noise), counter=block).random_raw(lane + n)
    # The upper 53 bits, as in numpy's own `random`.
    return (raw[lane:] >> np.uint64(11)).astype(np.float64) * 2.0**-53
