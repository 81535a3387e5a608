"""Noise is a function of its key and the token's number."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forethought.rollout.noise import noise_key, uniforms

KEYS = st.lists(st.integers(-5, 2**40), min_size=1, max_size=4).map(tuple)


@given(KEYS, st.integers(0, 50), st.integers(0, 40))
def test_an_element_depends_on_its_number_and_not_on_where_the_slice_begins(
    key: tuple[int, ...], start: int, n: int
) -> None:
    assert np.array_equal(uniforms(key, start, n), uniforms(key, 0, start + n)[start:])


@given(KEYS, KEYS)
def test_different_keys_give_different_noise(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    assert (a == b) == np.array_equal(uniforms(a, 0, 4), uniforms(b, 0, 4))


def test_parts_of_a_key_do_not_run_together() -> None:
    assert noise_key((1, 23)) != noise_key((12, 3))


def philox(counter: int, key: int) -> list[int]:
    """One block of Philox4x64-10, written out from the paper (Salmon et al. 2011)."""
    full = 2**64 - 1
    words = [counter >> 64 * i & full for i in range(4)]
    keys = [key & full, key >> 64]
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        words = [b >> 64 ^ words[1] ^ keys[0], b & full, a >> 64 ^ words[3] ^ keys[1], a & full]
        keys = [keys[0] + 0x9E3779B97F4A7C15 & full, keys[1] + 0xBB67AE8584CAA73B & full]
    return words


def test_the_written_out_generator_gives_its_published_answer() -> None:
    first = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox(0, 0) == first


@given(KEYS)
def test_noise_is_philox_of_the_hashed_key_on_every_machine(key: tuple[int, ...]) -> None:
    # numpy counts up before each block, so the first block is that of counter 1.
    words = [word for block in (1, 2, 3) for word in philox(block, noise_key(key))]
    assert uniforms(key, 0, 12).tolist() == [(word >> 11) * 2.0**-53 for word in words]


def test_noise_is_uniform() -> None:
    values = np.concatenate([uniforms((3, i), 0, 100) for i in range(200)])
    assert values.min() >= 0.0
    assert values.max() < 1.0
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi-square, 19 degrees, p = .001
