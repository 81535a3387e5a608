from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from forethought.domains.workbook import (
    WorkbookDomain,
    workbook_format,
    workbook_tokenizer,
)
from forethought.domains.workbook_base import drills
from forethought.foresight.block import parse, render
from forethought.hindsight.trajectory import Trajectory
from forethought.rollout.engine import EngineConfig
from forethought.types import Action
from forethought.worlds.workbook.law import law


@cache
def tokenizer() -> Any:
    return workbook_tokenizer()


@cache
def domain() -> WorkbookDomain:
    return WorkbookDomain(law=law(122), seed=5, engine=EngineConfig(max_turns=8))


@cache
def trajectories() -> list[Trajectory]:
    return domain().trajectories(300, tokenizer(), split="val")


def test_tasks_are_numbered_through_the_worlds_of_a_split() -> None:
    many = domain().tasks("val", 12)
    assert domain().tasks("val", 5, offset=7) == many[7:]
    assert len({task.id for task in many}) == 12
    assert {task.split for task in many} == {"val"}
    assert domain().tasks_of_worlds(range(100_000, 100_003), 12) == many


@pytest.mark.parametrize("part", ["write", "recap"])
def test_every_block_is_written_in_words_of_the_vocabulary_and_reads_back(part: str) -> None:
    for trajectory in trajectories():
        for step, turn in enumerate(trajectory.steps):
            block = getattr(domain().writer, part)(trajectory, step, 0.65)
            text = render(block, turn.think, turn.action, style="maths", spaced=True)
            ids = tokenizer().encode(text, add_special_tokens=False)
            assert tokenizer().unk_token_id not in ids
            assert tokenizer().decode(ids) == text
            assert parse(text, "maths").problems == ()
        assert domain().writer.can_tell(trajectory.steps)


def test_a_true_block_foretells_what_comes_and_never_a_number_of_it() -> None:
    for trajectory in trajectories():
        for step in range(trajectory.num_calls):
            block = domain().writer.write(trajectory, step, 0.65)
            shown = trajectory.steps[step].observation
            assert all(keyword in shown for keyword in block.keywords)
            number = shown.split()[0]
            said = f"{block.roadmap} {' '.join(block.keywords)}".split()
            assert not (number.isdecimal() and len(number) > 1 and number in said)


def test_the_truth_of_the_wanderer_is_on_its_routes_and_copies_right() -> None:
    from forethought.evals.baselines import workbook_backend
    from forethought.rollout.engine import Start, run_rollouts_sync

    tasks = domain().tasks("val", 100)
    starts = [
        Start(task=t, env=domain().make_env(), index=0, noise=(1, n), mode="plain")
        for n, t in enumerate(tasks)
    ]
    backend = workbook_backend("wanderer", tokenizer())
    rollouts = run_rollouts_sync(
        starts, backend, domain().text_format, tokenizer(), domain().engine
    )
    for rollout in rollouts:
        truth = domain().truth(rollout)
        assert None not in truth.p and False not in truth.copied
        assert truth.choice is not None and truth.choice.chosen <= truth.choice.best


def test_a_call_that_was_not_carried_out_cannot_be_told() -> None:
    trajectory = domain().trajectories(1, tokenizer())[0]
    step = replace(trajectory.steps[0], observation="")
    assert domain().writer.can_tell(trajectory.steps)
    assert not domain().writer.can_tell([step])
    assert not domain().writer.can_tell([replace(step, observation="No calls are left.")])


def test_drills_train_only_what_can_be_copied() -> None:
    words = tokenizer()
    made = list(drills(4000, words, 3))
    assert sum(len(sequence.ids) for sequence in made) >= 4000
    kinds = [sequence.source.removeprefix("drill/") for sequence in made]
    sparse = kinds.index(next(kind for kind in kinds if kind in ("repeat", "look-up")))
    assert set(kinds[:sparse]) == {"again", "accounts"}
    assert set(kinds[sparse:]) == {"repeat", "look-up"}
    for sequence in made:
        runs = [
            [token for token, _ in run]
            for trains, run in itertools.groupby(
                zip(sequence.ids, sequence.ce_weight, strict=True), key=lambda pair: pair[1] > 0
            )
            if trains
        ]
        assert runs
        first = sequence.ce_weight.index(1.0)
        before = words.decode(sequence.ids[:first])
        for run in runs:
            copied = words.decode(run).removesuffix(" ;")
            once = copied[: len(copied) // 4] if sequence.source == "drill/again" else copied
            assert once.strip() in before
            assert copied in (once, " ".join([once] * 4))


def test_numbers_of_questions_and_calls_are_words() -> None:
    words = tokenizer()
    for task in domain().tasks("train", 200):
        ids = words.encode(task.question, add_special_tokens=False)
        assert len(ids) == len(task.question.split())
    text = render(None, "direct", Action(kind="loop", text="76 , + 7 , 140"), "maths", True)
    assert "76" in [words.decode([token]) for token in words.encode(text)]
    assert workbook_format().parse(text, "plain").action == Action(
        kind="loop", text="76 , + 7 , 140"
    )
