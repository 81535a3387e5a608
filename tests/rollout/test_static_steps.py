"""Steps that are recorded once and replayed: the same tokens, from buffers that keep their place.

A GPU replays kernels on addresses and runs no Python; `replayed` does the same with operations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from replayed import replayed
from rollout_builders import generate, prompts, request, tiny_model
from test_hf_backend import KINDS, play, reference
from transformers import GPT2Config, GPT2LMHeadModel

from forethought.rollout.backend import Completion
from forethought.rollout.hf import static
from forethought.rollout.hf.backend import HFBackend
from forethought.rollout.hf.static import Capture, StaticSteps, again, column_bucket, row_bucket

CAPTURES = {"again": again, "replayed": replayed}
Rounds = list[list[Completion]]


def static_backend(model: Any, capture: Capture = replayed, **options: Any) -> HFBackend:
    backend = HFBackend(model, **options)
    backend.capturing = lambda: capture
    return backend


def tokens(rounds: Rounds) -> list[list[tuple[int, ...]]]:
    return [[c.ids for c in done] for done in rounds]


def assert_same(found: Rounds, expected: Rounds) -> None:
    assert tokens(found) == tokens(expected)
    for mine, theirs in zip(found, expected, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.stop == b.stop
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets so small that rows leave and columns grow within a turn."""
    monkeypatch.setattr(static, "_FEWEST_ROWS", 2)
    monkeypatch.setattr(static, "_COLUMNS", 8)


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("narrow")
def test_recorded_steps_sample_what_growing_ones_do(kind: str, capture: str) -> None:
    model = tiny_model(kind)
    options: dict[str, Any] = {"temperature": 0.8, "top_k": 20}
    found = play(static_backend(model, CAPTURES[capture]), 3, **options)
    assert_same(found, play(HFBackend(model), 3, **options))


@pytest.mark.parametrize("kind", ["llama-gqa", "qwen3", "neox", "gemma3"])
def test_greedy_turns_of_recorded_steps_equal_generate(kind: str) -> None:
    model = tiny_model(kind)
    trunk = prompts(1, shortest=15)[0]
    asked = [
        request(ids, str(n), n, max_tokens=4 + 3 * n % 8, temperature=0.0)
        for n, ids in enumerate((*prompts(9), trunk[:4], trunk, trunk[:9]))
    ]
    for one, done in zip(asked, generate(static_backend(model), asked), strict=True):
        assert done.ids == reference(model, one.ids, one.sampling.max_tokens)


