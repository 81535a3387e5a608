"""Atlas as the stages see it: tasks by split, the wanderer's episodes, blocks, copying."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest

from forethought.domains.atlas import AtlasDomain, atlas_tokenizer
from forethought.domains.atlas_base import drills, pages
from forethought.evals.baselines import scripted_backend
from forethought.hindsight.corpus import CorpusBuilder, FreeOptions
from forethought.hindsight.records import Label, Labelled
from forethought.hindsight.steps import leaks_of, step_rows
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.rollout.engine import Start, run_rollouts_sync
from forethought.schema import RunConfig
from forethought.types import Action, Span
from forethought.worlds.atlas.tokens import NAMES


@cache
def domain() -> AtlasDomain:
    return AtlasDomain.from_config(RunConfig(seed=100))


@cache
def tokenizer() -> Any:
    return atlas_tokenizer()


@cache
def trajectories() -> tuple[Trajectory, ...]:
    return tuple(domain().trajectories(200, tokenizer()))


def builder_of(**options: bool) -> CorpusBuilder:
    return CorpusBuilder(
        text_format=domain().text_format,
        tokenizer=tokenizer(),
        writer=domain().writer,
        **options,
    )


def labelled(q: float = 0.6) -> list[Labelled]:
    label = Label(value=q, source="monte_carlo", s=3, k=5, prior=0.5)
    return [Labelled(trajectory=t, labels=(label,) * len(t.steps)) for t in trajectories()]


def test_tasks_of_a_split_come_from_its_worlds_and_any_window_is_the_same() -> None:
    whole = domain().tasks("val", 23)
    assert [t.id for t in domain().tasks("val", 9, offset=7)] == [t.id for t in whole[7:16]]
    assert all(100_000 <= (t.world_seed or 0) < 200_000 and t.split == "val" for t in whole)


def test_the_wanderer_keeps_its_failures_and_half_of_its_episodes_succeed() -> None:
    rate = sum(t.success for t in trajectories()) / len(trajectories())
    assert 0.36 < rate < 0.60
    assert {t.source_policy for t in trajectories()} == {"wanderer"}


def test_trajectories_are_a_function_of_the_seed() -> None:
    assert domain().trajectories(200, tokenizer()) == list(trajectories())


def test_every_text_of_an_episode_is_in_the_vocabulary() -> None:
    unknown = tokenizer().unk_token_id
    builder = builder_of()
    items = labelled()
    for index in range(60):
        for kind in ("true", "recap", "shuffled", "constant"):
            options = FreeOptions(kind=kind)
            free = builder.free(items, index, random.Random(index), options).sequence
            tagged = builder.tagged(items, index, kind).sequence
            assert unknown not in free.ids and unknown not in tagged.ids


def test_of_an_observed_episode_what_was_replied_trains_and_nothing_else() -> None:
    trajectory = labelled()[0].trajectory
    sequence = builder_of().observed(trajectory).sequence
    words = tokenizer().convert_ids_to_tokens(list(sequence.ids))
    trained = [w for w, weight in zip(words, sequence.obs_weight, strict=True) if weight]
    assert trained == [word for step in trajectory.steps for word in step.observation.split()]
    assert set(sequence.ce_weight) == {0.0}


def test_a_written_block_names_no_entity_and_passes_every_filter() -> None:
    names = set(NAMES)
    for item in labelled()[:100]:
        for step in range(item.trajectory.num_calls):
            block = domain().writer.write(item.trajectory, step, 0.6)
            words = f"{block.roadmap} {' '.join(block.keywords)} {block.analysis}".split()
            assert not names & set(words)
            assert leaks_of(item.trajectory, step, block, NAMES).accepted


def test_a_planted_answer_and_a_planted_name_are_rejected() -> None:
    from dataclasses import replace

    trajectory = next(t for t in trajectories() if t.success)
    block = domain().writer.write(trajectory, 0, 0.6)
    told = replace(block, roadmap=f"{block.roadmap} , {trajectory.task.answers[0]}")
    verdict = leaks_of(trajectory, 0, told, NAMES)
    assert not verdict.accepted and "answer" in verdict.reasons


def test_keywords_are_new_come_true_and_stand_in_the_order_of_the_pages() -> None:
    for item in labelled()[:100]:
        trajectory = item.trajectory
        block = domain().writer.write(trajectory, 0, 0.6)
        future = " ".join(trajectory.future(0)).split()
        if block.keywords in (("reply",), ("stuck",)):
            continue
        assert set(block.keywords) <= set(future)
        assert not set(block.keywords) & set(trajectory.task.question.split())
        assert len(set(block.keywords)) == len(block.keywords) <= 5


def test_the_block_of_a_failed_episode_trains_and_its_action_does_not() -> None:
    builder = builder_of()
    items = labelled()
    lost = next(n for n, item in enumerate(items) if not item.trajectory.success)
    sequence = builder.free(items, lost, random.Random(0), FreeOptions()).sequence
    words = tokenizer().convert_ids_to_tokens(list(sequence.ids))
    trained = {word for word, weight in zip(words, sequence.ce_weight, strict=True) if weight}
    assert trained and not trained & {"<search>", "</search>", "<think>", "<answer>"}
    assert builder.plain(items[lost]) is None


def test_in_stage_two_every_token_of_the_response_trains_and_no_other() -> None:
    builder = builder_of()
    items = labelled()
    won = next(n for n, item in enumerate(items) if item.trajectory.success)
    written = builder.tagged(items, won)
    words = tokenizer().convert_ids_to_tokens(list(written.sequence.ids))
    inside = False
    for word, weight in zip(words, written.sequence.ce_weight, strict=True):
        if word == "<imaginary>":
            inside = True
        if word == "<information>":
            inside = False
        assert weight == float(inside), word
    assert 0 < written.block_tokens < sum(written.sequence.ce_weight)


@pytest.mark.parametrize("form", ["tagged", "free"])
def test_a_failure_teaches_what_came_of_its_way_and_not_to_take_it(form: str) -> None:
    items = labelled()
    letters = set(domain().writer.decisions)
    assert letters == set("abc")
    for asked in (False, True):
        builder = builder_of(failed_decisions=asked)
        for won in (True, False):
            at = next(n for n, item in enumerate(items) if item.trajectory.success is won)
            written = (
                builder.tagged(items, at)
                if form == "tagged"
                else builder.free(items, at, random.Random(0), FreeOptions(block_share=1.0))
            )
            ids, weights = written.sequence.ids, written.sequence.ce_weight
            act = tokenizer().convert_tokens_to_ids("<think>")
            words = tokenizer().convert_ids_to_tokens(list(ids))
            inside = [
                (word, weight)
                for n, (word, weight) in enumerate(zip(words, weights, strict=True))
                if word in letters and weight is not None and ids[n - 1] != act
            ]
            assert any(weight for _, weight in inside) is (won or asked)
            assert sum(weights) > 20


def test_where_failures_are_not_imitated_only_their_blocks_train_in_stage_two() -> None:
    items = labelled()
    lost = next(n for n, item in enumerate(items) if not item.trajectory.success)
    for imitated in (True, False):
        builder = builder_of(imitate_failures=imitated)
        sequence = builder.tagged(items, lost).sequence
        words = tokenizer().convert_ids_to_tokens(list(sequence.ids))
        trained = {word for word, weight in zip(words, sequence.ce_weight, strict=True) if weight}
        assert ("<search>" in trained) is imitated
        assert "<confidence>" in trained


def test_step_rows_carry_twins_of_another_task() -> None:
    rows = step_rows(labelled()[:40], domain().writer, NAMES)
    assert sum(t.num_calls for t in trajectories()[:40]) == len(rows)
    differing = sum(row["placebo"]["shuffled"] != row["block"] for row in rows)
    assert differing > 0.9 * len(rows)
    for row in rows:
        assert row["placebo"]["constant"]["roadmap"] == row["block"]["roadmap"]


def test_the_oracle_agrees_with_the_wanderer_it_describes() -> None:
    backend = scripted_backend("wanderer", domain().law, tokenizer())
    tasks = domain().tasks("val", 400)
    starts = [
        Start(task=t, env=domain().make_env(), noise=(1, n), mode="plain")
        for n, t in enumerate(tasks)
    ]
    text_format = domain().text_format
    rollouts = run_rollouts_sync(starts, backend, text_format, tokenizer(), domain().engine)
    truths = [domain().truth(rollout) for rollout in rollouts]
    predicted = [truth.p[0] or 0.0 for truth in truths]
    won = [float(rollout.answer in rollout.task.answers) for rollout in rollouts]
    # 400 tasks: the standard error of the mean outcome is .025.
    assert abs(sum(predicted) - sum(won)) / len(won) < 0.075
    marks = [mark for truth in truths for mark in truth.copied if mark is not None]
    assert all(marks) and len(marks) > 600
    gained = sum(t.choice.chosen - t.choice.mean for t in truths if t.choice)
    possible = sum(t.choice.best - t.choice.mean for t in truths if t.choice)
    assert abs(gained / possible) < 0.1  # the wanderer chooses by chance


def test_steps_that_ask_for_nothing_on_a_route_cannot_be_told() -> None:
    def search(think: str, query: str) -> Step:
        return Step(think=think, action=Action(kind="search", text=query), observation="none")

    writer = domain().writer
    assert writer.can_tell([search("c banok", "mentor banok")])
    assert not writer.can_tell([search("c banok", "; banok")])
    assert not writer.can_tell([search("c banok", "banok mentor")])
    assert not writer.can_tell([search("banok", "mentor banok")])


def test_drills_train_only_what_can_be_known() -> None:
    for sequence in drills(3000, tokenizer(), seed=1):
        assert any(sequence.ce_weight) and sequence.ce_weight[0] == 0.0
        half = len(sequence.ids) // 2
        if sequence.source == "drill/repeat":
            assert not any(sequence.ce_weight[: half - 1])
    texts = iter(["employer west lamp banok buzur north"] * 40)
    made = list(pages(texts, 100, tokenizer()))
    assert all(all(s.ce_weight[1:]) for s in made)


def test_a_token_of_a_tagged_turn_belongs_to_the_element_that_holds_it() -> None:
    from forethought.rollout.author import AuthoredTurn, author

    text = (
        "<imaginary> c mentor flint coast , reply ; 2 links open </imaginary> "
        "<keyword> flint , coast </keyword> <analysis> seat stale , 0 spare </analysis> "
        "<confidence> 65 % </confidence> <think> c banok </think> <search> mentor banok </search>"
    )
    task = domain().tasks("val", 1)[0]
    turns = [AuthoredTurn(text=text, observation="none")]
    rollout = author(task, turns, domain().text_format, tokenizer(), "foresight")
    spans = rollout.turns[0].token_spans
    order = [Span.IMAGINARY, Span.KEYWORD, Span.ANALYSIS, Span.CONFIDENCE, Span.THINK, Span.ACTION]
    assert list(dict.fromkeys(spans)) == order
    assert rollout.turns[0].parsed.format_ok
