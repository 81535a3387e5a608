"""Laws of the leak filters: what is planted is found, what is foresight passes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.domains.atlas import AtlasDomain, atlas_tokenizer
from forethought.foresight.grounding import normalise
from forethought.hindsight.leaks import CODES, ROUGE_LIMIT, check, lcs_length
from forethought.hindsight.likelihood import gain
from forethought.hindsight.steps import leaks_of
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import MathsWriter
from forethought.schema import RunConfig
from forethought.types import Action, Foresight, StopReason, Task
from forethought.worlds.atlas.tokens import NAMES

STATE = "Who wrote the novel that inspired the film directed by Jane Doe?"
FUTURE = (
    'Doc 1: "Slaughterhouse" is a 1972 film directed by Jane Doe. It is based on a novel by Kurt '
    "Vonnegut, a writer at the University of Chicago in Paris.",
    "Kurt Vonnegut was born in Indianapolis. He won the Hugo Award.",
)
ANSWERS = ("Kurt Vonnegut", "Vonnegut")
ATLAS_STATE = "gera of east : a mentor mentor b employer seat ; 3"
ATLAS_FUTURE = (
    "mentor east flint gera banok coast ; guild east moss gera dolen coast",
    "mentor coast reed banok buzur north ; guild coast bell banok tubot moor",
)


def block(
    roadmap: str = "Find the film; then its novel. The author is missing",
    keywords: tuple[str, ...] = ("film", "novel", "writer"),
    analysis: str = "A direct path; the second look-up may fail",
) -> Foresight:
    return Foresight(roadmap=roadmap, keywords=keywords, analysis=analysis, q=0.7, q_text="70%")


def reasons(written: Foresight) -> tuple[str, ...]:
    verdict = check(STATE, FUTURE, ANSWERS, written)
    assert verdict.accepted is (not verdict.reasons)
    assert [code for code in CODES if code in verdict.reasons] == list(verdict.reasons)
    return verdict.reasons


def test_a_block_about_kinds_of_things_passes():
    assert reasons(block()) == ()


@pytest.mark.parametrize("alias", [*ANSWERS, "kurt vonnegut", "VONNEGUT"])
@pytest.mark.parametrize("where", ["roadmap", "keywords", "analysis"])
def test_a_planted_answer_is_rejected_wherever_it_stands(alias, where):
    value = (alias,) if where == "keywords" else f"It will be {alias}, I think"
    assert "answer" in reasons(block(**{where: value}))


@pytest.mark.parametrize(
    "roadmap",
    [
        "Look for Indianapolis next",
        "look for indianapolis next",
        "The page of the Hugo Award",
        "a film of 1972",
        "Slaughterhouse is the film",
        "the city is Paris",
    ],
)
def test_names_and_numbers_of_the_future_are_rejected(roadmap):
    assert "entity" in reasons(block(roadmap=roadmap))


@pytest.mark.parametrize(
    "roadmap",
    [
        "a university in a capital; 2 links open",
        "The film of Jane Doe, then its writer",  # the state names her
        "He may be a writer. It is open",
        "Born when? The award is missing",
        "Expect 3 pages and a 2-digit number",
    ],
)
def test_kinds_known_names_and_small_counts_pass(roadmap):
    assert reasons(block(roadmap=roadmap)) == ()


def test_a_word_that_the_state_has_is_no_leak():
    written = block(roadmap="Kurt Vonnegut may be the author")
    assert check(f"{STATE} Is it Kurt Vonnegut?", FUTURE, ANSWERS, written).accepted


@pytest.mark.parametrize(
    "phrase",
    [
        "The future path shows a single, direct action",
        "The future trajectory contains the page",
        "the trajectory confirms it",
        "The final answer is provided, but the search path is unknown",
        "matches the ground truth",
        "this path is verified",
        "with hindsight this works",
        "presented as a future state",
        "we already know the answer",
        "The trajectory demonstrates that it works",
        "The future steps show a direct path",
        "The answer was already provided",
        "given the future steps, success is certain",
        "Given these future observations it works",
        "The rollout clearly proves it",
        "the future already reveals the page",
        "Knowing the future, this is easy",
        "the answer is given in the future",
        "the page was found in the future",
    ],
)
def test_the_voice_of_hindsight_is_rejected(phrase):
    assert reasons(block(analysis=phrase)) == ("voice",)


@pytest.mark.parametrize(
    "phrase",
    [
        "the date needs to be verified",
        "not yet verified",
        "the answer is missing",
        "a future page may show the year",
        "the path is short",
        "the correct page may be hard to find",
        "the answer should then be given",
        "future searches may fail",
        "a future step will show the year",
        "until the answer is given two links are open",
        "the answer is given by adding both",
        "any given future search may fail",
        "given the future value, divide by the rate",
        "the future may show another owner",
        "which path has the mill is open",
        "with both pages read, the answer is known",
        "the answer is stated on the second page",
        "the film will be found in future pages",
    ],
)
def test_plans_are_not_hindsight(phrase):
    assert reasons(block(analysis=phrase)) == ()


def test_a_copied_result_is_rejected_however_long_the_result():
    sentence = "it rained on the hills and the old mill by the water stood empty all winter"
    page = f"{'some other words about nothing at all . ' * 40} {sentence} . {'more of it . ' * 40}"
    written = block(roadmap=f"we will read that {sentence}")
    assert check("who?", [page], ["x9"], written).reasons == ("overlap",)
    assert check("who?", [sentence], ["x9"], written).reasons == ("overlap",)
    assert check(f"who? {sentence}", [page], ["x9"], written).accepted


def test_the_same_words_in_another_order_pass():
    rng = random.Random(3)
    words = ["river", "bridge", "stone", "tower", "garden", "market", "winter", "harvest"]
    shuffled = rng.sample(words, len(words))
    page = f"{' '.join(words)} and then many other words that nobody foresaw at all in this place"
    assert check("who?", [page], ["x9"], block(roadmap=" ".join(shuffled))).accepted


def test_word_level_blocks_pass_and_names_of_the_lexicon_do_not():
    def verdict(roadmap: str, *keywords: str) -> tuple[str, ...]:
        written = Foresight(
            roadmap=roadmap, keywords=keywords, analysis="mentor kept , 0 spare", q=0.5
        )
        return check(ATLAS_STATE, ATLAS_FUTURE, ["buzur"], written, entities=NAMES).reasons

    assert (
        verdict("a mentor flint coast , a mentor reed north , reply ; 2 links open", "flint") == ()
    )
    assert verdict("a mentor flint banok , reply ; 2 links open", "flint") == ("entity",)
    assert verdict("a mentor flint coast , reply ; 2 links open", "dolen") == ("entity",)
    assert "answer" in verdict("a mentor flint coast , buzur ; 2 links open", "flint")
    assert verdict("gera mentor flint coast , reply ; 2 links open", "flint") == ()  # state
    assert verdict("a mentor gafan coast , reply ; 2 links open", "flint") == ()  # never comes
    copied = verdict("a mentor flint gera banok coast", "reed")
    assert "overlap" in copied and "entity" in copied


def test_numbers_are_compared_by_value():
    def verdict(answer: str, roadmap: str) -> tuple[str, ...]:
        return check("What is 3 + 4?", [answer], [answer], block(roadmap=roadmap)).reasons

    assert "answer" in verdict("1,234", "then 1234.0 comes out")
    assert verdict("42", "add, expect a 2-digit even number; 1 result missing") == ()
    assert "answer" in verdict("7", "the result will be 7")
    assert verdict("7", "7 steps are open") == ()  # a digit alone counts many things
    assert verdict("yes", "no evidence yet, yes or no is open") == ()
    assert "answer" in verdict("yes", "the answer is yes")


@pytest.mark.parametrize(
    ("answer", "where", "told"),
    [
        ("7", {"keywords": ("7",)}, True),
        ("7", {"keywords": ("sum", "7 apples")}, True),
        ("7", {"roadmap": "add, then 7; 1 result missing"}, True),
        ("7", {"roadmap": "add, then 7.0 comes out"}, True),
        ("$7", {"roadmap": "add, then 7 comes out"}, True),
        ("yes", {"keywords": ("Yes",)}, True),
        ("yes", {"roadmap": "compare both; yes follows"}, True),
        ("no", {"roadmap": "compare both; then no"}, True),
        ("B", {"roadmap": "compare; option B fits"}, True),
        ("7", {"roadmap": "add, expect a 7-digit number; 7 results missing"}, False),
        ("7", {"roadmap": "add 17 and 0.7"}, False),
        ("7", {"analysis": "7 calculations in a row; one may slip"}, False),
        ("no", {"roadmap": "no page was read yet; yes or no is open"}, False),
        ("A", {"roadmap": "A film is named; a novel is missing"}, False),
    ],
)
def test_a_short_answer_is_told_by_a_keyword_or_a_word_of_the_roadmap(answer, where, told):
    found = check("What is it?", ["it rained"], [answer], block(**where)).reasons
    assert found == (("answer",) if told else ())


@pytest.mark.parametrize(("answer", "state"), [("7", "7 apples?"), ("yes", "Is it yes?")])
def test_a_short_answer_that_the_state_shows_is_no_leak(answer, state):
    assert check(state, [], [answer], block(keywords=(answer,), roadmap=f"{answer} then")).accepted


def test_blocks_of_the_shipped_writer_for_word_problems_pass_with_every_answer_of_one_digit():
    for digit in range(10):
        thrice = [
            Step(think="t", action=Action(kind="python", text=f"print({n} + {n})"), observation="8")
            for n in range(digit)
        ]
        end = Step(think="t", action=Action(kind="answer", text=str(digit)), observation="")
        trajectory = Trajectory(
            task=Task(id="a", question="How many?", answers=(str(digit),), kind="maths"),
            source_policy="annotations",
            steps=(*thrice, end),
            success=True,
            stop_reason=StopReason.ANSWER,
        )
        for step in range(digit):
            written = MathsWriter().write(trajectory, step, 0.5)
            verdict = leaks_of(trajectory, step, written, ())
            assert verdict.accepted, (written, verdict)


def test_plain_rouge_would_refuse_a_third_of_true_blocks_in_atlas():
    domain = AtlasDomain.from_config(RunConfig(seed=100))
    highest = []
    for made in domain.trajectories(40, atlas_tokenizer()):
        for step in range(len(made.steps)):
            written = domain.writer.write(made, step, 0.5)
            assert leaks_of(made, step, written, domain.entities()).accepted
            told = normalise(f"{written.roadmap} {' '.join(written.keywords)} {written.analysis}")
            pages = [normalise(text) for text in made.future(step)]
            scores = [2 * lcs_length(told, page) / (len(told) + len(page)) for page in pages]
            highest += [max(scores)] if scores else []
    assert sum(score >= ROUGE_LIMIT for score in highest) > 0.25 * len(highest)


def test_without_a_future_only_answer_and_voice_can_speak():
    assert check(STATE, [], ["Paris"], block(roadmap="to Paris")).reasons == ("answer", "entity")
    assert check(STATE, [], ["x9"], block()).accepted


TOKENS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(TOKENS, TOKENS)
def test_lcs_agrees_with_the_table(left, right):
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            best = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else best
    assert lcs_length(left, right) == table[-1][-1]


@given(st.text(max_size=60), st.text(max_size=60))
def test_words_of_the_state_are_never_entities(state, future):
    written = Foresight(roadmap=state, keywords=(), analysis="", q=None)
    verdict = check(f"{state} {future}", [future], [future or "x"], written)
    assert "entity" not in verdict.reasons and "overlap" not in verdict.reasons


def test_the_likelihood_gain_is_what_the_block_adds():
    def score(context: str, continuation: str) -> float:
        return 0.0 if continuation.strip() in context else -5.0

    assert gain("who?", block(roadmap="it is Paris"), "Paris", score) == 5.0
    assert gain("who?", block(), "Paris", score) == 0.0
    assert gain("Paris?", block(), "Paris", score) == 0.0
