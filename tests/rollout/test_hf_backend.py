"""The in-process back-end against plain forward passes and `generate`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import torch
from rollout_builders import VOCAB, byte_tokenizer, generate, prompts, request, tiny_model

from forethought.errors import InputError, MissingError
from forethought.rollout.backend import Completion, Request, Sampling
from forethought.rollout.hf import wave
from forethought.rollout.hf.backend import HFBackend

KINDS = ("llama", "llama-gqa", "qwen3", "neox", "mistral", "gemma3")
FORCED = ((5, 9), (11,), (3, 4, 8, 6), (2, 2))


def reference(model: Any, ids: tuple[int, ...], new: int) -> tuple[int, ...]:
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones((1, len(ids)), dtype=torch.long),
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    return tuple(out[0, len(ids) :].tolist())


def play(backend: HFBackend, turns: int, **sampling: Any) -> list[list[Completion]]:
    """Ragged multi-turn play with forced ids between the turns; `max_tokens` differs by row."""
    sequences = [list(p) for p in prompts(9)]
    rounds = []
    for turn in range(turns):
        requests = [
            request(ids, str(n), n, max_tokens=4 + (3 * n + turn) % 8, **sampling)
            for n, ids in enumerate(sequences)
        ]
        rounds.append(generate(backend, requests))
        for n, (ids, done) in enumerate(zip(sequences, rounds[-1], strict=True)):
            ids += [*done.ids, *FORCED[(n + turn) % len(FORCED)]]
    return rounds


def test_a_listener_hears_every_token_of_its_request_in_order_and_changes_none() -> None:
    heard: dict[tuple[str, int], list[int]] = {}
    turns: dict[str, list[int]] = {}

    def listen(request: Request, token: int) -> None:
        lengths = turns.setdefault(request.session, [])
        if len(request.ids) not in lengths:
            lengths.append(len(request.ids))
        heard.setdefault((request.session, len(lengths) - 1), []).append(token)

    model = tiny_model("llama")
    rounds = play(HFBackend(model, on_token=listen), 3, temperature=1.0)
    assert rounds == play(HFBackend(model), 3, temperature=1.0)
    for turn, done in enumerate(rounds):
        for n, completion in enumerate(done):
            assert tuple(heard.pop((str(n), turn))) == completion.ids
    assert not heard


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_turns_equal_generate_token_for_token(kind: str) -> None:
    model = tiny_model(kind)
    sequences = [list(p) for p in prompts(9)]
    for turn, done in enumerate(play(HFBackend(model), 3, temperature=0.0)):
        for n, completion in enumerate(done):
            budget = 4 + (3 * n + turn) % 8
            assert completion.ids == reference(model, tuple(sequences[n]), budget)
            assert completion.stop == "length"
            sequences[n] += [*completion.ids, *FORCED[(n + turn) % len(FORCED)]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_log_probabilities_are_those_of_a_full_forward_pass(kind: str, temperature: float) -> None:
    model = tiny_model(kind)
    sequences = [list(p) for p in prompts(9)]
    differences = []
    rounds = play(HFBackend(model), 3, temperature=temperature, top_p=0.9, top_k=20)
    for turn, done in enumerate(rounds):
        for n, completion in enumerate(done):
            whole = [*sequences[n], *completion.ids]
            with torch.inference_mode():
                logits = model(torch.tensor([whole])).logits[0].float()
            expected = (logits / (temperature or 1.0)).log_softmax(-1)
            for k, (token, logprob) in enumerate(
                zip(completion.ids, completion.logprobs, strict=True)
            ):
                known = expected[len(sequences[n]) + k - 1, token].item()
                differences.append(abs(known - logprob))
            sequences[n] += [*completion.ids, *FORCED[(n + turn) % len(FORCED)]]
    assert sum(differences) / len(differences) < 1e-4
    assert max(differences) < 1e-3


def test_greedy_ids_do_not_depend_on_batch_or_prefill_bounds() -> None:
    model = tiny_model("llama")
    whole = play(HFBackend(model), 3, temperature=0.0)
    for max_batch, prefill_tokens in ((1, 2048), (4, 2048), (256, 1), (256, 17)):
        backend = HFBackend(model, max_batch=max_batch)
        backend.prefill_tokens = prefill_tokens
        rounds = play(backend, 3, temperature=0.0)
        assert [[c.ids for c in r] for r in rounds] == [[c.ids for c in r] for r in whole]


def test_two_runs_sample_the_same_and_noise_makes_the_difference() -> None:
    model = tiny_model("llama-gqa")
    assert play(HFBackend(model), 3) == play(HFBackend(model), 3)
    ids = prompts(1)[0]
    requests = [request(ids, str(n), n, max_tokens=12, temperature=2.0) for n in (1, 1, 2)]
    a, b, c = generate(HFBackend(model), requests)
    assert a.ids == b.ids
    assert a.ids != c.ids


def test_noise_of_a_token_is_keyed_by_its_position_in_the_sequence() -> None:
    model = tiny_model("llama")
    ids = prompts(1)[0]
    whole = generate(HFBackend(model), [request(ids, "a", 3, max_tokens=10)])[0]
    begin = (*ids, *whole.ids[:4])
    rest = generate(HFBackend(model), [request(begin, "b", 3, max_tokens=6)])[0]
    assert rest.ids == whole.ids[4:]


def test_a_session_prefills_only_what_is_new() -> None:
    backend = HFBackend(tiny_model("llama"))
    ids = prompts(1)[0]
    first = generate(backend, [request(ids, "a", max_tokens=6)])[0]
    assert backend.stats.prefilled == len(ids)
    after = (*ids, *first.ids, 5, 6, 7)
    generate(backend, [request(after, "a", max_tokens=2)])
    # The last sampled token has not been through the model yet.
    assert backend.stats.prefilled == len(ids) + 1 + 3
    backend.release("a")
    generate(backend, [request(after, "a", max_tokens=2)])
    assert backend.stats.prefilled == len(ids) + 1 + 3 + len(after)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "gemma3"])
def test_a_child_takes_over_the_common_beginning_of_its_parent(kind: str) -> None:
    model = tiny_model(kind)
    backend = HFBackend(model)
    ids = prompts(1, shortest=8)[0]
    generate(backend, [request(ids, "parent", max_tokens=4)])
    before = backend.stats.prefilled
    branch = (*ids[:5], 9, 9, 9)
    child = replace(request(branch, "child", temperature=0.0, max_tokens=5), parent="parent")
    done = generate(backend, [child])[0]
    assert backend.stats.prefilled - before == 3
    assert done.ids == reference(model, branch, 5)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma3"])
def test_equal_prompts_of_a_wave_are_prefilled_once(kind: str) -> None:
    model = tiny_model(kind)
    backend = HFBackend(model)
    a, b = prompts(2)
    requests = [request(a if n % 3 else b, str(n), n, max_tokens=5) for n in range(9)]
    shared = generate(backend, requests)
    assert backend.stats.prefilled == len(a) + len(b)
    alone = [generate(HFBackend(model), [r])[0] for r in requests]
    assert [c.ids for c in shared] == [c.ids for c in alone]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral", "gemma3"])
@pytest.mark.parametrize("prefill_tokens", [2048, 20])
def test_prompts_inside_other_prompts_are_read_with_them(kind: str, prefill_tokens: int) -> None:
    model = tiny_model(kind)
    backend = HFBackend(model)
    backend.prefill_tokens = prefill_tokens
    trunk, other = tuple(3 + 7 * n % 40 for n in range(23)), (9, 2, 9)
    asked = [trunk[:5], other, trunk, trunk[:14], trunk[:5], (*trunk[:14], 50)]
    for turn in range(2):  # the second turn reads what the first one handed over
        requests = [
            request(ids, str(n), n, max_tokens=4 + n, temperature=0.0)
            for n, ids in enumerate(asked)
        ]
        before = backend.stats.prefilled
        done = generate(backend, requests)
        if turn == 0:  # three whole prompts, and the last ids of two beginnings
            read = len(trunk) + len(other) + 15 + 2
            assert backend.stats.prefilled - before == read
        assert [c.ids for c in done] == [
            reference(model, ids, 4 + n) for n, ids in enumerate(asked)
        ]
        asked = [(*ids, *c.ids, 6, 1) for ids, c in zip(asked, done, strict=True)]


def test_rows_with_different_sampling_keep_to_their_own() -> None:
    model = tiny_model("llama")
    ids = prompts(3)
    requests = [
        request(ids[0], "a", 1, max_tokens=5, temperature=0.0),
        request(ids[1], "b", 2, max_tokens=9, temperature=1.5, top_k=3),
        request(ids[2], "c", 3, max_tokens=7, top_p=0.5),
    ]
    together = generate(HFBackend(model), requests)
    assert [c.ids for c in together] == [generate(HFBackend(model), [r])[0].ids for r in requests]


def test_a_stop_id_ends_the_turn_and_stays_in_it() -> None:
    model = tiny_model("llama")
    ids = prompts(1)[0]
    free = generate(HFBackend(model), [request(ids, "a", temperature=0.0, max_tokens=12)])[0]
    last = free.ids[4]
    cut = free.ids.index(last) + 1
    sampling = {"temperature": 0.0, "max_tokens": 12, "stop_ids": (last,)}
    done = generate(HFBackend(model), [request(ids, "a", **sampling)])[0]
    assert done.ids == free.ids[:cut]
    assert done.stop == "stop"


def test_a_stop_string_may_be_spread_over_tokens() -> None:
    tokenizer = byte_tokenizer(["plain"], size=257)
    torch.manual_seed(0)
    model = tiny_model("llama")
    model.resize_token_embeddings(len(tokenizer))
    text = "go </s> on"
    backend = HFBackend(model, tokenizer=tokenizer)
    rule = backend._stop_rule
    sampling = Sampling(stop_strings=("</s>",))
    ids = tokenizer.encode(text, add_special_tokens=False)
    over = [rule.is_over(sampling, ids[:n]) for n in range(1, len(ids) + 1)]
    assert over.index(True) == text.index("</s>") + 3
    with pytest.raises(InputError, match="tokenizer"):
        generate(HFBackend(model), [request((1,), "a", stop_strings=("</s>",))])


def test_the_model_s_positions_bound_a_turn() -> None:
    model = tiny_model("llama")  # 128 positions
    ids = tuple(2 + n % 50 for n in range(120))
    done = generate(HFBackend(model), [request(ids, "a", max_tokens=50)])[0]
    assert len(done.ids) == 8
    assert done.stop == "length"
    with pytest.raises(InputError, match="128 ids"):
        generate(HFBackend(model), [request(range(128), "a", max_tokens=1)])


def test_new_weights_drop_the_cache_and_carry_their_version() -> None:
    model, other = tiny_model("llama"), tiny_model("llama", seed=1)
    backend = HFBackend(model)
    ids = prompts(1)[0]
    call = request(ids, "a", temperature=0.0, max_tokens=6)
    assert generate(backend, [call])[0].policy_version == 0
    asyncio.run(backend.load_weights(other.state_dict(), 4))
    done = generate(backend, [call])[0]
    assert done.policy_version == 4
    assert done.ids == reference(other, ids, 6)
    with pytest.raises(InputError, match="weights"):
        asyncio.run(backend.load_weights({"nothing": torch.zeros(1)}, 5))


def test_a_copy_in_another_type_leaves_the_model_alone() -> None:
    model = tiny_model("llama-gqa")
    backend = HFBackend(model, dtype=torch.bfloat16)
    done = generate(
        backend, [request(p, str(n), n, max_tokens=6) for n, p in enumerate(prompts(4))]
    )
    assert all(len(c.ids) == 6 for c in done)
    assert next(model.parameters()).dtype == torch.float32
    asyncio.run(backend.load_weights(tiny_model("llama-gqa", seed=2), 1))
    assert generate(backend, [request(prompts(1)[0], "a", max_tokens=3)])[0].policy_version == 1


def test_training_mode_is_given_back() -> None:
    model = tiny_model("neox").train()
    generate(HFBackend(model), [request(prompts(1)[0], "a", max_tokens=3)])
    assert model.training


def test_requests_of_one_turn_of_the_loop_share_a_wave() -> None:
    backend = HFBackend(tiny_model("llama"))
    generate(backend, [request(p, str(n), n, max_tokens=3) for n, p in enumerate(prompts(6))])
    assert backend.stats.waves == 1


def test_closing_ends_what_waits() -> None:
    async def work(backend: HFBackend) -> Completion:
        waiting = asyncio.ensure_future(backend.generate(request((3, 4), "a", max_tokens=3)))
        await asyncio.sleep(0)
        await backend.close()
        return await waiting

    assert asyncio.run(work(HFBackend(tiny_model("llama")))).stop == "abort"


@pytest.mark.parametrize("kind", ["mistral", "gemma3"])
def test_a_window_counts_positions_and_not_columns(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second turn of ragged rows leaves gaps between columns; counted, they hide what is near."""
    model = tiny_model(kind)
    true = [[c.ids for c in done] for done in play(HFBackend(model), 2, temperature=0.0)]

    def columns(cached: Any, new: Any, edges: Any, count: int) -> torch.Tensor:
        last = cached + new  # right-aligned, gaps counted like tokens
        return (torch.arange(count)[None] - edges[1] + last[:, None]).clamp(min=0)

    monkeypatch.setattr(wave, "column_positions", columns)
    twin = [[c.ids for c in done] for done in play(HFBackend(model), 2, temperature=0.0)]
    assert twin[0] == true[0]
    assert twin[1] != true[1]


