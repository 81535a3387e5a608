"""What the base model of atlas is trained on before any stage: copying, pages, wandering.

Drills come first: a random list is repeated, or facts are looked up in freshly drawn pages. Names
mean nothing and are drawn anew, so only copying by position and match can lower the loss. Pages as
text follow (all tokens train), then the wanderer's episodes without blocks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from forethought.rollout.render import encode
from forethought.types import TrainingSequence
from forethought.worlds.atlas.tokens import NAMES, REGIONS, RELATIONS, ROUTE_LETTERS, SIGNS


def drills(tokens: int, tokenizer: Any, seed: int) -> Iterator[TrainingSequence]:
    """Copy drills until `tokens` tokens were made: lists, look-ups in pages and in routes."""
    rng = random.Random(f"drill/{seed}")
    made = 0
    while made < tokens:
        kind = rng.choices((_repeat, _look_up, _route), (2, 2, 1))[0]
        sequence = kind(rng, tokenizer)
        made += len(sequence.ids)
        yield sequence


def drill_sequence(
    parts: Sequence[tuple[str, bool]], tokenizer: Any, source: str
) -> TrainingSequence:
    """Text parts and whether their tokens train, as one sequence behind the first token."""
    ids: list[int] = [tokenizer.bos_token_id]
    weights: list[float] = [0.0]
    for text, trains in parts:
        new = encode(tokenizer, text)
        ids += new
        weights += [1.0 if trains else 0.0] * len(new)
    return TrainingSequence(ids=tuple(ids), ce_weight=tuple(weights), source=source)


def _repeat(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    words = [rng.choice((*NAMES, *SIGNS)) for _ in range(rng.randint(8, 24))]
    text = " ".join(words)
    return drill_sequence([(f"{text} ;", False), (text, True)], tokenizer, "drill/repeat")


def _look_up(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    """Pages of random facts, then `relation subject : object region` for some of them."""
    facts = []
    subjects = rng.sample(NAMES, 6)
    for subject in subjects[: rng.randint(2, 6)]:
        relation, sign = rng.choice(tuple(RELATIONS)), rng.choice(SIGNS)
        here, there = rng.choice(REGIONS), rng.choice(REGIONS)
        facts.append((relation, here, sign, subject, rng.choice(NAMES), there))
    pages = " ; ".join(" ".join(fact) for fact in facts)
    parts = [(f"<information> {pages} </information>", False)]
    for fact in rng.sample(facts, min(len(facts), 4)):
        parts += [(f"{fact[0]} {fact[3]} :", False), (f"{fact[4]} {fact[5]} ;", True)]
    return drill_sequence(parts, tokenizer, "drill/look-up")


def _route(rng: random.Random, tokenizer: Any) -> TrainingSequence:
    """Routes of random relations, then the relations of each letter and what follows a link."""
    routes = {
        letter: [rng.choice(tuple(RELATIONS)) for _ in range(rng.randint(2, 3))]
        for letter in ROUTE_LETTERS
    }
    listed = " ".join(f"{letter} {' '.join(route)}" for letter, route in routes.items())
    parts = [(f"{rng.choice(NAMES)} of {rng.choice(REGIONS)} : {listed} ;", False)]
    for letter in rng.choices(ROUTE_LETTERS, k=4):
        parts += [(f"{letter} :", False), (f"{' '.join(routes[letter])} ;", True)]
    return drill_sequence(parts, tokenizer, "drill/route")


def pages(texts: Iterator[str], tokens: int, tokenizer: Any) -> Iterator[TrainingSequence]:
    """Pages of training worlds as text, eight a sequence, until `tokens` tokens were made."""
    made = 0
    while made < tokens:
        text = " ; ".join(next(texts) for _ in range(8))
        sequence = drill_sequence([(text, True)], tokenizer, "pages")
        made += len(sequence.ids)
        yield sequence