def twin(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """After a step one buffer is another tensor with the same contents."""
    step = StaticSteps.step

    def replacing(self: StaticSteps, ids: torch.Tensor) -> torch.Tensor:
        logits = step(self, ids)
        fresh = {name: getattr(self._all, name).clone()}
        self._buffers = replace(self._all, **fresh)
        return logits

    monkeypatch.setattr(StaticSteps, "step", replacing)


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize(
    "name", ["store", "ids", "positions", "column", "mask", "places", "logits"]
)
def test_a_buffer_that_is_replaced_instead_of_written_changes_tokens(
    name: str, capture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "_FEWEST_ROWS", 2)
    model = tiny_model("gemma3")
    true = play(HFBackend(model), 3, temperature=1.0)
    assert_same(play(static_backend(model, CAPTURES[capture]), 3, temperature=1.0), true)
    twin(monkeypatch, name)
    found = play(static_backend(model, CAPTURES[capture]), 3, temperature=1.0)
    assert tokens(found) != tokens(true)


def test_nothing_of_a_wave_is_read_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short wave after a long one: what the long one left stands behind the mask."""
    model = tiny_model("llama")
    long = [request((*p, *p, *p), f"a{n}", n, max_tokens=20) for n, p in enumerate(prompts(9))]
    short = [request(p, f"b{n}", n, max_tokens=9) for n, p in enumerate(prompts(3))]
    backend = static_backend(model)
    generate(backend, long)
    expected = generate(HFBackend(model), short)
    assert_same([generate(backend, short)], [expected])

    def unhidden(self: StaticSteps, start: Any, begin: Any = StaticSteps.begin) -> None:
        begin(self, start)
        self._all.mask[:, :, :, start.end :] = 0.0

    monkeypatch.setattr(StaticSteps, "begin", unhidden)
    backend = static_backend(model)
    generate(backend, long)
    assert generate(backend, short) != expected


def counted(backend: HFBackend) -> int:
    assert backend._static is not None
    return backend._static.captures


def test_a_bucket_is_recorded_once_and_outlives_its_wave() -> None:
    backend = static_backend(tiny_model("llama"))
    asked = [request(p, str(n), n, max_tokens=6) for n, p in enumerate(prompts(20))]
    generate(backend, asked)
    made = counted(backend)
    generate(backend, asked)
    assert counted(backend) == made


def test_columns_that_grow_are_recorded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "_COLUMNS", 16)
    model = tiny_model("llama")
    asked = [request(p, str(n), n, max_tokens=90) for n, p in enumerate(prompts(5))]
    backend = static_backend(model)
    assert_same([generate(backend, asked)], [generate(HFBackend(model), asked)])
    steps = backend._static
    assert steps is not None
    assert counted(backend) >= (max(len(p) for p in prompts(5)) + 90) // 16
    assert steps._all.columns == column_bucket(steps.used)


@pytest.mark.usefixtures("narrow")
def test_rows_that_end_leave_at_the_bounds_of_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, int]] = []
    recording = StaticSteps._recording

    def seen(self: StaticSteps, rows: int, columns: int) -> Callable[[], None]:
        shapes.append((rows, columns))
        return recording(self, rows, columns)

    monkeypatch.setattr(StaticSteps, "_recording", seen)
    model = tiny_model("llama-gqa")
    asked = [request(p, str(n), n, max_tokens=n + 2) for n, p in enumerate(prompts(13))]
    found = generate(static_backend(model), asked)
    live = [sum(one.sampling.max_tokens > step for one in asked) for step in range(1, 14)]
    assert [rows for rows, _ in shapes[1:]] == [row_bucket(n) for n in live]
    assert len({rows for rows, _ in shapes}) > 3
    assert_same([found], [generate(HFBackend(model), asked)])


def test_buckets_are_few_and_hold_their_rows() -> None:
    assert [row_bucket(n) for n in (1, 8, 9, 13, 17, 33, 200, 256)] == [
        *(8, 8, 12, 16, 24, 48, 256, 256)
    ]
    assert all(n <= row_bucket(n) < max(9, 1.5 * n) for n in range(1, 600))
    assert [column_bucket(n) for n in (1, 256, 257)] == [256, 256, 512]


def test_a_weight_that_is_another_tensor_is_recorded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output embeddings that are given weights of their own, say."""
    model, other = tiny_model("qwen3"), tiny_model("qwen3", seed=1)
    asked = [request(p, str(n), n, max_tokens=8) for n, p in enumerate(prompts(3))]
    stale, backend = static_backend(model), static_backend(model)
    before = generate(backend, asked)
    monkeypatch.setattr(static, "_addresses", lambda model: ())
    assert generate(stale, asked) == before
    model.get_output_embeddings().weight = torch.nn.Parameter(
        other.get_output_embeddings().weight.detach().clone()
    )
    expected = generate(HFBackend(model), asked)
    for each in (stale, backend):
        each._sessions.clear()
    assert generate(stale, asked) != expected
    monkeypatch.undo()
    assert_same([generate(backend, asked)], [expected])


def test_weights_that_are_written_in_place_need_no_new_recording() -> None:
    model, other = tiny_model("llama"), tiny_model("llama", seed=1)
    asked = [request(p, str(n), n, max_tokens=8) for n, p in enumerate(prompts(3))]
    backend = static_backend(model)
    generate(backend, asked)
    made = counted(backend)
    model.load_state_dict(other.state_dict())
    backend._sessions.clear()
    assert_same([generate(backend, asked)], [generate(HFBackend(other), asked)])
    assert counted(backend) == made


def test_a_forward_pass_that_waits_for_its_numbers_is_decoded_step_by_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny_model("llama")
    layer, forward = model.model.layers[0].mlp, model.model.layers[0].mlp.forward
    layer.forward = lambda x: forward(x) * (1.0 if float(x.sum()) < 1e9 else 2.0)
    backend = static_backend(model)
    asked = [request(p, str(n), n, max_tokens=5) for n, p in enumerate(prompts(3))]
    found = generate(backend, asked)
    assert backend._static is None
    assert "step by step" in capsys.readouterr().err
    assert found == generate(HFBackend(model), asked)


@pytest.mark.usefixtures("narrow")
def test_recorded_steps_pause_share_prompts_and_continue_from_a_parent() -> None:
    model = tiny_model("gemma3")
    ids = prompts(4)
    asked = [
        replace(request(ids[n % 4], str(n), n, max_tokens=3 + 2 * n), may_pause=True)
        for n in range(9)
    ]
    child = replace(request((*ids[3], 5, 9), "child", 1, max_tokens=6), parent="3")
    backends = [kind(model, pause_below=0.5) for kind in (HFBackend, static_backend)]
    expected, found = ([generate(b, asked), generate(b, [child])] for b in backends)
    assert any(c.stop == "pause" for c in found[0])
    assert_same(found, expected)
    assert backends[0].stats == backends[1].stats


def test_closing_gives_the_buffers_back() -> None:
    model = tiny_model("llama")
    backend = static_backend(model)
    asked = [request(p, str(n), n, max_tokens=5) for n, p in enumerate(prompts(3))]
    before = generate(backend, asked)
    asyncio.run(backend.close())
    assert backend._static is not None and backend._static._buffers is None
    assert generate(backend, asked) == before


def test_idle_rows_ask_for_no_position_that_the_model_lacks() -> None:
    """One row ends at the last position while five go on; a table of positions ends there."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=61, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(config).eval()
    asked = [request(range(2, 32), "full", 0, max_tokens=9)]
    asked += [request(p, str(n), n, max_tokens=20) for n, p in enumerate(prompts(5))]
    found = [generate(kind(model), asked) for kind in (HFBackend, static_backend)]
    assert_same(found[:1], found[1:])
    assert len(found[0][0].ids) == 2
