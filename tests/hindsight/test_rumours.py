"""Rumours are forecasts of other trajectories in the same situation, and only history."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from forethought.config import RunConfig
from forethought.domains.atlas import AtlasDomain, atlas_tokenizer
from forethought.hindsight.corpus import CorpusBuilder
from forethought.hindsight.records import Label, Labelled
from forethought.hindsight.rumours import Rumours
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import MathsWriter
from forethought.types import Action, Foresight, StopReason, Task
from forethought.worlds.atlas.text import parse_question


@cache
def domain() -> AtlasDomain:
    return AtlasDomain.from_config(RunConfig(seed=100))


@cache
def tokenizer() -> Any:
    return atlas_tokenizer()


@cache
def items() -> tuple[Labelled, ...]:
    label = Label(value=0.6, source="monte_carlo", s=3, k=5, prior=0.5)
    return tuple(
        Labelled(trajectory=t, labels=(label,) * len(t.steps))
        for t in domain().trajectories(800, tokenizer())
    )


@cache
def told() -> tuple[tuple[int, tuple[Foresight, ...]], ...]:
    rumours, rng = Rumours(items(), domain().writer), random.Random(0)
    return tuple((index, tuple(rumours.earlier(index, rng))) for index in range(400))


def test_rumours_end_before_the_last_turn_so_that_something_trains() -> None:
    for index, blocks in told():
        assert len(blocks) < len(items()[index].trajectory.steps)


def test_most_episodes_have_rumours_and_many_of_these_did_not_come_true() -> None:
    with_some = [(index, blocks) for index, blocks in told() if blocks]
    assert len(with_some) > 0.6 * len(told())
    false = [
        block.roadmap != domain().writer.write(items()[index].trajectory, step, 0.5).roadmap
        for index, blocks in with_some
        for step, block in enumerate(blocks)
    ]
    assert 0.4 < sum(false) / len(false) < 0.95


def test_a_rumour_speaks_of_the_route_that_is_taken_here() -> None:
    for index, blocks in told():
        trajectory = items()[index].trajectory
        routes = dict(parse_question(trajectory.task.question).routes)
        for step, block in enumerate(blocks):
            letter = trajectory.steps[step].think.split()[0]
            links = [link.split() for link in block.roadmap.split(" ; ")[0].split(" , ")][:-1]
            assert {link[0] for link in links} == {letter}
            relations = [link[1] for link in links]
            route = list(routes[letter])
            assert any(
                route[first : first + len(relations)] == relations for first in range(len(route))
            )


def test_rumours_are_history_and_the_turns_behind_them_train() -> None:
    builder = CorpusBuilder(
        text_format=domain().text_format, tokenizer=tokenizer(), writer=domain().writer
    )
    index, blocks = next((index, blocks) for index, blocks in told() if len(blocks) == 1)
    whole, later = (builder.tagged(items(), index, earlier=earlier) for earlier in ((), blocks))
    words = tokenizer().convert_ids_to_tokens(list(later.sequence.ids))
    reply = words.index("<information>")
    assert not any(later.sequence.ce_weight[:reply])
    assert 0 < sum(later.sequence.ce_weight) < sum(whole.sequence.ce_weight)
    assert 0 < later.block_tokens < whole.block_tokens
    assert blocks[0].roadmap in " ".join(words[:reply])


def test_an_episode_of_one_turn_and_a_problem_that_is_like_no_other_have_none() -> None:
    task = Task(id="x", question="1 + 1", answers=("2",), kind="maths", split="train")
    call = Step(think="add", action=Action(kind="python", text="print(1+1)"), observation="2")
    end = Step(think="done", action=Action(kind="answer", text="2"), observation="")
    label = Label(value=1.0, source="outcome", s=1, k=1, prior=0.5)
    for steps in ((end,), (call, end)):
        made = Trajectory(
            task=task,
            source_policy="annotations",
            steps=steps,
            success=True,
            stop_reason=StopReason.ANSWER,
        )
        twins = [Labelled(trajectory=made, labels=(label,) * len(steps))] * 3
        assert Rumours(twins, MathsWriter()).earlier(0, random.Random(0)) == []
