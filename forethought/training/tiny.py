"""Small models from scratch: a word-level tokenizer and a Llama of about a million parameters.

For synthetic worlds, tests and tutorials. Both are ordinary `transformers` objects, so everything
that works with them works with a published model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forethought.errors import InputError

CONTROL = ("<pad>", "<bos>", "<eos>", "<unk>")
"""Ids 0 to 3 of every word-level vocabulary, also the ids that `build_tiny_llama` assumes."""

_INSIDE = "##"  # marks a piece in the middle of a word


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Sizes of a Llama. The default has 0.7 million parameters beside its embeddings."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 1  # one key-value head: decoding is bound by the size of the cache
    ffn: int = 384
    max_positions: int = 1024


def build_word_tokenizer(
    words: Sequence[str], specials: Sequence[str] = (), *, pieces: Sequence[str] = ()
) -> Any:
    """A tokenizer that splits at white space and joins with single spaces.

    `decode(encode(text)) == text` for texts of known words with single spaces between them. An
    unknown word becomes `<unk>`. With `add_special_tokens` (the default of `tokenizer(text)`) a
    text starts with `<bos>`.

    Args:
        words: the vocabulary, in the order of its ids; repeated words count once.
        specials: words that come before them, such as tags. They are ordinary whole words, so
            `decode` keeps them.
        pieces: what a word that is no entry of `words` is cut into, longest match first: as it is
            at the beginning of a word, and in the middle. With the ten digits every whole number
            has a spelling.

    Returns:
        A `PreTrainedTokenizerFast`. The control tokens `CONTROL` have the first four ids.

    Raises:
        InputError: a word that is empty or contains white space, which no text could hold.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    inner = [f"{_INSIDE}{piece}" for piece in pieces]
    vocabulary = list(dict.fromkeys((*CONTROL, *specials, *words, *pieces, *inner)))
    for word in vocabulary:
        if word.split() != [word]:
            raise InputError(
                "vocabulary",
                got=repr(word),
                expected="words without white space",
                next_step="split it into words",
            )
    pad, bos, eos, unk = CONTROL
    ids = {word: number for number, word in enumerate(vocabulary)}
    if pieces:
        tokenizer = Tokenizer(
            models.WordPiece(ids, unk_token=unk, continuing_subword_prefix=_INSIDE)
        )
        tokenizer.decoder = decoders.WordPiece(prefix=_INSIDE, cleanup=False)
    else:
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unk))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, ids[bos])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        clean_up_tokenization_spaces=False,
    )


def build_tiny_llama(vocab_size: int, shape: ModelShape, seed: int) -> Any:
    """A `LlamaForCausalLM` with fresh weights, tied embeddings and SDPA attention, in float32.

    The weights are a function of the arguments; the global random state is left as it was.

    Raises:
        InputError: sizes that do not divide.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if shape.hidden % shape.heads or shape.heads % shape.kv_heads:
        raise InputError(
            "model",
            got=f"hidden {shape.hidden}, heads {shape.heads}, kv_heads {shape.kv_heads}",
            expected="heads that divide hidden, and kv_heads that divide heads",
            next_step="correct the shape",
        )
    pad, bos, eos, _ = range(len(CONTROL))
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.max_positions,
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=eos,
        attn_implementation="sdpa",
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
