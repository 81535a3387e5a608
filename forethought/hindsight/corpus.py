"""From labelled trajectories to training sequences: the texts of stages 1 and 2.

Stage 1 (WM-AMT) puts free-text blocks with varied headings on a share of the turns that call a
tool and mixes in untouched trajectories. Stage 2 (FE-SFT) writes the tagged block on every turn and
keeps a share of episodes without blocks. Placebo corpora replace the block's content and nothing
else. Which tokens train is decided here and nowhere else.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from forethought.algos.batching import SupervisedRule, rows_at, supervised, turn_starts
from forethought.foresight.block import render
from forethought.foresight.templates import FREE_TEMPLATES, render_free
from forethought.hindsight.labelled_file import LabelledFile, Outline, outline_of
from forethought.hindsight.records import Branch, Labelled
from forethought.hindsight.targets import drawn_label
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.hindsight.writer import Writer
from forethought.rollout.author import AuthoredTurn, author
from forethought.rollout.render import TextFormat
from forethought.types import Foresight, Span, TrainingSequence, Turn

_ORDERS = (
    ("road", "gap", "chance"),
    ("road", "chance", "gap"),
    ("gap", "road", "chance"),
    ("gap", "chance", "road"),
    ("chance", "road", "gap"),
    ("chance", "gap", "road"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusBuilder:
    """Writes and encodes training episodes for one text format, tokenizer and writer."""

    text_format: TextFormat
    tokenizer: Any
    writer: Writer
    imitate_failures: bool = True  # False: thought and action of a failed episode never train
    failed_decisions: bool = False  # whether blocks of failed episodes teach which way to take
    brier_ids: Sequence[int] | None = None  # ids of the 21 levels: tagged numbers get Brier slots
    posterior: tuple[float, int] | None = None  # prior strength and seed: labels are drawn from it

    def block(self, items: Sequence[Labelled], index: int, step: int, kind: str) -> Foresight:
        """The block of one turn for a corpus kind (`MidtrainConfig.corpus`).

        `shuffled` takes the block of another trajectory at the same turn; `constant` puts the mean
        label in place of the measured one.
        """
        item = items[index]
        if kind == "recap":
            return self.writer.recap(item.trajectory, step, self._label(item, step))
        if kind == "shuffled":
            item = _other(items, index, step)
        block = self.writer.write(item.trajectory, step, self._label(item, step))
        if kind != "constant":
            return block
        constant = self.writer.write(item.trajectory, step, mean_label(items))
        return replace(block, q=constant.q, q_text=constant.q_text)

    def _label(self, item: Labelled, step: int) -> float:
        if self.posterior is None:
            return item.labels[step].value
        return drawn_label(item, step, *self.posterior)

    def tagged(self, items: Sequence[Labelled], index: int, kind: str = "true") -> Written:
        """An episode with a tagged block on every turn; the whole response trains (FE-SFT)."""
        trajectory = items[index].trajectory
        turns = [
            self._turn(self.block(items, index, number, kind), step)
            for number, step in enumerate(trajectory.steps)
        ]
        rule = SupervisedRule(
            skip=self._skipped(trajectory),
            skip_ids=self._untaught(trajectory),
            level_ids=self.brier_ids,
            brier=self.brier_ids is not None,
        )
        return self._encode(trajectory, turns, "foresight", rule, "tagged")

    def plain(self, item: Labelled) -> Written | None:
        """An episode without blocks: thought and action train; None for a failed one.

        A failure has nothing to teach about acting (no loss on the action of a failed
        branch), and without a block it has nothing else.
        """
        if not item.trajectory.success:
            return None
        return self.imitation(item.trajectory)

    def imitation(self, trajectory: Trajectory) -> Written:
        """An episode without blocks whose every thought and action trains, success or not."""
        turns = [self._turn(None, step) for step in trajectory.steps]
        return self._encode(trajectory, turns, "plain", SupervisedRule(), "plain")

    def observed(self, trajectory: Trajectory) -> Written:
        """An episode without blocks whose observations train and nothing else.

        The implicit world model of Early Experience (arXiv 2510.08558): next state from state and
        action.
        """
        turns = [self._turn(None, step) for step in trajectory.steps]
        rule = SupervisedRule(skip=tuple(Span), observations=True)
        return self._encode(trajectory, turns, "plain", rule, "observed")

    def free(
        self, items: Sequence[Labelled], index: int, rng: random.Random, options: FreeOptions
    ) -> Written:
        """An episode with free-text blocks on a share of its tool turns (WM-AMT)."""
        item = items[index]
        looks = draw_looks(item.trajectory.num_calls, options.block_share, rng)
        turns: list[AuthoredTurn] = []
        for number, step in enumerate(item.trajectory.steps):
            turn = self._turn(None, step)
            if number in looks:
                block = self.block(items, index, number, options.kind)
                turn = replace(turn, text=self._free_text(block, looks[number], turn.text))
            turns.append(turn)
        action = () if item.trajectory.success else (Span.THINK, Span.ACTION)
        rule = SupervisedRule(
            skip=action,
            skip_ids=self._untaught(item.trajectory),
            observations=options.observations,
        )
        return self._encode(item.trajectory, turns, "free", rule, "free")

    def single(
        self, items: Sequence[Labelled], index: int, step: int, kind: str, rng: random.Random
    ) -> TrainingSequence:
        """An episode up to `step` with one free-text block there, which alone has weight."""
        item = items[index]
        turns = [self._turn(None, s) for s in item.trajectory.steps[: step + 1]]
        block = self.block(items, index, step, kind)
        turns[step] = replace(
            turns[step], text=self._free_text(block, _look(rng), turns[step].text)
        )
        rule = SupervisedRule(skip=(Span.THINK, Span.ACTION), turns=(step,))
        return self._encode(item.trajectory, turns, "free", rule, kind).sequence

    def branch(self, item: Labelled, branch: Branch, q: float) -> Written:
        """The turn of an executed alternative with its own block; only that turn's block trains."""
        whole = branch_trajectory(item, branch)
        block = self.writer.write(whole, branch.step, q)
        turns = [self._turn(None, s) for s in whole.steps[: branch.step]]
        turns.append(self._turn(block, whole.steps[branch.step]))
        rule = SupervisedRule(
            block_only=True,
            turns=(branch.step,),
            skip_ids=self._untaught(whole),
            level_ids=self.brier_ids,
            brier=self.brier_ids is not None,
        )
        return self._encode(whole, turns, "foresight", rule, "branch")

    def _skipped(self, trajectory: Trajectory) -> tuple[Span, ...]:
        taught = self.imitate_failures or trajectory.success
        return () if taught else (Span.THINK, Span.ACTION)

    def _untaught(self, trajectory: Trajectory) -> frozenset[int]:
        """A failure teaches what came of its way, not to take it."""
        if self.failed_decisions or trajectory.success:
            return frozenset()
        ids = self.tokenizer.convert_tokens_to_ids(list(self.writer.decisions))
        return frozenset(ids)

    def _turn(self, block: Foresight | None, step: Step) -> AuthoredTurn:
        text = render(
            block,
            step.think,
            step.action,
            style=self.text_format.style,
            spaced=self.text_format.spaced,
        )
        return AuthoredTurn(text=text, observation=step.observation)

    def _free_text(self, block: Foresight, look: _Look, action: str) -> str:
        text = render_free(
            block,
            template=look.template,
            order=look.order,
            percent_style=look.percent_style,
            spaced=self.text_format.spaced,
        )
        return f"{text}{' ' if self.text_format.spaced else chr(10)}{action}"

    def _with_reply(self, turn: Turn) -> Turn:
        """The turn with the place of the reply's own text among its tokens."""
        at = self.text_format.reply_at(self.tokenizer, turn.observation_ids)
        return replace(turn, reply_at=at)

    def _encode(
        self,
        trajectory: Trajectory,
        turns: Sequence[AuthoredTurn],
        mode: str,
        rule: SupervisedRule,
        form: str,
    ) -> Written:
        rollout = author(trajectory.task, turns, self.text_format, self.tokenizer, mode)
        if rule.observations:
            rollout = replace(rollout, turns=tuple(map(self._with_reply, rollout.turns)))
        sequence = supervised(rollout, rule)
        return Written(
            sequence=replace(sequence, source=f"{trajectory.task.id}/{form}"),
            turns=tuple(
                WrittenTurn(start, _block_tokens(turn) if _trains(rule, number) else 0)
                for number, (start, turn) in enumerate(
                    zip(turn_starts(rollout, rule), rollout.turns, strict=True)
                )
            ),
        )


