"""From rollouts to training sequences: which token gets which weight in which loss.

`supervised` gives cross-entropy weights (stages 1 and 2), `reinforced` policy-gradient weights,
advantages and Brier slots (stage 3). Ids are taken as they were sampled and never re-encoded;
prompt and observation tokens train only where a rule says so. `as_rows` and `rows_at` cut a
sequence into one row a turn without changing any loss. Pure Python; the losses themselves are in
`forethought.algos.losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from forethought.types import (
    BLOCK_SPANS,
    BrierSlot,
    Rollout,
    Span,
    TrainingSequence,
    Turn,
    TurnCredit,
)

HELD = -1.0
"""`kl_weight` of a token whose KL term trains the output embeddings alone."""

ACT_SPANS = frozenset({Span.THINK, Span.ACTION})
"""What is done about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedRule:
    """Which sampled tokens get cross-entropy. The default trains the whole response."""

    block_only: bool = False  # only the foresight block (failed trajectories, branches)
    turns: tuple[int, ...] | None = None  # indices of the turns that train; None = all
    skip: tuple[Span, ...] = ()  # spans that never train
    skip_ids: frozenset[int] = frozenset()  # ids that train in thoughts and actions only
    unlabelled_turns: tuple[int, ...] = ()  # turns whose number has no label and must not train
    level_ids: Sequence[int] | None = None  # ids of the 21 levels, to find that number;
    # None: the whole confidence span of an unlabelled turn is left out
    observations: bool = False  # `obs_weight` on the text of the replies to the turns that train
    brier: bool = False  # a Brier slot at each number that trains, its target the number itself


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceConfig:
    """How advantages of spans become advantages of tokens."""

    profile: str = "causal"  # the profile that made the credits
    outcome: float = 0.0  # I of the rollout, the target of its Brier slots
    level_ids: Sequence[int] | None = None  # ids of the 21 levels, if each is one token
    w_roadmap: float = 1.0  # weight of imaginary tokens
    w_keyword: float = 1.0
    w_analysis: float = 1.0
    w_confidence: float = 1.0  # of confidence tokens, where they have a score function
    w_act: float = 1.0  # of think and action tokens
    w_other: float = 1.0  # of tokens outside all elements
    decision_ids: frozenset[int] = frozenset()  # tokens of a roadmap that choose a way
    w_decision: float = 1.0  # weight of these
    kl_decision: float = 1.0  # weight of these in the KL term; all others have 1

    @property
    def causal(self) -> bool:
        """True where the number has its own loss and baselines must not look ahead."""
        return self.profile == "causal"

    @property
    def exact_brier(self) -> bool:
        """True where confidence tokens get a Brier slot instead of a policy gradient."""
        return self.causal and self.level_ids is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """Where a turn lies in the whole sequence: sampled `[start, end)`, then its observation."""

    start: int
    end: int
    stop: int


def turn_starts(rollout: Rollout, rule: SupervisedRule) -> tuple[int, ...]:
    """[T] where each turn begins in what `supervised` makes of the rollout by the same rule."""
    layout = _layout(rollout, replies=rule.observations)
    return tuple(section.start for section in layout.sections)


def supervised(rollout: Rollout, rule: SupervisedRule) -> TrainingSequence:
    """The rollout as one sequence with cross-entropy weights by `rule`.

    Example (P prompt, B block, A action, O observation; whole response):
        ids        P P P B B A O O B A
        ce_weight  0 0 0 1 1 1 0 0 1 1
    """
    layout = _layout(rollout, replies=rule.observations)
    weight, replies = [0.0] * len(layout.ids), [0.0] * len(layout.ids)
    slots: list[BrierSlot] = []
    for number, (turn, section) in enumerate(zip(rollout.turns, layout.sections, strict=True)):
        if rule.turns is not None and number not in rule.turns:
            continue
        weight[section.start : section.end] = _ce_weights(turn, rule, number)
        offset = _level_offset(turn, rule.level_ids) if rule.brier else None
        if offset is not None and weight[section.start + offset]:
            assert turn.parsed.foresight is not None and turn.parsed.foresight.q is not None
            target = turn.parsed.foresight.q
            slots.append(BrierSlot(position=section.start + offset, target=target))
        if rule.observations:
            begin, end = turn.reply_at or (0, len(turn.observation_ids))
            replies[section.end + begin : section.end + end] = [1.0] * (end - begin)
    return TrainingSequence(
        ids=layout.ids,
        starts=layout.starts,
        ce_weight=layout.without_first(weight),
        obs_weight=tuple(replies) if rule.observations else (),
        brier=tuple(slots),
        source=_source(rollout),
    )


