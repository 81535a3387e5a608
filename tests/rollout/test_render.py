"""Prompts, stops and wrapped observations."""

from __future__ import annotations

import pytest
from rollout_builders import byte_tokenizer, word_tokenizer
from tokenizers.processors import TemplateProcessing

from forethought.errors import InputError
from forethought.rollout.render import MODES, TextFormat, encode
from forethought.rollout.spans import decode
from forethought.types import Span, Task

ATLAS = TextFormat(name="atlas", spaced=True)
QUESTION = "gera of east : a mentor mentor b employer seat ; 3"
TURN = "<think> banok </think> <search> employer banok </search>"
WORDS = f"{QUESTION} ; foresight plain {TURN} <answer> </answer> <information> </information> none"
TASK = Task(id="t", question=QUESTION, answers=("buzur",), kind="qa")


@pytest.mark.parametrize(
    ("mode", "ending"), [("foresight", " ; foresight"), ("plain", " ; plain"), ("free", "")]
)
def test_a_bare_prompt_ends_with_its_mode(mode: str, ending: str) -> None:
    assert ATLAS.prompt_text(TASK, mode) == QUESTION + ending
    tokenizer = word_tokenizer(WORDS)
    assert decode(tokenizer, ATLAS.encode_prompt(tokenizer, TASK, mode)) == QUESTION + ending


def test_what_the_environment_says_at_reset_follows_the_question() -> None:
    assert ATLAS.prompt_text(TASK, "plain", "none").startswith(f"{QUESTION} none ;")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError, match="foresight"):
        ATLAS.prompt_text(TASK, "deep")
    with pytest.raises(InputError, match="foresight"):
        ATLAS.parse(TURN, "deep")


@pytest.mark.parametrize("style", ["search", "maths"])
@pytest.mark.parametrize("mode", MODES)
def test_instructions_name_what_the_parser_reads(style: str, mode: str) -> None:
    text = TextFormat(name="x", style=style, prompt_style="instruct").prompt_text(TASK, mode)
    assert QUESTION in text
    words = ("<search>", "<answer>") if style == "search" else ("<tool_call>", "Answer: ")
    assert all(word in text for word in words)
    headings = ("<imaginary>", "<keyword>", "<analysis>", "<confidence>")
    if style == "maths":
        headings = ("**Imaginary**", "**Keyword**", "**Analysis**", "**Confidence**")
    places = [text.find(word) for word in headings]
    if mode == "foresight":
        assert places == sorted(places)
        assert places[0] > 0
    else:
        assert places == [-1] * 4


def test_a_beginning_token_is_set_once_if_the_tokenizer_wants_one() -> None:
    form = TextFormat(name="x")
    tokenizer = byte_tokenizer([QUESTION])
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    assert tokenizer.bos_token_id not in form.encode_prompt(tokenizer, TASK, "plain")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    ids = form.encode_prompt(tokenizer, TASK, "plain")
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.bos_token_id not in form.encode_observation(tokenizer, "a page")