@dataclass(frozen=True, slots=True)
class _Look:
    """How a free-text block is written."""

    template: int
    order: tuple[str, ...]
    percent_style: int


def _look(rng: random.Random) -> _Look:
    template = rng.randrange(len(FREE_TEMPLATES))
    return _Look(template, _ORDERS[rng.randrange(len(_ORDERS))], rng.randrange(2))


def draw_looks(num_calls: int, block_share: float, rng: random.Random) -> dict[int, _Look]:
    """Which turns of an episode get a free-text block, at least one, and how each is written.

    All that `CorpusBuilder.free` draws, so that a reader can pass over an episode unwritten.
    """
    chosen = {step for step in range(num_calls) if rng.random() < block_share}
    chosen = chosen or {rng.randrange(max(num_calls, 1))}
    return {step: _look(rng) for step in sorted(chosen)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeOptions:
    """How stage 1 puts blocks into a trajectory."""

    kind: str = "true"
    block_share: float = 0.5
    observations: bool = False  # whether replies train, too


def _block_tokens(turn: Turn) -> int:
    """Tokens of the block: its elements, or the free text before the action."""
    action = (Span.THINK, Span.ACTION)
    return sum(span not in action for span in turn.token_spans)


def _trains(rule: SupervisedRule, number: int) -> bool:
    return rule.turns is None or number in rule.turns


@dataclass(frozen=True, slots=True)
class WrittenTurn:
    """A turn of a written sequence."""

    start: int  # its first token
    block_tokens: int  # 0 where the turn does not train


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A training sequence and its turns."""

    sequence: TrainingSequence
    turns: tuple[WrittenTurn, ...]

    @property
    def block_tokens(self) -> int:
        """Tokens of the blocks of the turns that train."""
        return sum(turn.block_tokens for turn in self.turns)

    def rows(self) -> list[Written]:
        """The same as single turns behind their history, the form of the paper (2606.27483).

        The losses sum to that of the one sequence; see `forethought.algos.batching.rows_at`.
        """
        rows = rows_at(self.sequence, [turn.start for turn in self.turns])
        made: list[Written] = []
        for number, row in rows.items():
            turn = self.turns[number]
            begin = max(start for start in self.sequence.starts if start <= turn.start)
            at = WrittenTurn(turn.start - begin, turn.block_tokens)
            made.append(Written(sequence=row, turns=(at,)))
        return made


def mean_label(items: Sequence[Labelled]) -> float:
    """The mean label of the first turns: the number of a block that shall tell nothing by it."""
    if isinstance(items, LabelledFile):
        return items.mean_label
    return sum(item.labels[0].value for item in items) / max(len(items), 1)


def branch_trajectory(item: Labelled, branch: Branch) -> Trajectory:
    """The item's turns up to the branch, then the alternative and how it went on."""
    return replace(
        item.trajectory,
        steps=(*item.trajectory.steps[: branch.step], *branch.steps),
        success=branch.success,
    )


def _other(items: Sequence[Labelled], index: int, step: int) -> Labelled:
    """The next trajectory (cyclically) of another task that has such a turn."""
    mine = _outline(items, index)
    calls = step < mine.num_calls
    for offset in range(1, len(items)):
        number = (index + offset) % len(items)
        other = _outline(items, number)
        turns = other.num_calls if calls else other.num_steps
        if other.task != mine.task and turns > step:
            return items[number]
    return items[index]


def _outline(items: Sequence[Labelled], index: int) -> Outline:
    return items.outline(index) if isinstance(items, LabelledFile) else outline_of(items[index])