def _ce_weights(turn: Turn, rule: SupervisedRule, number: int) -> list[float]:
    weights: list[float] = []
    for token, span in zip(turn.ids, turn.token_spans, strict=True):
        trains = span not in rule.skip and (not rule.block_only or span in BLOCK_SPANS)
        if token in rule.skip_ids and span not in ACT_SPANS:
            trains = False
        if span is Span.CONFIDENCE and number in rule.unlabelled_turns:
            trains = trains and rule.level_ids is not None and token not in rule.level_ids
        weights.append(float(trains))
    return weights


def reinforced(
    rollout: Rollout, credits: Sequence[TurnCredit], config: ReinforceConfig
) -> TrainingSequence:
    """The rollout as one sequence with advantages, policy-gradient weights and Brier slots.

    Imaginary and keyword tokens get `plan`, analysis tokens `analysis`, think, action and other
    tokens `act`. Two rules keep the `causal` estimator unbiased (docs/method.md): tokens
    written *before* the number never get `act`, whose baseline knows the number; and a token whose
    span has no credit (a block that cannot be read) gets `act`, because leaving tokens out for
    what they say is a bias of its own. Confidence tokens of `causal` get a Brier slot at the level
    token, or their own credit where a level takes several tokens; in the other profiles they share
    the credit of the whole block.

    Args:
        rollout: without an error; all its sampled tokens were sampled by the policy.
        credits: one a turn; a turn with all None (left out by the profile) gets weight 0.
        config: the profile, the outcome and the weights of the spans.
    """
    layout = _layout(rollout)
    weight, advantage, logprobs, hold = ([0.0] * len(layout.ids) for _ in range(4))
    slots: list[BrierSlot] = []
    for turn, credit, section in zip(rollout.turns, credits, layout.sections, strict=True):
        where = slice(section.start, section.end)
        logprobs[where] = turn.logprobs
        if credit.act is None:
            continue
        advantage[where], weight[where], hold[where] = _token_credit(turn, credit, config)
        offset = _level_offset(turn, config.level_ids) if config.exact_brier else None
        if offset is not None:
            slots.append(BrierSlot(position=section.start + offset, target=config.outcome))
    return TrainingSequence(
        ids=layout.ids,
        starts=layout.starts,
        pg_weight=layout.without_first(weight),
        kl_weight=layout.without_first(hold),
        advantage=tuple(advantage),
        sampling_logprobs=tuple(logprobs),
        brier=tuple(slots),
        source=_source(rollout),
    )