def test_chat_puts_the_template_around_the_prompt_once() -> None:
    form = TextFormat(name="x", prompt_style="chat")
    tokenizer = byte_tokenizer([QUESTION])
    with pytest.raises(InputError, match="instruct"):
        form.encode_prompt(tokenizer, TASK, "plain")
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}[end]{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    text = decode(tokenizer, form.encode_prompt(tokenizer, TASK, "plain"))
    assert text.startswith("[user]")
    assert text.endswith("[end][assistant]")
    assert text.count("[user]") == 1


def test_a_word_level_tag_stops_by_its_id_alone() -> None:
    tokenizer = word_tokenizer(WORDS)
    ids, strings = ATLAS.stops(tokenizer)
    assert [decode(tokenizer, (i,)) for i in ids] == ["</search>", "</answer>", "<eos>"]
    assert strings == ()


def test_a_tag_that_the_vocabulary_lacks_is_no_stop_id() -> None:
    tokenizer = word_tokenizer(QUESTION)  # both tags are <unk> here
    ids, strings = ATLAS.stops(tokenizer)
    assert ids == (tokenizer.eos_token_id,)
    assert strings == ATLAS.stop_strings()


def test_tags_in_pieces_stop_by_their_text() -> None:
    form = TextFormat(name="x")
    ids, strings = form.stops(byte_tokenizer(["plain"], size=257), ("</confidence>",))
    assert ids == (0,)
    assert strings == ("</search>", "</answer>", "</confidence>")


def test_observations_are_wrapped_by_style() -> None:
    assert ATLAS.wrap_observation("a b") == "<information> a b </information>"
    assert TextFormat(name="x").wrap_observation("a") == "\n<information>a</information>\n"
    maths = TextFormat(name="m", style="maths")
    assert maths.wrap_observation("4") == "\n<tool_response>\n4\n</tool_response>\n"


@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize("state", ["fresh", "padding", "truncation", "served"])
def test_ids_are_those_of_the_tokenizer_whatever_it_did_before(state: str, splits: bool) -> None:
    text = "go </s> <bos> on and on"
    for tokenizer in (byte_tokenizer(["plain", "</s>"]), word_tokenizer("go on and")):
        tokenizer.add_special_tokens({"pad_token": "<pad>", "sep_token": "</s>"})
        tokenizer.split_special_tokens = splits
        if state == "padding":
            tokenizer(["go", "go on"], padding="max_length", max_length=40)
        elif state == "truncation":
            tokenizer("go on", truncation=True, max_length=2)
        elif state == "served":
            tokenizer("go on")
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<eos> $A", special_tokens=[("<eos>", tokenizer.eos_token_id)]
        )
        for special in (False, True):
            found = encode(tokenizer, text, special=special)
            assert found == tuple(tokenizer.encode(text, add_special_tokens=special))
            assert len(found) > 4


def test_a_built_turn_keeps_ids_and_assigns_every_token() -> None:
    tokenizer = word_tokenizer(WORDS)
    ids = tokenizer.encode(TURN, add_special_tokens=False)
    turn = ATLAS.build_turn(tokenizer, ids, [-0.5] * len(ids), "plain")
    assert turn.ids == tuple(ids)
    assert turn.text == TURN
    assert turn.parsed.action is not None
    assert (turn.parsed.action.kind, turn.parsed.action.text) == ("search", "employer banok")
    assert turn.token_spans == (Span.THINK,) * 3 + (Span.ACTION,) * 4


BLOCK = (
    "<imaginary> c kept ; 1 left </imaginary> <keyword> c </keyword> <analysis> kept </analysis> "
    "<confidence> 65 % </confidence> "
)


@pytest.mark.parametrize(
    ("text", "mode", "kept"),
    [
        (TURN, "plain", None),
        (BLOCK + TURN, "foresight", TURN),
        ("c kept ; 65 % " + TURN, "free", TURN),
        ("c kept " + TURN, "foresight", TURN),
        ("c kept", "foresight", None),
        ("<imaginary> c kept </think>", "foresight", ""),
    ],
)
def test_later_turns_see_thought_and_action_alone_where_old_blocks_are_left_out(
    text: str, mode: str, kept: str | None
) -> None:
    tokenizer = word_tokenizer(f"{WORDS} {BLOCK} {TURN}")
    ids = tokenizer.encode(text, add_special_tokens=False)
    form = TextFormat(name="atlas", spaced=True, old_blocks=False)
    turn = form.build_turn(tokenizer, ids, [0.0] * len(ids), mode)
    assert turn.ids == tuple(ids)
    assert (None if turn.kept_ids is None else tokenizer.decode(turn.kept_ids)) == kept
    assert ATLAS.build_turn(tokenizer, ids, [0.0] * len(ids), mode).kept_ids is None


def test_an_end_token_is_kept_in_the_ids_and_out_of_the_text() -> None:
    tokenizer = word_tokenizer(WORDS)
    ids = [*tokenizer.encode(TURN, add_special_tokens=False), tokenizer.eos_token_id]
    turn = ATLAS.build_turn(tokenizer, ids, [0.0] * len(ids), "plain")
    assert turn.ids[-1] == tokenizer.eos_token_id
    assert turn.text == TURN
    assert turn.token_spans[-1] is Span.ACTION


def test_a_written_turn_ends_as_a_sampled_one_would() -> None:
    tokenizer = byte_tokenizer(["plain"])
    maths = TextFormat(name="m", style="maths")
    assert maths.encode_turn(tokenizer, "Answer: 4")[-1] == tokenizer.eos_token_id
    assert maths.encode_turn(tokenizer, "x</tool_call>")[-1] != tokenizer.eos_token_id
