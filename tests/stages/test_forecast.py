"""The forecast of a run is measured with what the run samples with, inside its budget."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from forethought.cli import main
from forethought.config import load_config
from forethought.domains import make_domain
from forethought.rollout.backend import Completion, Request
from forethought.schema import RunConfig
from forethought.stages import forecast, pipeline
from forethought.stages.forecast import (
    ASSUMED,
    EPISODE_TOKENS,
    SAMPLED_TOKENS,
    EpisodeSize,
    load_of,
    sampling_speed,
    size_of,
)
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama, build_word_tokenizer
from tests.domains.qa_builders import overrides
from tests.training.training_builders import byte_tokenizer


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


def qa_config(**changed: str) -> RunConfig:
    roomy = {"rollout__max_context_tokens": "100000", "prepare__num_episodes": "20"}
    return load_config("search/multihop-smollm2", overrides(**roomy | changed))


def qa_size(**changed: str) -> EpisodeSize:
    config = qa_config(**changed)
    return size_of(config, make_domain(config), byte_tokenizer())


def test_the_forecast_grows_with_the_episodes_of_the_domain() -> None:
    short, long = qa_size(data__page_chars="80"), qa_size(data__page_chars="800")
    assert short.looked_at == long.looked_at == 20
    assert long.tokens - long.sampled > 2 * (short.tokens - short.sampled)
    config = qa_config()
    loads = [load_of(config, size) for size in (short, long)]
    assert loads[1].train_tokens == pytest.approx(
        loads[0].train_tokens * long.tokens / short.tokens
    )
    apart = [load_of(qa_config(sft__samples="turns"), size) for size in (short, long)]
    assert apart[0].train_tokens > loads[0].train_tokens
    few, many = qa_size(rollout__max_turns="2"), qa_size(rollout__max_turns="6")
    assert few.states <= 1 < many.states and few.sampled < many.sampled
    assert load_of(config, few).sample_tokens < load_of(config, many).sample_tokens


def test_the_size_is_that_of_the_sequences_that_stage_2_trains_on() -> None:
    from forethought.hindsight.corpus import CorpusBuilder
    from forethought.hindsight.records import Label, Labelled

    config, tokenizer = qa_config(), byte_tokenizer()
    domain = make_domain(config)
    label = Label(value=0.5, source="outcome", s=1, k=2, prior=0.5)
    builder = CorpusBuilder(
        text_format=domain.text_format, tokenizer=tokenizer, writer=domain.writer
    )
    items = [
        Labelled(trajectory=made, labels=(label,) * len(made.steps))
        for made in domain.trajectories(20, tokenizer)
    ]
    tagged = [builder.tagged(items, number) for number in range(20)]
    written = [each.sequence for each in tagged]
    plain = [builder.imitation(item.trajectory).sequence for item in items]
    size = size_of(config, domain, tokenizer)
    assert size.tokens == pytest.approx(sum(len(each.ids) for each in written) / 20)
    assert size.sampled == pytest.approx(sum(sum(each.ce_weight) for each in written) / 20)
    turns = [len(row.sequence.ids) for each in tagged for row in each.rows()]
    assert size.as_turns == pytest.approx(sum(turns) / 20) and size.as_turns > size.tokens
    assert 0 < size.continued < sum(sum(each.ce_weight) for each in plain) / 20
    assert size.states == sum(item.trajectory.num_calls for item in items) / 20


def test_labels_are_counted_by_turn_and_only_where_they_are_measured() -> None:
    size = EpisodeSize(tokens=1000, sampled=100, states=3.0, continued=10.0, looked_at=9)
    keys = {"prepare__num_episodes": "50", "prepare__continuations": "4"}
    keys |= {"sft__num_episodes": "20", "prepare__branch_states": "0", "sft__relabel": "false"}
    keys |= {"prepare__outcome_only": "true"}

    def sampled(**changed: str) -> float:
        return load_of(qa_config(**keys | changed), size).sample_tokens

    none = sampled()
    assert sampled(prepare__outcome_only="false") - none == 50 * 3 * 4 * 10
    assert sampled(sft__relabel="true", midtrain__epochs="1") - none == 20 * 3 * 4 * 10
    assert sampled(sft__relabel="true", midtrain__epochs="0") == none
    branched = sampled(prepare__branch_states="5", prepare__alternatives="2")
    assert branched - none == 5 * 2 * 4 * 10


def test_rows_without_first_attempts_are_taken_for_typical_ones(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "Who?", "answer": "A", "split": "train"}\n', "utf-8")
    config = load_config("search/multihop-smollm2", overrides(f"plain:{file}"))
    assert size_of(config, make_domain(config), byte_tokenizer()) == ASSUMED
    assert "assumed" in str(ASSUMED)


def test_a_run_of_a_published_model_begins_with_a_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = byte_tokenizer()
    shape = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=8192)
    Policy(build_tiny_llama(len(tokenizer), shape, 0), tokenizer).save(tmp_path / "model")
    monkeypatch.setattr(forecast, "BUDGET_S", 0.0)

    def stopped(*args: object, **keys: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run_pipeline", stopped)
    words = ["run", "search/multihop-smollm2", "--out", str(tmp_path / "run")]
    words += ["--model.name", str(tmp_path / "model")]
    sizes = overrides(rollout__top_k_documents="1", eval__num_tasks="1")
    sizes |= {"model.train_last_layers": "0"}
    assert main([*words, *(word for k, v in sizes.items() for word in (f"--{k}", v))]) == 130
    assert "first attempts); " in capsys.readouterr().err