def _token_credit(
    turn: Turn, credit: TurnCredit, config: ReinforceConfig
) -> tuple[list[float], list[float], list[float]]:
    """Advantage, weight and KL weight of each sampled token of a turn with an `act` credit."""
    assert credit.act is not None
    stated = [n for n, span in enumerate(turn.token_spans) if span is Span.CONFIDENCE]
    last_stated = stated[-1] if stated else -1
    number_at = next(iter(_levels(turn, config.level_ids)), -1)
    before = credit.act if credit.analysis is None else credit.analysis
    advantages: list[float] = []
    weights: list[float] = []
    held: list[float] = []
    for number, span in enumerate(turn.token_spans):
        value: float | None
        hold = 1.0
        if span is Span.IMAGINARY and turn.ids[number] in config.decision_ids:
            value, weight, hold = credit.plan, config.w_decision, config.kl_decision
        elif span is Span.IMAGINARY:
            value, weight = credit.plan, config.w_roadmap
        elif span is Span.KEYWORD:
            value, weight = credit.plan, config.w_keyword
        elif span is Span.ANALYSIS:
            value, weight = credit.analysis, config.w_analysis
        elif span is Span.CONFIDENCE and config.exact_brier:
            # The number has its own loss. What stands around it earns nothing and is held: left
            # out of the KL term too, nothing would keep it from becoming a second number.
            value, weight, hold = 0.0, 0.0, 0.0 if number == number_at else HELD
        elif span is Span.CONFIDENCE:
            value, weight = _confidence_credit(credit, config), config.w_confidence
        else:
            early = config.causal and number < last_stated
            acts = span in (Span.THINK, Span.ACTION)
            value = before if early else credit.act
            weight = config.w_act if acts else config.w_other
        if value is None and span is Span.CONFIDENCE and config.causal:
            value, weight = 0.0, 0.0
        advantages.append(credit.act if value is None else value)
        weights.append(weight)
        held.append(hold)
    return advantages, weights, held


def _confidence_credit(credit: TurnCredit, config: ReinforceConfig) -> float | None:
    """The policy-gradient credit of confidence tokens; None = no score function in `causal`."""
    if config.causal or credit.confidence is not None:
        return credit.confidence
    return credit.plan


def _level_offset(turn: Turn, level_ids: Sequence[int] | None) -> int | None:
    """Index in the turn of its one level token; None without a slot for the exact Brier term."""
    block = turn.parsed.foresight
    if block is None or block.q is None:
        return None
    found = _levels(turn, level_ids)
    return found[0] if len(found) == 1 else None


def _levels(turn: Turn, level_ids: Sequence[int] | None) -> list[int]:
    """Indices in the turn of level tokens where a number is due."""
    levels = frozenset(level_ids or ())
    return [
        number
        for number, (token, span) in enumerate(zip(turn.ids, turn.token_spans, strict=True))
        if span is Span.CONFIDENCE and token in levels
    ]


def as_rows(sequence: TrainingSequence, rollout: Rollout) -> list[TrainingSequence]:
    """One row a turn of a rollout, those without any weight left out; see `rows_at`.

    Args:
        sequence: what `supervised` or `reinforced` made of `rollout`, one document.
        rollout: gives the borders of the turns.
    """
    assert sequence.starts == (0,), "where several documents begin depends on how they were made"
    starts = [section.start for section in _layout(rollout).sections]
    return list(rows_at(sequence, starts).values())


def rows_at(sequence: TrainingSequence, starts: Sequence[int]) -> dict[int, TrainingSequence]:
    """Number of a turn -> its row: its history as context only, then its own weights.

    The sum of every loss over the rows equals that of `sequence`, and so does the gradient: each
    weighted token stands once, behind the same ids. What it costs is reading the history again in
    every row. A turn without any weight has no row.

    Args:
        sequence: of one or several documents.
        starts: [T] where each turn begins, in order.
    """
    rows: dict[int, TrainingSequence] = {}
    for number, (start, stop) in enumerate(pairwise((*starts, len(sequence.ids)))):
        row = _cut(sequence, start, stop)
        weights = (row.ce_weight, row.obs_weight, row.pg_weight, row.kl_weight)
        if any(map(any, weights)) or row.brier:
            rows[number] = replace(row, source=f"{sequence.source}#{number}")
    return rows


def remembering(rollout: Rollout) -> Rollout:
    """The rollout as if every turn were kept whole: one document, in the order it happened."""
    return replace(rollout, turns=tuple(replace(turn, kept_ids=None) for turn in rollout.turns))


