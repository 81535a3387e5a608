"""Steps without a model's modules are its own steps, and used where they are known to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from rollout_builders import generate, prompts, request, tiny_model
from transformers import LlamaConfig, LlamaForCausalLM

from forethought.rollout.hf.backend import HFBackend
from forethought.rollout.hf.cache import probe_layout
from forethought.rollout.hf.lean import lean_llama


def llama(**options: Any) -> Any:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 61,
        "max_position_embeddings": 128,
    }
    return LlamaForCausalLM(LlamaConfig(**sizes | options)).eval()


def lean_of(model: Any) -> Any:
    return lean_llama(model, probe_layout(model))


def played(model: Any, *, lean: bool, temperature: float = 1.0) -> list[Any]:
    backend = HFBackend(model)
    asked = [
        request(ids, str(n), n, max_tokens=6 + 2 * n, temperature=temperature)
        for n, ids in enumerate(prompts(6))
    ]
    if not lean:
        generate(backend, asked[:1])
        backend.release("0")
        assert backend._lean is not None
        backend._lean = None
    return generate(backend, asked)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
def test_a_wave_is_the_same_with_and_without_modules(heads: int, tied: bool) -> None:
    model = llama(num_key_value_heads=heads, tie_word_embeddings=tied)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # sharp, and norms that are not 1
    ours, own = (played(model, lean=lean) for lean in (True, False))
    assert [c.ids for c in ours] == [c.ids for c in own]
    for a, b in zip(ours, own, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_weights_that_changed_in_place_are_read() -> None:
    model = llama()
    backend = HFBackend(model)
    asked = [request(ids, str(n), n, max_tokens=9) for n, ids in enumerate(prompts(3))]
    first = generate(backend, asked)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    fresh = [replace(one, session=one.session + "b") for one in asked]
    second, own = generate(backend, fresh), played_anew(model, fresh)
    assert second == own
    assert [c.ids for c in second] != [c.ids for c in first]
    assert backend._lean is not None
    backend._lean.refresh = lambda: None  # type: ignore[method-assign]
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.add_(1.0)
    again = [replace(one, session=one.session + "c") for one in asked]
    assert generate(backend, again) != played_anew(model, again)


def played_anew(model: Any, asked: list[Any]) -> list[Any]:
    return generate(HFBackend(model), asked)


@pytest.mark.parametrize(
    "options",
    [
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"hidden_size": 1024, "num_hidden_layers": 1},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    ],
)
def test_other_llamas_keep_their_modules(options: dict[str, Any]) -> None:
    assert lean_of(llama()) is not None
    assert lean_of(llama(**options)) is None


@pytest.mark.parametrize("kind", ["qwen3", "neox", "mistral", "gemma3"])
def test_other_architectures_keep_their_modules(kind: str) -> None:
    assert lean_of(tiny_model(kind)) is None


def test_a_narrow_copy_keeps_its_modules() -> None:
    backend = HFBackend(llama(), dtype=torch.bfloat16)
    generate(backend, [request((3, 4, 5), "a", 0, max_tokens=3)])
    assert backend._lean is None


def test_a_model_that_does_something_else_is_noticed() -> None:
    model = llama()
    layer = model.model.layers[1]
    forward = layer.forward
    layer.forward = lambda *args, **options: 2.0 * forward(*args, **options)
    assert lean_of(model) is None
