"""Estimates beside q: what each reads, what it is fitted on, and what it must not look at."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from forethought.cli import main  # noqa: E402
from forethought.config import load_config  # noqa: E402
from forethought.domains import make_domain  # noqa: E402
from forethought.domains.atlas import atlas_tokenizer  # noqa: E402
from forethought.errors import InputError  # noqa: E402
from forethought.evals.estimates import fit_tasks  # noqa: E402
from forethought.evals.estimators import (  # noqa: E402
    ONE_ROLLOUT,
    TOO_EARLY,
    Played,
    act_logprob,
    agreeing,
    sequence,
    stated,
    trivial,
)
from forethought.evals.ptrue import NO_WORDS, QUESTIONS, asking, p_true  # noqa: E402
from forethought.jsonl import write_json  # noqa: E402
from forethought.rollout.render import TextFormat  # noqa: E402
from forethought.runlog import RunPaths  # noqa: E402
from forethought.stats.estimates import ESTIMATES, Estimated  # noqa: E402
from forethought.training.policy import Policy  # noqa: E402
from forethought.training.tiny import ModelShape, build_tiny_llama, build_word_tokenizer  # noqa: E402
from forethought.types import (  # noqa: E402
    Episode,
    ParsedTurn,
    Rollout,
    Span,
    StopReason,
    Task,
    Turn,
)
from tests.stats.stats_builders import episode, turn  # noqa: E402

PARSED = ParsedTurn(foresight=None, think="", action=None, problems=(), spans=())
SHAPE = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=64)


def sampled(logprob: float, ids: tuple[int, ...] = (5, 6, 7)) -> Turn:
    """A turn whose block is sure and whose action has one log-probability."""
    return Turn(
        ids=ids,
        logprobs=(-9.0, *(logprob,) * (len(ids) - 1)),
        text="",
        parsed=PARSED,
        token_spans=(Span.IMAGINARY, *(Span.ACTION,) * (len(ids) - 1)),
        observation="",
        observation_ids=(8,),
    )


def rollout_of(*turns: Turn) -> Rollout:
    return Rollout(
        task=Task(id="t", question="?", answers=("y",), kind="qa"),
        index=0,
        env="search_qa",
        prompt_ids=(1, 4),
        turns=turns,
        answer=None,
        stop_reason=StopReason.ANSWER,
        error=None,
        wall_s=0.0,
    )


def played(num: int, seed: int, sharpness: float = 2.0) -> Played:
    """Tasks of one rollout: q is too sure, and what is won is sampled with more probability."""
    rng = np.random.default_rng(seed)
    episodes: list[Episode] = []
    rollouts: list[Rollout] = []
    for n in range(num):
        z = rng.normal(0.0, 1.5)
        won = int(rng.random() < 1 / (1 + math.exp(-z)))
        q = 1 / (1 + math.exp(-sharpness * z))
        one = replace(turn(0.5, expected=q), q_levels=(1.0,))
        episodes.append(episode(f"{seed}/{n}", won, one, one))
        rollouts.append(rollout_of(sampled(0.0), sampled(-1.0 - rng.random() + 0.5 * won)))
    return Played.of(rollouts, episodes)


def named(found: list[Estimated], name: str) -> Estimated:
    return next(one for one in found if one.name == name)


def test_a_temperature_is_that_of_the_fitted_episodes_and_scales_the_others() -> None:
    evaluated, fitted = played(50, 1), played(4000, 2)
    made = named(stated("last", evaluated, fitted), "q-tempered")
    assert made.fit is not None and made.fit["temperature"] == pytest.approx(2.0, abs=0.2)
    # Other outcomes of the evaluated episodes change nothing: they are not looked at.
    turned = replace(
        evaluated,
        episodes=tuple(replace(e, success=1 - (e.success or 0)) for e in evaluated.episodes),
    )
    for estimator in (stated, sequence, trivial):
        assert [one.values for one in estimator("last", turned, fitted)] == [
            one.values for one in estimator("last", evaluated, fitted)
        ]


def test_a_fitted_q_of_an_arm_without_blocks_is_not_the_policy_s() -> None:
    evaluated = played(5, 1)
    bare = replace(
        evaluated,
        episodes=tuple(
            replace(e, turns=tuple(replace(t, q_levels=None, foresight=None) for t in e.turns))
            for e in evaluated.episodes
        ),
    )
    for one in stated("first", bare, bare):
        assert set(one.values) == {None} and one.reason == "the policy states no estimate"


def test_the_probability_of_a_sequence_is_a_mean_outside_the_block() -> None:
    assert act_logprob(sampled(-0.5)) == act_logprob(sampled(-0.5, (5, 6, 7, 8))) == -0.5
    assert act_logprob(replace(sampled(-0.5), token_spans=(Span.IMAGINARY,) * 3)) is None


def test_a_fitted_sequence_probability_is_calibrated_and_keeps_the_ranking() -> None:
    evaluated, fitted = played(1500, 3), played(1500, 4)
    raw, made = sequence("last", evaluated, fitted)
    order = np.argsort(np.array(raw.values, dtype=np.float64))
    q = np.array(made.values, dtype=np.float64)[order]
    assert (np.diff(q) >= 0).all() and 0 < q[0] < q[-1] < 1
    assert abs(q.mean() - np.mean(evaluated.outcomes)) < 0.06
    # At the first turn every turn has the same probability: nothing to rank by.
    assert len(set(sequence("first", evaluated, fitted)[0].values)) == 1


def test_agreement_needs_an_answer_and_other_rollouts() -> None:
    one = played(4, 1)
    assert agreeing("first", one).reason == TOO_EARLY
    assert agreeing("last", one).reason == ONE_ROLLOUT
    two = Played.of(one.rollouts, [replace(e, task_id="t") for e in one.episodes])
    assert agreeing("last", two).values == (1.0,) * 4


def test_trivial_estimates_know_the_rate_and_the_step_of_other_tasks_only() -> None:
    fitted = played(200, 5)
    longer = tuple(
        replace(e, turns=(*e.turns, *e.turns)) if e.success == 0 else e for e in fitted.episodes
    )
    fitted = replace(fitted, episodes=longer)
    rate, step, logistic = trivial("last", fitted, fitted)
    assert set(rate.values) == {np.mean(fitted.outcomes)}
    assert [round(v or 0.0) for v in step.values] == fitted.outcomes
    assert None not in logistic.values
    flat = trivial("first", fitted, fitted)[1]
    assert flat.values[0] == pytest.approx(np.mean(fitted.outcomes), abs=1e-3)


def test_held_back_lost_and_empty_episodes_have_no_estimate() -> None:
    base = played(4, 1)
    held = replace(base.episodes[0], stop_reason=StopReason.ABSTAIN)
    lost = episode("x", 0, turn(), failed=True)
    empty = replace(base.episodes[2], turns=())
    found = Played.of(base.rollouts, [held, lost, empty, base.episodes[3]])
    assert found.episodes == (base.episodes[3],) and found.rollouts == (base.rollouts[3],)


@pytest.mark.parametrize("split", ["val", "test"])
def test_no_task_question_or_world_is_both_fitted_on_and_evaluated(split: str) -> None:
    config = load_config("demo/atlas-fast", {"control.estimate_tasks": "40"})
    domain = make_domain(config)
    tasks = domain.tasks(split, 33, offset=2)  # begins and ends inside a world
    found = fit_tasks(config, domain, tasks)
    assert len(found) == 40 and {task.split for task in found} == {"val"}
    assert not {t.id for t in found} & {t.id for t in tasks}
    assert not {t.world_seed for t in found} & {t.world_seed for t in tasks}
    # Nor are they tasks that the run itself evaluates.
    usual = {task.id for task in domain.tasks("val", config.eval.num_tasks)}
    assert not usual & {task.id for task in found}


def test_worlds_that_lie_behind_the_usual_ones_are_passed_over() -> None:
    config = load_config("demo/atlas-fast", {"control.estimate_tasks": "40"})
    domain = make_domain(config)
    tasks = domain.tasks_of_worlds(range(100_004, 100_020), None)
    assert len(fit_tasks(config, domain, tasks)) == 40


def test_too_few_tasks_to_fit_on_are_refused() -> None:
    class Short:
        def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
            return [Task(id=str(n), question=str(n), answers=("y",), kind="qa") for n in range(19)]

    domain: Any = Short()
    with pytest.raises(InputError, match="--estimates"):
        fit_tasks(load_config("demo/atlas-fast"), domain, [])


WORDS = [*"abcd", *" ".join(QUESTIONS.values()).split(), "Reply:", "True", "False"]


@pytest.fixture(scope="module")
def asked() -> Policy:
    """A tiny model that has words for the question, and instructions to be asked behind."""
    tokenizer = build_word_tokenizer(WORDS)
    return Policy(model=build_tiny_llama(len(tokenizer), SHAPE, seed=0), tokenizer=tokenizer)


def test_p_true_is_the_model_s_own_share_behind_what_was_sampled(asked: Policy) -> None:
    how = asking(TextFormat(name="x", prompt_style="instruct"), asked.tokenizer, "last")
    assert not isinstance(how, str)
    assert asked.tokenizer.decode([how.yes, how.no]) == "True False"
    rollouts = [rollout_of(sampled(0.0)), rollout_of(sampled(0.0), sampled(0.0, (5, 6)))]
    found = p_true(asked, rollouts, "last", how)
    for rollout, value in zip(rollouts, found, strict=True):
        ids = [*rollout.prompt_ids]
        for number, one in enumerate(rollout.turns):
            last = number == len(rollout.turns) - 1
            ids += [*one.ids, *(() if last else one.observation_ids)]
        logits = asked.model(torch.tensor([[*ids, *how.tail]])).logits[0, -1]
        both = logits[[how.yes, how.no]].softmax(-1)
        assert value == pytest.approx(both[0].item(), abs=1e-5)
    # Batches do not matter, and True against False is 1 less False against True.
    assert p_true(asked, rollouts, "last", how, batch_tokens=1) == pytest.approx(found, abs=1e-5)
    turned = p_true(asked, rollouts, "last", replace(how, yes=how.no, no=how.yes))
    assert [1 - (v or 0) for v in turned] == pytest.approx(found, abs=1e-5)


def test_behind_the_first_turn_later_ones_are_unseen(asked: Policy) -> None:
    how = asking(TextFormat(name="x", prompt_style="instruct"), asked.tokenizer, "first")
    assert not isinstance(how, str)
    short, long = rollout_of(sampled(0.0)), rollout_of(sampled(0.0), sampled(0.0))
    first = p_true(asked, [short, long], "first", how)
    last = p_true(asked, [short, long], "last", how)
    assert first[0] == pytest.approx(first[1], abs=1e-6) and last[0] != last[1]


def test_a_policy_that_cannot_be_asked_is_not_and_a_row_too_long_has_none(asked: Policy) -> None:
    assert asking(TextFormat(name="atlas", spaced=True), atlas_tokenizer(), "last") == NO_WORDS
    how = asking(TextFormat(name="x", prompt_style="instruct"), asked.tokenizer, "last")
    assert not isinstance(how, str)
    endless = rollout_of(sampled(0.0, (5,) * 60))
    assert p_true(asked, [endless, rollout_of()], "last", how) == [None, None]


def test_a_chat_model_is_asked_in_its_own_template(asked: Policy) -> None:
    tokenizer = build_word_tokenizer([*WORDS, "<user>", "<bot>", "<end>", "x"])
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<user> ' if m.role == 'user' else '<bot> ' }}{{ m.content }}"
        "{{ ' <end> ' }}{% endfor %}{% if add_generation_prompt %}{{ '<bot> ' }}{% endif %}"
    )
    how = asking(TextFormat(name="x"), tokenizer, "last")
    assert not isinstance(how, str)
    assert tokenizer.decode(how.tail).startswith("<end> <user> Is")
    assert tokenizer.decode(how.tail).endswith("False. <end> <bot>")
    model = build_tiny_llama(len(tokenizer), SHAPE, seed=0)
    policy = Policy(model=model, tokenizer=tokenizer)
    end = how.tail[0]
    ended, open_ = sampled(0.0, (5, 6, end)), sampled(0.0, (5, 6))
    # A turn that has ended itself is not ended twice.
    values = p_true(policy, [rollout_of(ended), rollout_of(open_)], "last", how)
    assert values[0] == pytest.approx(values[1], abs=1e-6)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model was never trained."""
    paths = RunPaths(tmp_path_factory.mktemp("run"))
    config = load_config("demo/atlas-fast", {"rollout.max_turn_tokens": "24"})
    write_json(paths.resolved, config.model_dump(mode="json"))
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=512)
    model = build_tiny_llama(len(tokenizer), shape, seed=0)
    Policy(model=model, tokenizer=tokenizer).save(paths.root / "sft" / "model")
    return paths.root


