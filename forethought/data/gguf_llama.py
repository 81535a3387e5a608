"""A GGUF file of a Llama model as the fp32 state dict of `LlamaForCausalLM`.

Only this architecture. transformers reads GGUF too, but asks for accelerate, which the core does
not need. In: a file in which llama.cpp's converter stored the tensors, quantised or not. Out:
tensors under the names of transformers, equal to what `GgufConfig(dequantize=True)` gives.
Source of names and row order: llama.cpp, gguf-py/gguf/tensor_mapping.py and LlamaModel.permute.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def tensor_name(name: str) -> str:
    """The name in transformers of a tensor of the file.

    Raises:
        KeyError: the architecture is not a plain Llama.
    """
    if name in _TOP:
        return _TOP[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{int(layer)}.{_BLOCK[part]}.{kind}"


def unpermute(weight: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Rows of a query or key projection from GGML's order to that of transformers.

    GGML rotates neighbouring rows (2i, 2i+1) of a head, transformers rows (i, i + head_dim/2).

    Args:
        weight: [num_heads * head_dim, hidden].
        num_heads: heads of this projection.
    """
    pairs = weight.reshape(num_heads, weight.shape[0] // num_heads // 2, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def read_llama_state(path: Path, *, num_heads: int, num_kv_heads: int) -> dict[str, Tensor]:
    """All weights of the file, dequantised to fp32.

    Args:
        path: the GGUF file.
        num_heads: query heads of the model.
        num_kv_heads: key and value heads of the model.
    """
    import numpy as np
    import torch
    from gguf import GGUFReader, dequantize

    state: dict[str, Tensor] = {}
    reader: Any = GGUFReader(path)
    for tensor in reader.tensors:
        name = tensor_name(tensor.name)
        values = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if name.endswith("q_proj.weight"):
            values = unpermute(values, num_heads)
        elif name.endswith("k_proj.weight"):
            values = unpermute(values, num_kv_heads)
        state[name] = torch.from_numpy(np.ascontiguousarray(values))
    return state
