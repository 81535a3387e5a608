"""Two hundred planted leaks in every spelling, and two hundred honest blocks about the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forethought.hindsight.leaks import check
from forethought.hindsight.records import Label, Labelled
from forethought.hindsight.steps import step_rows
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.types import Action, Foresight, StopReason, Task


@dataclass(frozen=True)
class Case:
    """A question, what came later, and what of it a block could give away, in its spellings."""

    state: str
    future: tuple[str, ...]
    answers: tuple[str, ...]
    plants: dict[str, tuple[str, ...]]  # kind -> phrases that tell
    kinds: tuple[str, ...]  # types of the things on the way: no leak


def _case(row: dict[str, Any]) -> Case:
    return Case(
        state=row["state"],
        future=tuple(row["future"]),
        answers=tuple(row["answers"]),
        plants={kind: tuple(phrases) for kind, phrases in row["plants"].items()},
        kinds=tuple(row["kinds"]),
    )


FILE = Path(__file__).parents[1] / "fixtures" / "planted_leaks.json"
CASES = tuple(_case(row) for row in json.loads(FILE.read_text(encoding="ascii")))
HONEST = (
    ("Find the {0}; then its {1}. The {2} is still missing", "A direct path; one page may lack it"),
    ("Search the {0} first, read off the {1}, then the {2}", "Two look-ups; the second may fail"),
    ("Identify the {1} behind the {0}. No {2} yet", "Names are often shared by several people"),
    ("One page should name the {1}; another the {2}", "Likely well documented; little can fail"),
    ("Look for a page on the {0}, then verify the {2}", "May, in the worst case, take three hops"),
    ("Read about the {0} and compare its sources for the {2}", "Sources may disagree on the {2}"),
    ("First the {0}, second the {1}, third the {2}; 2 links open", "Ten calls are left, enough"),
    ("A biography of the {1} is expected; the {2} stands there", "Spelling of names may vary"),
    ("Expect a short page with the {1}; the {2} needs a second search", "Half of such paths work"),
    ("The {2} follows from the {1}. The {0} is known", "Dates and numbers are easily confused"),
    ("Go from the {0} to the {1}, in one or two steps", "The index may not hold the {1}"),
    ("Ask for the {1} of the {0}; then answer with the {2}", "US and UK pages may differ"),
    ("Expect an article in a local paper or an encyclopaedia", "Old pages are often gone"),
    ("Get the {1} right first; the {2} is one look-up away", "A common name; several may match"),
    ("Two facts are missing: the {1} and the {2}", "The first is easy, the second uncertain"),
    ("Check the {0}; if it fails, search for the {1} instead", "A detour costs two calls"),
    ("The {0} leads to one {1}; that page lists the {2}", "Lists are long; the item may be cut"),
)
WHERE = ("roadmap", "keywords", "analysis")


def blocks(case: Case) -> list[tuple[str, Foresight]]:
    """Each phrase of a case planted in one field of an otherwise honest block."""
    planted = []
    for kind, phrases in case.plants.items():
        for number, phrase in enumerate(phrases):
            where = WHERE[number % 2 if kind == "verbatim" else (number + len(kind)) % 3]
            planted.append(
                (kind, with_phrase(case, "roadmap" if kind == "verbatim" else where, phrase))
            )
    for phrase in (*case.plants["alias"], *case.plants["entity"]):
        planted.append(("analysis only", with_phrase(case, "analysis", phrase)))
    return planted


def with_phrase(case: Case, where: str, phrase: str) -> Foresight:
    roadmap, analysis = (text.format(*case.kinds) for text in HONEST[0])
    fields: dict[str, Any] = {"roadmap": roadmap, "keywords": case.kinds, "analysis": analysis}
    if where == "keywords":
        fields["keywords"] = (*case.kinds, phrase)
    else:
        fields[where] = f"{fields[where]}; {phrase}"
    return Foresight(**fields, q=0.5)


PLANTED = [(case, kind, block) for case in CASES for kind, block in blocks(case)]


def test_there_are_two_hundred_plants() -> None:
    assert len(PLANTED) >= 200


@pytest.mark.parametrize("index", range(len(PLANTED)))
def test_a_planted_leak_is_rejected_for_what_it_is(index: int) -> None:
    case, kind, block = PLANTED[index]
    found = check(case.state, case.future, case.answers, block).reasons
    expected = {"overlap"} if kind == "verbatim" else {"answer", "entity"}
    assert expected & set(found), (kind, block)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kinds[-1])
def test_honest_blocks_pass(case: Case) -> None:
    refused = []
    for roadmap, analysis in HONEST:
        block = Foresight(
            roadmap=roadmap.format(*case.kinds),
            keywords=case.kinds,
            analysis=analysis.format(*case.kinds),
            q=0.5,
        )
        verdict = check(case.state, case.future, case.answers, block)
        refused += [] if verdict.accepted else [(verdict.reasons, block.roadmap, block.analysis)]
    assert len(refused) == 0, refused


class Planting:
    """A writer of the planted block of each trajectory."""

    decisions: tuple[str, ...] = ()

    def write(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        return PLANTED[int(trajectory.task.id)][2]

    def recap(self, trajectory: Trajectory, step: int, q: float) -> Foresight:
        return self.write(trajectory, step, q)

    def can_tell(self, steps: Sequence[Step]) -> bool:
        return True


def _item(number: int, case: Case) -> Labelled:
    """The first turn has seen the case's state, and its future is what the searches bring."""
    search = Action(kind="search", text="it")
    steps = tuple(Step(think="", action=search, observation=text) for text in case.future)
    answer = Step(think="", action=Action(kind="answer", text="?"), observation="")
    label = Label(value=0.5, source="outcome", s=1, k=2, prior=0.5)
    task = Task(id=str(number), question=case.state, answers=case.answers, kind="qa")
    return Labelled(
        trajectory=Trajectory(
            task=task,
            source_policy="recorded",
            steps=(*steps, answer),
            success=True,
            stop_reason=StopReason.ANSWER,
        ),
        labels=(label,) * (len(steps) + 1),
    )


def test_stage_0_rejects_them_for_the_same_reasons() -> None:
    items = [_item(number, case) for number, (case, _, _) in enumerate(PLANTED)]
    rows = [row for row in step_rows(items, Planting(), ()) if row["step"] == 0]
    assert len(rows) == len(PLANTED)
    for row, (case, _, block) in zip(rows, PLANTED, strict=True):
        reasons = check(case.state, case.future, case.answers, block).reasons
        assert {code for code, hit in row["filters"].items() if hit} == set(reasons) != set()