def words(run: Path, out: Path, *more: str) -> list[str]:
    small = ["--eval.resamples", "20", "--control.estimate_tasks", "20", "--num", "3"]
    model = ["--model", f"{run}/sft", "--out", str(out)]
    return ["eval", "demo/atlas-fast", *model, "--estimates", *small, *more]


def test_eval_writes_every_estimate_beside_an_unchanged_evaluation(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(run, tmp_path / "a", "--samples", "2", "--json")) == 0
    shown = json.loads(capsys.readouterr().out)
    document = json.loads((tmp_path / "a" / "estimates.json").read_text())
    assert shown.pop("estimates") == document
    assert document["schema"] == "forethought.estimates/1"
    assert [row["estimate"] for row in document["rows"]] == [*ESTIMATES, *ESTIMATES]
    for row in document["rows"]:
        assert (row["n"] == 0) is (row["reason"] is not None)
    assert document["fitted_on"]["num_tasks"] == 20
    assert shown == json.loads((tmp_path / "a" / "summary.json").read_text())
    without = [
        word for word in words(run, tmp_path / "b", "--samples", "2") if word != "--estimates"
    ]
    assert main(without) == 0
    assert not (tmp_path / "b" / "estimates.json").exists()
    for file in ("summary.json", "tokens.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_table_and_the_report_name_them_and_say_what_is_undefined(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(run, tmp_path / "a")) == 0
    table = capsys.readouterr().out
    assert "estimates at the last turn" in table and "base-rate" in table
    assert f"p-true: undefined, {NO_WORDS}" in table
    assert f"self-consistency: undefined, {ONE_ROLLOUT}" in table
    assert main(["report", str(tmp_path / "a")]) == 0
    assert "estimates at the last turn" in capsys.readouterr().out


def test_a_script_has_no_estimates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["eval", "demo/atlas-fast", "--model", "planner", "--estimates"]
    assert main([*given, "--out", str(tmp_path / "a")]) == 2
    assert "--estimates" in capsys.readouterr().err


def test_baselines_are_listed_with_the_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "baselines", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert {"planner", *ESTIMATES} <= set(names)
