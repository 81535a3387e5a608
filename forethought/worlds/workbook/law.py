"""How tasks are drawn, and which kinds of them training never sees.

The physics is arithmetic and the same for all laws; the law of a seed is the set of cells (shape of
the rule, band of the days) that are held out of training, the `composed` slice of validation and
test.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from forethought.types import Task
from forethought.worlds.splits import TASKS_A_WORLD, TRAINING_SEEDS, split_of
from forethought.worlds.workbook.physics import (
    Operator,
    Rule,
    apply_rule,
    digit_sum,
)
from forethought.worlds.workbook.routes import follow, need, routes_of
from forethought.worlds.workbook.text import ACCOUNTS, QuestionFacts, render_question

DAYS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 40, 60, 80, 100, 120, 140, 180, 240, 320, 400)
FEW_DAYS = 10  # rules that multiply by more than one take the first so many of them
_DAY_WEIGHTS = (1,) * 10 + (4,) * 10  # others mostly run long, where fuel matters
BANDS = (10, 60, 140, 240)  # a band of days ends at each of these; the last one is open

Kind = Literal["add", "multiply", "mixed"]
_KINDS: tuple[Kind, ...] = ("add", "multiply", "mixed")
_KIND_WEIGHTS = (12, 3, 5)
_DIVISORS = (2, 3, 4, 5, 7)
_POWERS_OF_TWO = (4, 8, 16, 32, 64)

SPARE_CALL = 0.40  # share of tasks with one call more than the cheapest way needs
HELD_OUT_SHARE = 0.20

Cell = tuple[str, int]
"""Shape of a rule (its operators, `1` where it multiplies by one) and band of the days."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Law:
    """What training never sees; compared by identity."""

    seed: int
    held_out: frozenset[Cell]

    @property
    def name(self) -> str:
        """Short name for task ids, e.g. `L100`."""
        return f"L{self.seed}"


@lru_cache(maxsize=64)
def law(seed: int) -> Law:
    """The law of a seed; study seed s uses law s."""
    rng = random.Random(f"workbook-held-out/{seed}")
    cells = [(shape, band) for shape in shapes() for band in range(len(BANDS) + 1)]
    left = dict.fromkeys(shapes(), len(BANDS) + 1)
    wanted = round(HELD_OUT_SHARE * len(cells))
    chosen: list[Cell] = []
    for shape, band in rng.sample(cells, len(cells)):
        if len(chosen) < wanted and left[shape] > 1:
            left[shape] -= 1
            chosen.append((shape, band))
    return Law(seed=seed, held_out=frozenset(chosen))


def shapes() -> list[str]:
    """All shapes of rules of one to three operations."""
    letters = ("+", "-", "*", "1")
    return ["".join(s) for n in (1, 2, 3) for s in itertools.product(letters, repeat=n)]


def cell_of(facts: QuestionFacts) -> Cell:
    """Shape and band of a task."""
    shape = "".join("1" if (o, n) == ("*", 1) else o for o, n in facts.rule)
    return shape, sum(facts.days > edge for edge in BANDS)


def is_composed(law: Law, facts: QuestionFacts) -> bool:
    """Whether a task lies in a cell that training never sees."""
    return cell_of(facts) in law.held_out


def draw_question(law: Law, rng: random.Random, *, training: bool) -> QuestionFacts:
    """A question by the task law.

    Args:
        law: its held-out cells matter where `training` is set.
        rng: the only source of randomness.
        training: draw no task of a held-out cell.
    """
    while True:
        facts = _with_calls(_draw(rng), rng)
        value = apply_rule(facts.start, facts.rule, facts.days)
        if (value is None or value >= 0) and not (training and is_composed(law, facts)):
            return facts


def _draw(rng: random.Random) -> QuestionFacts:
    """All but the number of calls, which is 0."""
    kind = rng.choices(_KINDS, _KIND_WEIGHTS)[0]
    rule = _draw_rule(kind, rng)
    grows = any(operator == "*" and number > 1 for operator, number in rule)
    days = rng.choice(DAYS[:FEW_DAYS]) if grows else rng.choices(DAYS, _DAY_WEIGHTS)[0]
    last = rng.choices(("", "/", "digits"), (4, 3, 3))[0]
    halves = kind == "multiply" and any(number == 2 for _, number in rule)
    divisors = _POWERS_OF_TWO if halves and rng.random() < 0.8 else _DIVISORS
    first, second = rng.sample(ACCOUNTS, 2)
    return QuestionFacts(
        accounts=((first, rng.randint(11, 99)), (second, rng.randint(11, 99))),
        rule=rule,
        days=days,
        divisor=rng.choice(divisors) if last == "/" else None,
        digits=last == "digits",
        asked=rng.choice((first, second)),
        calls=0,
    )


def _draw_rule(kind: Kind, rng: random.Random) -> Rule:
    def add() -> tuple[Operator, int]:
        return ("-" if rng.random() < 1 / 3 else "+"), rng.randint(2, 19)

    count = rng.randint(1, 3)
    if kind == "multiply":
        return tuple(("*", rng.choices((2, 3), (2, 1))[0]) for _ in range(count))
    if kind == "add":
        return tuple(add() for _ in range(count))
    multiplied = rng.randrange(max(count, 2))
    return tuple(
        ("*", rng.choices((1, 2), (8, 1))[0]) if i == multiplied else add()
        for i in range(max(count, 2))
    )


def _with_calls(facts: QuestionFacts, rng: random.Random) -> QuestionFacts:
    """With the calls of the cheapest way that works, or of the cheapest one, and maybe a spare."""
    names = routes_of(facts)
    working = [need(facts, name) for name in names if follow(facts, name).result is not None]
    cheapest = min(working or [need(facts, name) for name in names])
    spare = 1 if rng.random() < SPARE_CALL else 0
    return replace(facts, calls=cheapest + spare)


def right_answer(facts: QuestionFacts) -> str:
    """The exact answer, whether or not a call can print it; a fraction as `1017/7`."""
    answer = known_result(facts)
    assert answer is not None, "the days of a rule that grows are few"
    return answer


def known_result(facts: QuestionFacts) -> str | None:
    """`right_answer` of any question; None where a number is too large to be worked out."""
    value = apply_rule(facts.start, facts.rule, facts.days)
    if value is None:
        return None
    if facts.digits:
        return str(digit_sum(value))
    return str(value if facts.divisor is None else Fraction(value, facts.divisor))


def tasks_of_world(law: Law, world_seed: int) -> list[Task]:
    """The tasks of a seed; the same law and seed give the same bytes."""
    rng = random.Random(f"workbook-world/{law.seed}/{world_seed}")
    tasks = []
    for number in range(TASKS_A_WORLD):
        facts = draw_question(law, rng, training=world_seed in TRAINING_SEEDS)
        tasks.append(
            Task(
                id=f"workbook-{law.name}-W{world_seed:06d}-{number}",
                question=render_question(facts),
                answers=(right_answer(facts),),
                kind="maths",
                split=split_of(world_seed),
                world_seed=world_seed,
                columns={"budget": facts.calls, "composed": is_composed(law, facts)},
            )
        )
    return tasks
