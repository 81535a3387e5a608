"""A decode step of a small Llama without its modules: the same arithmetic in a third of the calls.

At a few million parameters most of a step on a CPU is not arithmetic but what stands around it:
four fifths at eight rows, half at 64. Here a step is some twenty operations a layer, on the weights
as they are. Larger models gain nothing, and other architectures decode through their own modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu

from forethought.rollout.hf.cache import KvLayout, WaveCache
from forethought.rollout.hf.steps import forward

_WIDEST = 512
"""Hidden size up to which it is used: beyond, products outweigh the calls, and weights are copied
at every wave."""
_APART = 1e-4  # of the largest logit: what rounding in another order may come to


@dataclass(frozen=True, slots=True)
class _Layer:
    before: torch.Tensor  # [D] of the norm in front of attention
    qkv: torch.Tensor  # [(H + 2 K) d, D]
    out: torch.Tensor  # [H d, D], transposed
    after: torch.Tensor  # [D] of the norm in front of the MLP
    gate_up: torch.Tensor  # [2 F, D]
    down: torch.Tensor  # [F, D], transposed


class LeanSteps:
    """Steps of a `LlamaForCausalLM`; `lean_steps` says for which."""

    def __init__(self, model: Any) -> None:
        """Makes the table of angles; weights are read by `refresh`."""
        config = model.config
        self._model = model
        self._key_heads = config.num_key_value_heads
        self._turned = config.num_attention_heads + config.num_key_value_heads
        self._dim = config.head_dim
        every = torch.arange(config.max_position_embeddings)[None]
        cos, sin = model.model.rotary_emb(model.model.embed_tokens.weight, every)  # [1, P, d]
        self._cos, self._sin = cos[0, :, None], sin[0, :, None]
        self._layers: list[_Layer] = []

    def refresh(self) -> None:
        """Reads the weights, which a trainer may have changed since the last wave."""
        self._layers = [
            _Layer(
                before=layer.input_layernorm.weight,
                qkv=torch.cat([p.weight for p in (at.q_proj, at.k_proj, at.v_proj)]),
                out=at.o_proj.weight.t(),
                after=layer.post_attention_layernorm.weight,
                gate_up=torch.cat([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight]),
                down=layer.mlp.down_proj.weight.t(),
            )
            for layer in self._model.model.layers
            for at in (layer.self_attn,)
        ]

    def step(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: WaveCache
    ) -> torch.Tensor:
        """As `steps.forward` for one id a row.

        Args:
            ids: [B, 1].
            positions: [B, 1] of the ids.
            mask: [B, 1, 1, E] additive; keys and values are written to the column E - 1.
            cache: of the wave.
        """
        end, heads = mask.shape[-1], self._turned - self._key_heads
        cos, sin = self._cos[positions[:, 0]], self._sin[positions[:, 0]]  # [B, 1, d]
        half, epsilon = self._dim // 2, self._model.config.rms_norm_eps
        x = embedding(ids[:, 0], self._model.model.embed_tokens.weight)  # [B, D]
        rows, width = x.shape
        for number, layer in enumerate(self._layers):
            normed = rms_norm(x, (width,), layer.before, epsilon)
            qkv = linear(normed, layer.qkv).view(rows, -1, self._dim)
            qk = qkv[:, : self._turned]
            crossed = torch.cat((-qk[..., half:], qk[..., :half]), dim=-1)
            qk = torch.addcmul(qk * cos, crossed, sin)
            keys, values = cache.store[2 * number], cache.store[2 * number + 1]
            keys[:, :, end - 1] = qk[:, heads:]
            values[:, :, end - 1] = qkv[:, self._turned :]
            # The queries of one key head stand side by side: no key is copied for them.
            query = qk[:, :heads].view(rows, self._key_heads, -1, self._dim)
            mixed = scaled_dot_product_attention(
                query, keys[:, :, :end], values[:, :, :end], attn_mask=mask
            )
            x = torch.addmm(x, mixed.reshape(rows, -1), layer.out)
            normed = rms_norm(x, (width,), layer.after, epsilon)
            gate, up = linear(normed, layer.gate_up).chunk(2, dim=-1)
            x = torch.addmm(x, silu(gate) * up, layer.down)
        normed = rms_norm(x, (width,), self._model.model.norm.weight, epsilon)
        return linear(normed, self._model.lm_head.weight)


def lean_steps(model: Any, layout: KvLayout) -> LeanSteps | None:
    """Lean steps where they are known to be those of a model in evaluation mode; else None."""
    if not _is_plain(model) or layout.device.type != "cpu" or layout.dtype != torch.float32:
        return None
    lean = LeanSteps(model)
    lean.refresh()
    return lean if _agree(lean, model, layout) else None


def _is_plain(model: Any) -> bool:
    from transformers import LlamaForCausalLM

    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        type(model) is LlamaForCausalLM
        and config.hidden_size <= _WIDEST
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and rope.get("rope_type", "default") == "default"
        and config._attn_implementation == "sdpa"
        and all(parameter.dtype == torch.float32 for parameter in model.parameters())
    )


@torch.inference_mode()
def _agree(lean: LeanSteps, model: Any, layout: KvLayout) -> bool:
    """Whether both give the same logits behind three keys and values that are drawn."""
    cache = WaveCache(layout, 2, 4)
    cache.store[..., :3, :] = torch.randn(
        cache.store[..., :3, :].shape, generator=torch.Generator().manual_seed(0)
    )
    ids, positions, mask = torch.arange(2), torch.tensor([[3], [2]]), torch.zeros(2, 1, 1, 4)
    mask[1, ..., 0] = torch.finfo(torch.float32).min
    cache.point(3)
    expected = forward(model, ids[:, None], positions, mask, cache)
    written = cache.store.clone()
    found = lean.step(ids[:, None], positions, mask, cache)
    return all(
        float((a - b).abs().max()) <= _APART * float(b.abs().max())
        for a, b in ((found, expected), (cache.store, written))
    )
