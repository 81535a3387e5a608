from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_builders import SHAPE, TAGS, WORDS, word_policy

from forethought.errors import InputError
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama, build_word_tokenizer

TOKENIZER = build_word_tokenizer(WORDS, TAGS)


@given(st.lists(st.sampled_from((*TAGS, *WORDS)), min_size=1))
def test_decoding_returns_the_text_and_each_word_is_one_token(words: list[str]) -> None:
    text = " ".join(words)
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert len(ids) == len(words)
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text


def test_an_unknown_word_becomes_unk_and_a_text_starts_with_bos() -> None:
    ids = TOKENIZER.encode("a zebra")
    assert TOKENIZER.convert_ids_to_tokens(ids) == ["<bos>", "a", "<unk>"]


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    policy = word_policy()
    policy.save(tmp_path / "m")
    again = Policy.load(tmp_path / "m").tokenizer
    text = "a <confidence> 65 % </confidence> zebra"
    for special in (True, False):
        assert again.encode(text, add_special_tokens=special) == TOKENIZER.encode(
            text, add_special_tokens=special
        )
    ids = again.encode(text, add_special_tokens=False)
    assert again.decode(ids) == "a <confidence> 65 % </confidence> <unk>"
    assert (again.pad_token_id, again.bos_token_id, again.eos_token_id) == (0, 1, 2)


def test_a_word_with_a_blank_is_refused() -> None:
    with pytest.raises(InputError, match="without white space"):
        build_word_tokenizer(["a b"])


CALL = ['{"name":', '"calc",', '"arguments":', '{"input":']
SUMS = (";", "pot", "each", "day", "*", "+", "-", "/", "65", "%", "calls", *CALL, *TAGS)
PIECES = build_word_tokenizer(SUMS, pieces=(*"0123456789", '"', '"}}'))


@given(st.lists(st.integers(0, 999_999).map(str) | st.sampled_from(SUMS), min_size=1))
def test_a_number_that_is_no_word_is_spelled_in_digits_and_reads_back(words: list[str]) -> None:
    text = " ".join(words)
    ids = PIECES.encode(text, add_special_tokens=False)
    assert PIECES.decode(ids) == text
    assert PIECES.unk_token_id not in ids


def test_the_calls_of_a_tool_are_words_and_spelled_numbers() -> None:
    text = 'calls 65 % {"name": "calc", "arguments": {"input": "37 + 140"}}'
    ids = PIECES.encode(text, add_special_tokens=False)
    pieces = PIECES.convert_ids_to_tokens(ids)
    assert pieces[:3] == ["calls", "65", "%"]
    assert pieces[7:] == ['"', "##3", "##7", "+", "1", "##4", "##0", '##"}}']
    assert PIECES.decode(ids) == text


def test_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (word_policy(seed).sha256() for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_embeddings_are_tied_and_the_default_is_a_small_model() -> None:
    model = build_tiny_llama(200, ModelShape(), 0)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.config._attn_implementation == "sdpa"
    assert 0.6e6 < Policy(model, TOKENIZER).num_parameters() < 1.0e6


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="divide"):
        build_tiny_llama(10, ModelShape(hidden=33, heads=SHAPE.heads), 0)