def test_a_window_that_is_wide_enough_costs_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(wave, "windowed")
    done = generate(HFBackend(tiny_model("mistral")), [request((3, 4), "a", max_tokens=5)])[0]
    assert len(done.ids) == 5
    with pytest.raises(NameError):
        generate(HFBackend(tiny_model("mistral")), [request((3, 4), "a", max_tokens=6)])


def test_windows_that_move_by_chunks_are_refused_where_they_would_matter() -> None:
    from transformers import Llama4ForCausalLM, Llama4TextConfig

    config = Llama4TextConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        intermediate_size_mlp=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        attention_chunk_size=16,
        num_local_experts=1,
        pad_token_id=0,
    )
    model = Llama4ForCausalLM(config).eval()
    ids = prompts(1)[0]
    done = generate(HFBackend(model), [request(ids, "a", temperature=0.0, max_tokens=5)])[0]
    assert done.ids == reference(model, ids, 5)
    with pytest.raises(MissingError, match="window"):
        generate(HFBackend(model), [request(ids, "a", max_tokens=40)])


@pytest.mark.parametrize(
    "bad", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"max_tokens": 0}]
)
def test_impossible_sampling_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="sampling"):
        Sampling(**bad)


def test_requests_cancelled_while_they_are_decoded_end_in_silence() -> None:
    """An interrupt cancels the tasks in the midst of a wave."""
    complaints: list[dict[str, Any]] = []

    async def work(backend: HFBackend) -> list[object]:
        asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
        requests = [request(ids, str(n), n, max_tokens=4) for n, ids in enumerate(prompts(3))]
        tasks = [asyncio.ensure_future(backend.generate(each)) for each in requests]
        run = backend._run

        def interrupted(batch: list[Any]) -> list[Completion]:
            for task in tasks:
                task.cancel()
            return run(batch)

        backend._run = interrupted  # type: ignore[method-assign]
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    outcomes = asyncio.run(work(HFBackend(tiny_model("llama"))))
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert complaints == []
