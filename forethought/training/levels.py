"""What the policy could have stated: the probabilities of the 21 levels at a confidence slot.

The context of a slot is what was really sampled, up to the token before the number. Where a level
takes several tokens, the strings of all levels form a trie; its inner nodes are appended to the
row of the whole rollout, each of them seeing the context and its ancestors only. So one forward
pass over a rollout scores every level of every turn, for any tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from forethought.errors import InputError
from forethought.foresight.levels import LEVELS, level_text
from forethought.rollout.render import encode
from forethought.rollout.spans import decode, token_starts
from forethought.training.modules import evaluating
from forethought.training.policy import Policy
from forethought.types import Rollout, Span, Turn

_NUMBER = re.compile(r"\d+(?:[.,]\d+)?(?P<gap>\s*)(?P<percent>%?)")

_PROJECTED = 512  # positions whose logits are in memory at a time

LevelProbs = tuple[float, ...]
"""[21] probabilities, summing to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A token on the way to a level: an inner node of a trie, run as one more token of the row."""

    token: int
    parent: int  # number of a node of the row, -1 = the context itself
    depth: int  # tokens between the context and this one, from 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A term of a level's log-probability: `token` behind node `node` (-1 = the context)."""

    node: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """A confidence slot: its context ends before `position` of the rollout's sequence."""

    turn: int
    position: int
    nodes: range  # of the row's nodes
    levels: tuple[tuple[_Step, ...], ...]  # [21]


