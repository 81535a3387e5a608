"""An observation is cut to a budget of the policy's tokens; its tags stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_builders import byte_tokenizer, word_tokenizer
from rollout_toys import ANSWER_B, CONFIG, FORM, TOKENIZER, play

from forethought.config import load_config
from forethought.domains.atlas import AtlasDomain
from forethought.errors import InputError
from forethought.evals.command import EvalRequest, setting_of
from forethought.rollout.modes import parse_mode
from forethought.rollout.render import TextFormat, encode

BYTES = byte_tokenizer(["<information>pages of words</information>", "caf\u00e9 \u8336"], 300)
PLAIN = TextFormat(name="plain")
MATHS = TextFormat(name="maths", style="maths")


@given(
    st.text(st.sampled_from("ab \u00e9\u8336\n\U0001f375<"), max_size=60),
    st.integers(30, 120),
    st.sampled_from([PLAIN, MATHS]),
)
def test_what_is_shown_is_a_beginning_of_the_text_and_fits(
    text: str, budget: int, form: TextFormat
) -> None:
    cut = form.cut_observation(BYTES, text, budget)
    fits = len(form.encode_observation(BYTES, text)) <= budget
    assert text.startswith(cut) and (cut == text) == fits
    assert len(form.encode_observation(BYTES, cut)) <= budget or not cut


def test_no_more_is_cut_than_must_be() -> None:
    """Bytes without a merge: each letter is a token, so one more letter would be too many."""
    text = "xyz" * 40
    room = 100
    cut = PLAIN.cut_observation(BYTES, text, room)
    assert len(PLAIN.encode_observation(BYTES, cut)) == room
    assert len(PLAIN.encode_observation(BYTES, text[: len(cut) + 1])) == room + 1


def test_words_of_a_word_level_vocabulary_stay_whole() -> None:
    tokenizer = word_tokenizer("<information> </information> lamp north gera")
    form = TextFormat(name="atlas", spaced=True)
    cut = form.cut_observation(tokenizer, "lamp  north gera lamp", 5)
    assert cut == "lamp  north gera"
    ids = form.encode_observation(tokenizer, cut)
    assert len(ids) == 5 and tokenizer.unk_token_id not in ids
    assert form.cut_observation(tokenizer, "lamp north", 1) == ""


def test_the_engine_keeps_what_the_policy_saw() -> None:
    """`page a` is 2 words in 2 tags; what was cut is neither in the tokens nor in the turn."""
    script = ["<think> x </think> <search> a </search>", ANSWER_B]
    (whole,) = play([script])
    assert whole.turns[0].observation == "page a"
    (cut,) = play([script], replace(CONFIG, max_observation_tokens=3))
    assert cut.turns[0].observation == "page"
    assert cut.turns[0].observation_ids == encode(
        TOKENIZER, FORM.wrap_observation(cut.turns[0].observation)
    )
    assert cut.answer == whole.answer == "b"
    (same,) = play([script], replace(CONFIG, max_observation_tokens=4))
    assert same.turns[0] == whole.turns[0]


def test_the_key_reaches_training_and_evaluation() -> None:
    config = load_config("demo/atlas", {"rollout.max_observation_tokens": "33"})
    domain = AtlasDomain.from_config(config)
    assert domain.engine.max_observation_tokens == 33
    request = EvalRequest(model="m", out=None)  # type: ignore[arg-type]
    setting = setting_of(config, domain, request, parse_mode("plain"), "val")
    assert setting.engine.max_observation_tokens == 33
    assert load_config("demo/atlas").rollout.max_observation_tokens is None
    with pytest.raises(InputError, match="max_observation_tokens"):
        load_config("demo/atlas", {"rollout.max_observation_tokens": "3"})
