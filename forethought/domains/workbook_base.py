"""What the base model of workbook is trained on before its episodes: copying numbers.

A random list is repeated, accounts are named again and their amounts follow, or the parts of a
freshly drawn question are looked up: an amount, the rule of a day, the number of days. Numbers are
drawn anew and nothing is worked out, so only copying by position and match can lower the loss.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from forethought.domains.atlas_base import drill_sequence
from forethought.types import TrainingSequence
from forethought.worlds.workbook.physics import Operator, Rule, render_rule
from forethought.worlds.workbook.text import ACCOUNTS, QuestionFacts, render_question

_OPERATORS: tuple[Operator, ...] = ("+", "-", "*")


def drills(tokens: int, tokenizer: Any, seed: int) -> Iterator[TrainingSequence]:
    """Copy drills until `tokens` tokens were made: lists, accounts, look-ups in questions."""
    rng = random.Random(f"drill/{seed}")
    made = 0
    while made < tokens:
        kind = rng.choices((_repeat, _accounts, _look_up), (1, 2, 2))[0]
        sequence = kind(rng, tokenizer)
        made += len(sequence.ids)
        yield sequence


def _number(rng: random.Random, digits: int) -> str:
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def _repeat(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    text = " ; ".join(_number(rng, rng.randint(1, 6)) for _ in range(rng.randint(2, 6)))
    return drill_sequence([(f"{text} :", False), (f"{text} ;", True)], tokenizer, "drill/repeat")


def _accounts(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    """Accounts and amounts, then the same in another order.

    There are more than the two of a question, so that knowing the places is worth less than reading
    the name.
    """
    names = rng.sample(ACCOUNTS, rng.randint(2, len(ACCOUNTS)))
    amounts = {name: str(rng.randint(11, 99)) for name in names}
    parts = [(" ; ".join(f"{name} {amounts[name]}" for name in names), False)]
    for name in rng.sample(names, len(names)):
        parts += [(f"; {name}", False), (amounts[name], True)]
    return drill_sequence(parts, tokenizer, "drill/accounts")


def _look_up(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    """A question of random numbers, then `name : part` for some of its parts."""
    first, second = rng.sample(ACCOUNTS, 2)
    amounts = {name: rng.randint(11, 99) for name in (first, second)}
    rule: Rule = tuple(
        (rng.choice(_OPERATORS), rng.randint(1, 19)) for _ in range(rng.randint(1, 3))
    )
    facts = QuestionFacts(
        accounts=((first, amounts[first]), (second, amounts[second])),
        rule=rule,
        days=rng.randint(2, 400),
        asked=rng.choice((first, second)),
        calls=rng.randint(1, 3),
    )
    parts = {
        first: str(amounts[first]),
        second: str(amounts[second]),
        "?": str(facts.start),
        "each": render_rule(rule),
        "days": str(facts.days),
    }
    text = [(render_question(facts), False)]
    for name in rng.sample(sorted(parts), 4):
        text += [(f"; {name} :", False), (parts[name], True)]
    return drill_sequence(text, tokenizer, "drill/look-up")
