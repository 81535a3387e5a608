"""Drawing by inversion gives the distribution that temperature, top-k and top-p define."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rollout_builders import request

from forethought.rollout.hf.sampler import RowSampler, truncate

PROBS = torch.tensor([0.1, 0.0, 0.4, 0.05, 0.25, 0.2], dtype=torch.float64)


def expected(temperature: float, top_k: int, top_p: float) -> list[float]:
    """The target distribution, by its definition in plain Python."""
    weights = [p ** (1 / temperature) if p else 0.0 for p in PROBS.tolist()]
    total = sum(weights)
    order = sorted(range(6), key=lambda i: -weights[i])
    kept, mass = set(), 0.0
    for rank, i in enumerate(order):
        if (top_k and rank >= top_k) or mass >= top_p:
            break
        kept.add(i)
        mass += weights[i] / total
    left = sum(weights[i] for i in kept)
    return [weights[i] / left if i in kept else 0.0 for i in range(6)]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.0, 3, 1.0), (1.0, 0, 0.7), (2.0, 4, 0.9)],
)
def test_frequencies_are_those_of_the_target(temperature: float, top_k: int, top_p: float) -> None:
    number = 8000
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    requests = [request((1,), "a", n, **options) for n in range(number)]
    sampler = RowSampler(requests, [1] * number, "cpu")
    logits = PROBS.log().float().expand(number, -1)
    ids, logprobs = sampler.draw(logits, 0)
    counts = torch.bincount(ids, minlength=6) / number
    target = expected(temperature, top_k, top_p)
    for share, p in zip(counts.tolist(), target, strict=True):
        assert abs(share - p) <= 4.5 * (p * (1 - p) / number) ** 0.5
    full = (logits / temperature).log_softmax(-1).gather(1, ids[:, None]).squeeze(1)
    assert torch.allclose(logprobs, full, atol=1e-5)


def test_greedy_rows_take_the_mode_and_report_temperature_one() -> None:
    requests = [request((1,), "a", 1, temperature=0.0), request((1,), "b", 2, temperature=0.5)]
    sampler = RowSampler(requests, [1, 1], "cpu")
    ids, logprobs = sampler.draw(PROBS.log().float().expand(2, -1), 0)
    assert ids[0] == 2
    assert logprobs[0].exp().item() == pytest.approx(0.4, abs=1e-6)


def test_truncation_keeps_at_least_the_likeliest_token() -> None:
    kept = truncate(PROBS.float()[None], torch.tensor([[1]]), torch.tensor([[1e-9]]))
    assert kept.nonzero().tolist() == [[0, 2]]


def test_rows_that_stay_keep_their_noise() -> None:
    requests = [request((1,), "a", n) for n in range(4)]
    logits = torch.zeros((4, 50))
    whole, _ = RowSampler(requests, [3] * 4, "cpu").draw(logits, 2)
    sampler = RowSampler(requests, [3] * 4, "cpu")
    sampler.keep(torch.tensor([1, 3]))
    part, _ = sampler.draw(logits[:2], 2)
    assert part.tolist() == whole[[1, 3]].tolist()
