"""Tiny tokenizers, models and requests for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from forethought.rollout.backend import Completion, Request, Sampling

VOCAB = 61


def word_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """Every word of `text` is one token; words are joined with blanks."""
    words = ["<unk>", "<eos>", *dict.fromkeys(text.split())]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<eos>")


def byte_tokenizer(texts: Sequence[str], size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE without any splitting before it, so that merges cross tags and blanks."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")


def tiny_model(kind: str, seed: int = 0) -> Any:
    """A random-weight model: "llama", "llama-gqa", "qwen3", "neox", "mistral" or "gemma3".

    "mistral" has a window of 7 positions in all layers, "gemma3" one of 5 in three of four.
    """
    torch.manual_seed(seed)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    common = {**size, "vocab_size": VOCAB, "max_position_embeddings": 128, "num_attention_heads": 4}
    if kind == "neox":
        model: Any = GPTNeoXForCausalLM(GPTNeoXConfig(**common))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**common, num_key_value_heads=2, head_dim=8))
    elif kind == "mistral":
        narrow = MistralConfig(**common, num_key_value_heads=2, sliding_window=7)
        model = MistralForCausalLM(narrow)
    elif kind == "gemma3":
        kinds = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]
        heads_of = {"num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8}
        layers = {"num_hidden_layers": 4, "layer_types": kinds, "sliding_window": 5}
        model = Gemma3ForCausalLM(Gemma3TextConfig(**{**common, **heads_of, **layers}))
    else:
        heads = 1 if kind == "llama-gqa" else 4
        model = LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=heads))
    with torch.no_grad():  # wider than the initialisation: sharp distributions, no near ties
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(6.0)
    return model.eval()


def prompts(number: int, *, shortest: int = 3) -> list[tuple[int, ...]]:
    """Ragged random prompts without the end token."""
    generator = torch.Generator().manual_seed(7)
    return [
        tuple(torch.randint(2, VOCAB, (shortest + (5 * i) % 7,), generator=generator).tolist())
        for i in range(number)
    ]


def request(ids: Sequence[int], session: str, number: int = 0, **sampling: Any) -> Request:
    """A request whose noise key is `(number,)`."""
    return Request(ids=tuple(ids), session=session, noise=(number,), sampling=Sampling(**sampling))


def generate(backend: Any, requests: Sequence[Request]) -> list[Completion]:
    """All requests in one turn of a fresh event loop."""

    async def work() -> list[Completion]:
        return await asyncio.gather(*(backend.generate(r) for r in requests))

    return asyncio.run(work())
