"""Which tokens of a reply are its text: the wrapping teaches nothing."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from forethought.domains.atlas import atlas_format, atlas_tokenizer
from forethought.domains.workbook import workbook_format, workbook_tokenizer
from forethought.hindsight.corpus import CorpusBuilder
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import MathsWriter
from forethought.rollout.render import TextFormat
from forethought.types import Action, StopReason, Task
from tests.training.training_builders import byte_tokenizer

SEARCH = TextFormat(name="s", style="search")
MATHS = TextFormat(name="m", style="maths")


@pytest.mark.parametrize("text", ["12", "a page\nof two lines", "<b> & </b>", "\u00e9\u00e8"])
@pytest.mark.parametrize("text_format", [SEARCH, MATHS], ids=["search", "maths"])
def test_the_tokens_between_the_tags_are_the_text(text_format: TextFormat, text: str) -> None:
    tokenizer = byte_tokenizer()
    ids = text_format.encode_observation(tokenizer, text)
    begin, end = text_format.reply_at(tokenizer, ids)
    assert tokenizer.decode(list(ids[begin:end])).strip() == text
    nothing = text_format.encode_observation(tokenizer, "")
    assert text_format.reply_at(tokenizer, nothing) == text_format.reply_at(tokenizer, ()) == (0, 0)


def test_in_the_worlds_all_but_two_tokens_are_text() -> None:
    for text_format, tokenizer, text in (
        (atlas_format(), atlas_tokenizer(), "mentor east flint gera banok north"),
        (workbook_format(), workbook_tokenizer(), "12"),
    ):
        ids = text_format.encode_observation(tokenizer, text)
        begin, end = text_format.reply_at(tokenizer, ids)
        assert tokenizer.decode(list(ids[begin:end])) == text
        assert tokenizer.decode(list(ids[:begin])).strip().startswith("<")
        assert "</" in tokenizer.decode(list(ids[end:]))


def test_an_observed_episode_trains_the_text_of_replies_and_nothing_else() -> None:
    tokenizer = atlas_tokenizer()
    reply = "mentor east flint gera banok north"
    trajectory = Trajectory(
        task=Task(id="t", question="gera of east : a mentor ; 2", answers=("gera",), kind="qa"),
        source_policy="wanderer",
        steps=(
            Step(
                think="a gera", action=Action(kind="search", text="mentor gera"), observation=reply
            ),
            Step(think="so", action=Action(kind="answer", text="gera"), observation=""),
        ),
        success=True,
        stop_reason=StopReason.ANSWER,
    )
    builder = CorpusBuilder(text_format=atlas_format(), tokenizer=tokenizer, writer=MathsWriter())
    sequence = builder.observed(trajectory).sequence
    trained = [t for t, w in zip(sequence.ids, sequence.obs_weight, strict=True) if w]
    assert tokenizer.decode(trained) == reply
    assert not any(sequence.ce_weight)