@dataclass(slots=True)
class _Row:
    """A document of a rollout with the inner nodes of all its slots."""

    ids: list[int]
    slots: list[_Slot] = field(default_factory=list)
    nodes: list[_Node] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens that a forward pass needs."""
        return len(self.ids) + len(self.nodes)


@torch.no_grad()
def score_levels(
    policy: Policy,
    rollouts: Sequence[Rollout],
    *,
    temperature: float = 1.0,
    batch_tokens: int = 2048,
) -> list[list[LevelProbs | None]]:
    """The 21 level probabilities at the confidence slot of every turn.

    P(level) is the probability of the level's tokens, `softmax(logits / temperature)` at each,
    renormalised over the 21 levels.

    Args:
        policy: scores; not changed.
        rollouts: with the ids that were sampled.
        temperature: above 0.
        batch_tokens: bound on the tokens of a forward pass, padding included (at least one rollout
            is always run).

    Returns:
        One list a rollout with one entry a turn; None: the turn states no readable number.

    Raises:
        InputError: `temperature` is not above 0.
    """
    if not temperature > 0:
        raise InputError(
            "temperature",
            got=str(temperature),
            expected="a number above 0: greedy decoding has no probabilities",
            next_step="score at temperature 1",
        )
    scored: list[list[LevelProbs | None]] = [[None] * len(rollout.turns) for rollout in rollouts]
    one_token = policy.level_ids()
    rows: list[_Row] = []
    owner: list[int] = []  # rollout of each row
    for number, rollout in enumerate(rollouts):
        made = _make_rows(policy, rollout, one_token)
        rows += made
        owner += [number] * len(made)
    order = sorted(range(len(rows)), key=lambda n: -rows[n].length)
    with evaluating(policy.model):
        while order:
            size = max(1, batch_tokens // rows[order[0]].length)
            batch, order = order[:size], order[size:]
            found = _score_rows(policy, [rows[number] for number in batch], temperature)
            for number, probabilities in zip(batch, found, strict=True):
                for slot, levels in zip(rows[number].slots, probabilities, strict=True):
                    scored[owner[number]][slot.turn] = levels
    return scored


def _make_rows(policy: Policy, rollout: Rollout, one_token: tuple[int, ...] | None) -> list[_Row]:
    """The documents of a rollout that have a slot, each up to the last of them."""
    past = list(rollout.prompt_ids)
    rows = [_Row(list(past))]
    for number, turn in enumerate(rollout.turns):
        if rows[-1].ids != past:
            rows.append(_Row(list(past)))
        row = rows[-1]
        place = _find_number(policy, turn)
        if place is not None and len(row.ids) + place[0] > 0:
            offset, lead, spaced = place
            strings = (
                [[token] for token in one_token]
                if one_token is not None
                else [
                    _encode_behind_tag(policy, lead + level_text(index, spaced))
                    for index in range(len(LEVELS))
                ]
            )
            _add_slot(row, number, len(row.ids) + offset, strings)
        row.ids += (*turn.ids, *turn.observation_ids)
        past += turn.past_ids
    rows = [row for row in rows if row.slots]
    for row in rows:  # nothing behind the last context is needed
        row.ids = row.ids[: row.slots[-1].position]
    return rows


def _find_number(policy: Policy, turn: Turn) -> tuple[int, str, bool] | None:
    """Where a turn states its number.

    Returns:
        Index in `turn.ids` of the token with the first digit; characters of that token before the
        digit (a blank, in many vocabularies); whether a blank stands before the per cent sign.
    """
    if turn.parsed.foresight is None or turn.parsed.foresight.q is None:
        return None
    inside = [n for n, span in enumerate(turn.token_spans) if span is Span.CONFIDENCE]
    if not inside:
        return None
    first = inside[0]
    run = [n for place, n in enumerate(inside) if n == first + place]  # one element, not two
    ids = [turn.ids[n] for n in run]
    text = decode(policy.tokenizer, ids)
    number = _NUMBER.search(text)
    if number is None:
        return None
    starts = token_starts(policy.tokenizer, ids, text)
    index = max(n for n in range(len(ids)) if starts[n] <= number.start())
    lead = text[starts[index] : number.start()]
    return first + index, lead, bool(number["percent"] and number["gap"])


def _encode_behind_tag(policy: Policy, text: str) -> list[int]:
    """Ids of a text as it is cut behind a tag, where some vocabularies add no leading blank."""
    tokenizer, before = policy.tokenizer, "<confidence>"
    tag, whole = encode(tokenizer, before), encode(tokenizer, before + text)
    return list(whole[len(tag) :] if whole[: len(tag)] == tag else encode(tokenizer, text))


def _add_slot(row: _Row, turn: int, position: int, strings: Sequence[Sequence[int]]) -> None:
    """Adds a slot whose levels are the given token strings ([21], none empty)."""
    begin = len(row.nodes)
    known: dict[tuple[int, ...], int] = {(): -1}
    levels: list[tuple[_Step, ...]] = []
    for string in strings:
        steps: list[_Step] = []
        for depth, token in enumerate(string):
            before = tuple(string[:depth])
            if before not in known:
                known[before] = len(row.nodes)
                parent = known[before[:-1]]
                row.nodes.append(_Node(token=before[-1], parent=parent, depth=depth - 1))
            steps.append(_Step(node=known[before], token=token))
        levels.append(tuple(steps))
    nodes = range(begin, len(row.nodes))
    row.slots.append(_Slot(turn=turn, position=position, nodes=nodes, levels=tuple(levels)))


def _score_rows(policy: Policy, rows: Sequence[_Row], temperature: float) -> list[list[LevelProbs]]:
    """Level probabilities of every slot of every row, by one forward pass."""
    width = max(row.length for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        whole = row.ids + [node.token for node in row.nodes]
        ids[number, : row.length] = torch.tensor(whole)
    mask = positions = None
    if any(row.nodes for row in rows):
        mask = torch.ones((len(rows), width, width), dtype=torch.bool).tril()
        positions = torch.arange(width).repeat(len(rows), 1)
        for number, row in enumerate(rows):
            _place_nodes(row, mask[number], positions[number])
        mask, positions = mask.to(policy.device), positions.to(policy.device)
    features = policy.features(ids.to(policy.device), mask, positions)
    lines: list[int] = []
    columns: list[int] = []
    tokens: list[int] = []
    for number, row in enumerate(rows):
        for slot in row.slots:
            for step in (step for level in slot.levels for step in level):
                behind = slot.position - 1 if step.node < 0 else len(row.ids) + step.node
                lines.append(number)
                columns.append(behind)
                tokens.append(step.token)
    terms = _logprobs(policy, features, (lines, columns, tokens), temperature)
    return _normalised(rows, terms)


def _place_nodes(row: _Row, mask: Tensor, positions: Tensor) -> None:
    """Lets each node of a row see its context and its ancestors, at the position it stands for."""
    base = len(row.ids)
    for slot in row.slots:
        for number in slot.nodes:
            node = row.nodes[number]
            here = base + number
            mask[here, slot.position :] = False
            if node.parent >= 0:
                mask[here, base:] = mask[base + node.parent, base:]
            mask[here, here] = True
            positions[here] = slot.position + node.depth


def _logprobs(
    policy: Policy,
    features: Tensor,
    where: tuple[list[int], list[int], list[int]],
    temperature: float,
) -> list[float]:
    """Log-probabilities of tokens behind positions (lines, columns), each projected once."""
    lines, columns, tokens = where
    wanted: dict[tuple[int, int], list[int]] = {}  # place -> indices of its terms
    for index, place in enumerate(zip(lines, columns, strict=True)):
        wanted.setdefault(place, []).append(index)
    values = [0.0] * len(tokens)
    places = list(wanted)
    for first in range(0, len(places), _PROJECTED):  # bounds the memory of a large vocabulary
        chunk = places[first : first + _PROJECTED]
        gathered = features[[line for line, _ in chunk], [column for _, column in chunk]]
        logprobs = (policy.project(gathered).float() / temperature).log_softmax(-1)
        for row, place in enumerate(chunk):
            indices = wanted[place]
            found = logprobs[row, [tokens[index] for index in indices]].tolist()
            for index, value in zip(indices, found, strict=True):
                values[index] = value
    return values


def _normalised(rows: Sequence[_Row], terms: Sequence[float]) -> list[list[LevelProbs]]:
    """Sums the terms of each level and renormalises over the levels of each slot."""
    left = iter(terms)
    scored: list[list[LevelProbs]] = []
    for row in rows:
        scored.append([])
        for slot in row.slots:
            sums = [sum(next(left) for _ in level) for level in slot.levels]
            probabilities = torch.tensor(sums, dtype=torch.float64).softmax(-1)
            scored[-1].append(tuple(probabilities.tolist()))
    return scored
