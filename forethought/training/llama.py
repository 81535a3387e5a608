"""A pass of a plain Llama over packed documents on a CPU, on its weights and without its modules.

Three things are saved that a model run as a whole does not save: padding is not computed, nor are
pairs of tokens of different documents; the last layer runs only where a prediction is asked for;
and attention has its own backward pass. Other models run through their modules (`rows`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from forethought.algos.packing import PackConfig, PackedBatch, pack
from forethought.training.attention import Turns, View, attend
from forethought.training.documents import Line, buckets_of, line_up
from forethought.training.layers import mlp, norm, products
from forethought.training.modules import evaluating, hooked
from forethought.training.policy import Policy
from forethought.types import TrainingSequence

_KEPT = 1 << 26  # probabilities of all layers that may wait for the backward pass
_APART = 1e-4  # of the largest feature: what rounding in another order may come to


def is_plain_llama(model: Any) -> bool:
    """Whether a model computes nothing but what its configuration says, in float32 on a CPU.

    Not with adapters, hooks or modules of another kind in it.
    """
    from transformers.activations import SiLUActivation
    from transformers.models.llama import modeling_llama as llama

    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {
        torch.nn.Embedding,
        torch.nn.Linear,
        torch.nn.ModuleList,
        SiLUActivation,
        llama.LlamaAttention,
        llama.LlamaDecoderLayer,
        llama.LlamaForCausalLM,
        llama.LlamaMLP,
        llama.LlamaModel,
        llama.LlamaRMSNorm,
        llama.LlamaRotaryEmbedding,
    }
    return (
        type(model) is llama.LlamaForCausalLM
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and not config.attention_dropout
        and rope.get("rope_type", "default") == "default"
        and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())
        and all(type(part) in kinds and not hooked(part) for part in model.modules())
        and not any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    )


@torch.no_grad()
def reads_as_llama(policy: Policy) -> bool:
    """Whether `llama_features` gives what the model gives; tried out with one document."""
    if not is_plain_llama(policy.model):
        return False
    ids = tuple(n % policy.model.config.vocab_size for n in range(8))
    (batch,) = pack([TrainingSequence(ids=ids)], PackConfig(max_row_tokens=8, max_batch_tokens=8))
    with evaluating(policy.model):
        expected = policy.features(torch.tensor([ids]))[0]
    found = llama_features(policy.model, batch, torch.arange(8))
    return float((found - expected).abs().max()) <= _APART * float(expected.abs().max())


def llama_features(
    model: Any, batch: PackedBatch, predictors: Tensor, *, bf16: bool = False
) -> Tensor:
    """Last hidden states [n, D] of the positions asked for.

    Args:
        model: `is_plain_llama`.
        batch: the rows, with or without prefixes.
        predictors: [n] index into positions as `rows.row_features` has them; may repeat.
        bf16: products of the layers in bfloat16, but for those of attention.
    """
    line = line_up(batch)
    asked, inverse = np.unique(line.place[predictors.numpy()], return_inverse=True)
    chosen, base = torch.from_numpy(asked), model.model
    dim = model.config.head_dim
    kind = torch.bfloat16 if bf16 else torch.float32
    x = embedding(torch.from_numpy(line.ids), base.embed_tokens.weight)
    view = _view(base, x, line, dim**-0.5)

    def narrow(*modules: Any) -> list[Tensor]:
        return [module.weight.to(kind) for module in modules]

    def normed_by(module: Any, states: Tensor) -> Tensor:
        return norm(states, module.weight, module.variance_epsilon)

    def heads(states: Tensor) -> Tensor:
        return states.view(len(states), -1, dim)

    for number, layer in enumerate(base.layers):
        attention, last = layer.self_attn, number == len(base.layers) - 1
        normed = normed_by(layer.input_layernorm, x).to(kind)
        key, value, query = narrow(attention.k_proj, attention.v_proj, attention.q_proj)
        if last:
            keys, values = products(normed, key, value)
            x, normed = x.index_select(0, chosen), normed.index_select(0, chosen)
            asking = Turns(view.asking.cos[chosen], view.asking.sin[chosen])
            view = replace(view, asking=asking, buckets=buckets_of(line, asked))
            queries = linear(normed, query)
        else:
            keys, values, queries = products(normed, key, value, query)
        mixed = attend(heads(queries), heads(keys), heads(values), view)
        x = x + linear(mixed, *narrow(attention.o_proj))
        normed = normed_by(layer.post_attention_layernorm, x).to(kind)
        x = x + mlp(normed, *narrow(layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj))
    return embedding(torch.from_numpy(inverse), normed_by(base.norm, x))


def _view(base: Any, x: Tensor, line: Line, scale: float) -> View:
    """All tokens ask; what a layer keeps is bounded over all layers."""
    cos, sin = (
        t[0].unsqueeze(1) for t in base.rotary_emb(x, torch.from_numpy(line.position)[None])
    )
    buckets = buckets_of(line)
    pairs = sum(bucket.pairs for bucket in buckets) * base.config.num_attention_heads
    return View(
        asking=Turns(cos * scale, sin * scale),
        turns=Turns(cos, sin),
        buckets=buckets,
        keeps=pairs * len(base.layers) <= _KEPT,
    )