def in_order(sequence: TrainingSequence, rollout: Rollout) -> TrainingSequence:
    """What `reinforced` made of `rollout` as one document in the order in which it happened.

    For looking at: where turns forget, no turn was sampled behind all that stands before it here.
    """
    if sequence.starts == (0,):
        return sequence
    whole = _layout(remembering(rollout))
    streams = {
        name: [0.0] * len(whole.ids)
        for name in ("pg_weight", "kl_weight", "advantage", "sampling_logprobs")
    }
    slots: list[BrierSlot] = []
    for here, there in zip(_layout(rollout).sections, whole.sections, strict=True):
        for name, stream in streams.items():
            stream[there.start : there.end] = getattr(sequence, name)[here.start : here.end]
        slots += [
            replace(slot, position=slot.position - here.start + there.start)
            for slot in sequence.brier
            if here.start <= slot.position < here.end
        ]
    return TrainingSequence(
        ids=whole.ids,
        pg_weight=tuple(streams["pg_weight"]),
        kl_weight=tuple(streams["kl_weight"]),
        advantage=tuple(streams["advantage"]),
        sampling_logprobs=tuple(streams["sampling_logprobs"]),
        brier=tuple(slots),
        source=sequence.source,
    )


def _cut(sequence: TrainingSequence, start: int, stop: int) -> TrainingSequence:
    """The document of `start` up to its last used token before `stop`, no weight before `start`."""
    inside = range(start, stop)
    used = [
        i
        for i in inside
        if any(
            weights and weights[i]
            for weights in (
                sequence.ce_weight,
                sequence.obs_weight,
                sequence.pg_weight,
                sequence.kl_weight,
            )
        )
    ]
    slots = tuple(slot for slot in sequence.brier if slot.position in inside)
    end = max([start, *used, *(slot.position for slot in slots)]) + 1
    begin = max(document for document in sequence.starts if document <= start)

    def part(values: tuple[float, ...]) -> tuple[float, ...]:
        return (0.0,) * (start - begin) + values[start:end] if values else ()

    return TrainingSequence(
        ids=sequence.ids[begin:end],
        ce_weight=part(sequence.ce_weight),
        obs_weight=part(sequence.obs_weight),
        pg_weight=part(sequence.pg_weight),
        kl_weight=part(sequence.kl_weight),
        advantage=part(sequence.advantage),
        sampling_logprobs=part(sequence.sampling_logprobs),
        brier=tuple(replace(slot, position=slot.position - begin) for slot in slots),
        source=sequence.source,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The tokens of a rollout as they train: each turn once, behind what it was sampled behind."""

    ids: tuple[int, ...]
    starts: tuple[int, ...]  # of the documents
    sections: tuple[_Section, ...]  # [T]

    def without_first(self, weights: list[float]) -> tuple[float, ...]:
        """Nothing predicts the first token of a document, so it has no weight."""
        for start in self.starts:
            if start < len(weights):
                weights[start] = 0.0
        return tuple(weights)


def _layout(rollout: Rollout, *, replies: bool = True) -> _Layout:
    """One document as long as every turn is kept whole; else a turn begins one with its own past.

    `replies`: whether a document ends with the reply to its last turn where another one follows.
    """
    past = list(rollout.prompt_ids)
    ids, begin = list(past), 0  # of the document in progress
    starts = [0]
    sections: list[_Section] = []
    for number, turn in enumerate(rollout.turns):
        if ids[begin:] != past:
            begin = len(ids)
            starts.append(begin)
            ids += past
        start = len(ids)
        ids += turn.ids
        end = len(ids)
        past += turn.past_ids
        last = number + 1 == len(rollout.turns)
        if replies or last or turn.kept_ids is None:
            ids += turn.observation_ids
        sections.append(_Section(start=start, end=end, stop=len(ids)))
    return _Layout(ids=tuple(ids), starts=tuple(starts), sections=tuple(sections))


def _source(rollout: Rollout) -> str:
    return f"{rollout.task.id}/{rollout.index}"
