"""The forecast of a run is measured with what the run samples with, inside its budget."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from forethought.rollout.backend import Completion, Request
from forethought.schema import RunConfig
from forethought.stages import forecast
from forethought.stages.forecast import EPISODE_TOKENS, SAMPLED_TOKENS, sampling_speed
from forethought.training.tiny import ModelShape, build_tiny_llama, build_word_tokenizer


class Timed:
    """A back-end on a clock of its own, which reads a prompt once for all rows that have it."""

    def __init__(self, write_s: float, read_s: float) -> None:
        self.now = 0.0
        self.requests: list[Request] = []
        self.kept: set[str] = set()
        self._write_s, self._read_s = write_s, read_s

    def monotonic(self) -> float:
        return self.now

    async def generate(self, request: Request) -> Completion:
        num = request.sampling.max_tokens
        known = bool(self.requests) and self.requests[-1].ids == request.ids
        self.now += self._write_s * num + self._read_s * (0 if known else len(request.ids))
        self.requests.append(request)
        self.kept.add(request.session)
        return Completion(ids=(0,) * num, logprobs=(0.0,) * num, stop="length")

    def release(self, session: str) -> None:
        self.kept.discard(session)


def timed(
    monkeypatch: pytest.MonkeyPatch, backend: Timed, *, rows: int, seconds: float = 15.0
) -> float:
    monkeypatch.setattr(forecast, "time", backend)
    return asyncio.run(sampling_speed(backend, rows, 1000, seconds))  # type: ignore[arg-type]


READ = EPISODE_TOKENS - SAMPLED_TOKENS


@pytest.mark.parametrize("write_s", [1e-5, 1e-3, 1e-2])
@pytest.mark.parametrize("reading", [0.1, 1.0])
def test_the_speed_is_that_of_whole_episodes_side_by_side_and_is_found_in_time(
    monkeypatch: pytest.MonkeyPatch, write_s: float, reading: float
) -> None:
    backend = Timed(write_s, reading * write_s)
    speed = timed(monkeypatch, backend, rows=100)
    episode_s = write_s * SAMPLED_TOKENS + reading * write_s * READ
    assert speed == pytest.approx(SAMPLED_TOKENS / episode_s, rel=0.25 * reading)
    few = [r for r in backend.requests if r.sampling.max_tokens == 1]
    assert len({r.ids for r in few}) == len(few) == forecast.PROMPTS
    assert backend.now <= 15.0 + len(few) * (READ + 1) * write_s
    assert not backend.kept


def test_writing_is_timed_in_the_middle_of_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Timed(1e-5, 1e-6)
    timed(monkeypatch, backend, rows=4)
    waves = [r for r in backend.requests if r.sampling.max_tokens > 1]
    assert {len(r.ids) + r.sampling.max_tokens / 2 for r in waves} == {READ + SAMPLED_TOKENS / 2}
    assert len(waves) > 4 and waves[-1].sampling.max_tokens > SAMPLED_TOKENS / 2


def test_one_wave_is_run_whatever_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Timed(1.0, 1.0)
    assert timed(monkeypatch, backend, rows=20, seconds=0.0) > 0
    assert len(backend.requests) == 20 + forecast.PROMPTS


@pytest.mark.parametrize(("max_batch", "num_tasks", "rows"), [(3, 50, 3), (64, 5, 5)])
def test_a_model_is_timed_as_its_run_would_sample_without_a_word_on_stderr(
    max_batch: int,
    num_tasks: int,
    rows: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from forethought.rollout.hf.backend import HFBackend
    from forethought.training.policy import Policy

    tokenizer = build_word_tokenizer(["a", "b", "c"])
    shape = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=256)
    model = build_tiny_llama(len(tokenizer), shape, seed=0)
    # Of many published models one token is both: nothing then tells padding from text.
    model.generation_config.pad_token_id = model.generation_config.eos_token_id = 2
    Policy(model=model, tokenizer=tokenizer).save(tmp_path / "model")
    widths: list[int] = []
    run = HFBackend._run

    def counted(self: HFBackend, requests: list[Request]) -> list[Completion]:
        widths.append(len(requests))
        return run(self, requests)

    monkeypatch.setattr(HFBackend, "_run", counted)
    monkeypatch.setattr(forecast, "BUDGET_S", 0.0)
    config = RunConfig.model_validate(
        {
            "model": {"name": str(tmp_path / "model")},
            "rollout": {"max_batch": max_batch},
            "eval": {"num_tasks": num_tasks},
        }
    )
    capfd.readouterr()
    speed = forecast.measure_speed(config)
    assert speed.train_tokens_per_s > 0 and speed.sample_tokens_per_s > 0
    assert widths == [rows, rows]  # writing, reading
    assert capfd.readouterr().err == ""
