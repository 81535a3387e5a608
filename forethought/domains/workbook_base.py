"""What the base model of workbook is trained on before its episodes: copying numbers.

First lists are repeated again and again, and accounts are asked for and their amounts follow: dense
work by which copying by match is learned in a few hundred steps. Which of two amounts is due is one
bit an episode; with episodes and sparse drills alone most seeds never learned it. Then come numbers
of several digits and the parts of freshly drawn questions: an amount, the rule of a day, the number
of days. Numbers are drawn anew and nothing is worked out.
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
_DENSE = 0.8  # share of the tokens that the dense drills take


def drills(tokens: int, tokenizer: Any, seed: int) -> Iterator[TrainingSequence]:
    """Copy drills until `tokens` tokens were made: the dense ones, then the others."""
    rng = random.Random(f"drill/{seed}")
    made = 0
    while made < tokens:
        if made < _DENSE * tokens:
            kind = rng.choices((_again, _accounts), (3, 2))[0]
        else:
            kind = rng.choices((_repeat, _look_up), (1, 2))[0]
        sequence = kind(rng, tokenizer)
        made += len(sequence.ids)
        yield sequence


def _number(rng: random.Random, digits: int) -> str:
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def _amount(rng: random.Random) -> int:
    return rng.randint(11, 99)


def _repeat(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    text = " ; ".join(_number(rng, rng.randint(1, 6)) for _ in range(rng.randint(2, 6)))
    return drill_sequence([(f"{text} :", False), (f"{text} ;", True)], tokenizer, "drill/repeat")


def _again(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    """A short list of accounts and amounts, four times more."""
    words = [
        rng.choice(ACCOUNTS) if rng.random() < 0.25 else str(_amount(rng))
        for _ in range(rng.randint(4, 10))
    ]
    text = " ".join(words)
    return drill_sequence([(text, False), *[(text, True)] * 4], tokenizer, "drill/again")


def _accounts(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    """Accounts and amounts, then sixteen times one of them.

    There are more than the two of a question, so that knowing the places is worth less than reading
    the name.
    """
    names = rng.sample(ACCOUNTS, rng.randint(2, len(ACCOUNTS)))
    amounts = {name: _amount(rng) for name in names}
    parts = [(" ; ".join(f"{name} {amounts[name]}" for name in names), False)]
    for name in rng.choices(names, k=16):
        parts += [(f"; {name}", False), (str(amounts[name]), True)]
    return drill_sequence(parts, tokenizer, "drill/accounts")


def _look_up(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    """A question of random numbers, then `name : part` for some of its parts."""
    first, second = rng.sample(ACCOUNTS, 2)
    amounts = {name: _amount(rng) for name in (first, second)}
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
