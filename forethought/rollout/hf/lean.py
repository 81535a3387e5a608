"""A small Llama read without its modules: the same arithmetic in a third of the calls.

At a few million parameters most of a step on a CPU is not arithmetic but what stands around it:
four fifths at eight rows, half at 64. Here a step is some twenty operations a layer, on the weights
as they are. Larger models gain nothing, and other architectures decode through their own modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, linear, scaled_dot_product_attention, silu

from forethought.rollout.hf.cache import KvLayout, WaveCache
from forethought.rollout.hf.steps import forward
from forethought.training.llama import is_plain_llama

_WIDEST = 512
"""Hidden size up to which it is used: beyond, products outweigh the calls, and weights are copied
at every wave."""
_APART = 1e-4  # of the largest logit: what rounding in another order may come to


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: torch.Tensor  # [(H + 2 K) d, D], times the weights of the norm in front
    out: torch.Tensor  # [H d, D], transposed
    gate_up: torch.Tensor  # [2 F, D], times the weights of the norm in front
    down: torch.Tensor  # [F, D], transposed


class LeanLlama:
    """The weights of a `LlamaForCausalLM`; `lean_llama` says of which."""

    def __init__(self, model: Any) -> None:
        """Makes the table of angles; weights are read by `refresh`."""
        config = model.config
        self._model = model
        self._key_heads = config.num_key_value_heads
        self._turned = config.num_attention_heads + config.num_key_value_heads
        self._dim = config.head_dim
        every = torch.arange(config.max_position_embeddings)[None]
        cos, sin = model.model.rotary_emb(model.model.embed_tokens.weight, every)  # [1, P, d]
        self._cos, self._sin = cos[0, :, None], sin[0, :, None].clone()
        self._sin[..., : self._dim // 2] *= -1  # what the first half is crossed with
        self._root = config.hidden_size**0.5
        self._floor = torch.tensor(self._root * config.rms_norm_eps**0.5)
        self._layers: list[_Layer] = []
        self._last = torch.empty(0)  # [D]: weights of the last norm and the root of D

    @torch.no_grad()
    def refresh(self) -> None:
        """Reads the weights, which a trainer may have changed since the last wave."""
        self._layers = [
            _Layer(
                qkv=self._behind(layer.input_layernorm, at.q_proj, at.k_proj, at.v_proj),
                out=at.o_proj.weight.t(),
                gate_up=self._behind(
                    layer.post_attention_layernorm, layer.mlp.gate_proj, layer.mlp.up_proj
                ),
                down=layer.mlp.down_proj.weight.t(),
            )
            for layer in self._model.model.layers
            for at in (layer.self_attn,)
        ]
        self._last = self._model.model.norm.weight * self._root

    def _behind(self, norm: Any, *products: Any) -> torch.Tensor:
        """Products side by side that take what `_unit` gives instead of what `norm` gives."""
        weights: list[torch.Tensor] = [product.weight for product in products]
        return torch.cat(weights).mul_(norm.weight * self._root)

    def _unit(self, x: torch.Tensor) -> torch.Tensor:
        """An RMS norm but for its weights and the root of D: x / sqrt(sum(x^2) + D eps)."""
        length: torch.Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / length.hypot(self._floor)

    def read(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: WaveCache
    ) -> torch.Tensor:
        """As `steps.forward`: logits [B, V] behind the last id of each row.

        Args:
            ids: [B, W].
            positions: [B, W] of the ids.
            mask: [B, 1, W, E] additive; keys and values are written to the last W columns.
            cache: of the wave.
        """
        (rows, width), end, begin = ids.shape, mask.shape[-1], mask.shape[-1] - ids.shape[1]
        heads = self._turned - self._key_heads
        share = heads // self._key_heads
        cos, sin = self._cos[positions], self._sin[positions]  # [B, W, 1, d]
        x = embedding(ids, self._model.model.embed_tokens.weight)  # [B, W, D]
        size = x.shape[-1:]
        mask = mask.repeat_interleave(share, dim=2) if width > 1 else mask
        for number, layer in enumerate(self._layers):
            qkv = linear(self._unit(x), layer.qkv).view(rows, width, -1, self._dim)
            qk = qkv[:, :, : self._turned]
            qk = torch.addcmul(qk * cos, qk.roll(self._dim // 2, -1), sin)
            kept = cache.layers[number]
            kept.keys[:, :, begin:end] = qk[:, :, heads:].transpose(1, 2)
            kept.values[:, :, begin:end] = qkv[:, :, self._turned :].transpose(1, 2)
            query = qk[:, :, :heads]
            if number == len(self._layers) - 1 and width > 1:  # only the last id is asked for more
                x, query, mask = x[:, -1:], query[:, -1:], mask[:, :, -1:]
            # The queries of one key head stand side by side: no key is copied for them.
            query = query.reshape(rows, -1, self._key_heads, share, self._dim).transpose(1, 2)
            mixed = scaled_dot_product_attention(
                query.reshape(rows, self._key_heads, -1, self._dim),
                kept.keys[:, :, :end],
                kept.values[:, :, :end],
                attn_mask=mask,
            )
            mixed = mixed.view(query.shape).transpose(1, 2).reshape(-1, len(layer.out))
            x = torch.addmm(x.reshape(-1, *size), mixed, layer.out).view(x.shape)
            gate, up = linear(self._unit(x), layer.gate_up).chunk(2, dim=-1)
            inner = silu(gate).mul_(up).view(-1, len(layer.down))
            x = torch.addmm(x.reshape(-1, *size), inner, layer.down).view(x.shape)
        return linear(self._unit(x[:, -1]) * self._last, self._model.lm_head.weight)


def lean_llama(model: Any, layout: KvLayout) -> LeanLlama | None:
    """A lean model where it is known to give what a model in evaluation mode gives; else None."""
    plain = is_plain_llama(model) and model.config.hidden_size <= _WIDEST
    if not plain or layout.dtype != torch.float32:  # under autocast keys and values are narrow
        return None
    lean = LeanLlama(model)
    lean.refresh()
    return lean if _agree(lean, model, layout) else None


@torch.inference_mode()
def _agree(lean: LeanLlama, model: Any, layout: KvLayout) -> bool:
    """Whether both give the same logits of two ids behind three keys and values that are drawn."""
    cache = WaveCache(layout, 2, 5)
    cache.store[..., :3, :] = torch.randn(
        cache.store[..., :3, :].shape, generator=torch.Generator().manual_seed(0)
    )
    ids, positions = torch.arange(4).view(2, 2), torch.tensor([[3, 4], [2, 3]])
    mask = torch.full((2, 1, 2, 5), torch.finfo(torch.float32).min).triu(4)
    mask[1, ..., 0] = torch.finfo(torch.float32).min
    cache.point(3)
    expected = forward(model, ids, positions, mask, cache)
    written = cache.store.clone()
    found = lean.read(ids, positions, mask, cache)
    return all(
        float((a - b).abs().max()) <= _APART * float(b.abs().max())
        for a, b in ((found, expected), (cache.store, written))
    )
