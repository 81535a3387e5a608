"""Several attempts at a task: the chance that one of k of them succeeds."""

from __future__ import annotations

from math import comb


def pass_at_k(num_attempts: int, num_right: int, k: int) -> float:
    """The chance that k of the attempts, drawn without replacement, hold a right one.

    1 - C(n - c, k) / C(n, k): an unbiased estimate of the chance that k new attempts do (Chen et
    al., arXiv 2107.03374). `1 - (1 - c / n)^k` is biased downwards.

    Args:
        num_attempts: n, at least k.
        num_right: c of them.
        k: how many are drawn, at least 1.
    """
    assert 1 <= k <= num_attempts and 0 <= num_right <= num_attempts
    return 1.0 - comb(num_attempts - num_right, k) / comb(num_attempts, k)


def shown(most: int) -> list[int]:
    """The k that are reported for `most` attempts: powers of two from 2, and `most` itself."""
    powers = [2**power for power in range(1, most.bit_length()) if 2**power < most]
    return [*powers, most]
