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

from forethought.algos.batching import SupervisedRule, supervised
from forethought.foresight.block import render
from forethought.foresight.templates import FREE_TEMPLATES, render_free
from forethought.hindsight.records import Branch, Labelled
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

    def block(self, items: Sequence[Labelled], index: int, step: int, kind: str) -> Foresight:
        """The block of one turn for a corpus kind (`MidtrainConfig.corpus`).

        `shuffled` takes the block of another trajectory at the same turn; `constant` puts the mean
        label in place of the measured one.
        """
        item = items[index]
        label = item.labels[step].value
        if kind == "recap":
            return self.writer.recap(item.trajectory, step, label)
        if kind == "shuffled":
            item = _other(items, index, step)
            label = item.labels[step].value
        block = self.writer.write(item.trajectory, step, label)
        if kind != "constant":
            return block
        constant = self.writer.write(item.trajectory, step, mean_label(items))
        return replace(block, q=constant.q, q_text=constant.q_text)

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
        calls = item.trajectory.num_calls
        chosen = {step for step in range(calls) if rng.random() < options.block_share}
        chosen = chosen or {rng.randrange(max(calls, 1))}
        turns: list[AuthoredTurn] = []
        for number, step in enumerate(item.trajectory.steps):
            turn = self._turn(None, step)
            if number in chosen:
                block = self.block(items, index, number, options.kind)
                turn = replace(turn, text=self._free_text(block, rng, turn.text))
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
        turns[step] = replace(turns[step], text=self._free_text(block, rng, turns[step].text))
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

    def _free_text(self, block: Foresight, rng: random.Random, action: str) -> str:
        text = render_free(
            block,
            template=rng.randrange(len(FREE_TEMPLATES)),
            order=_ORDERS[rng.randrange(len(_ORDERS))],
            percent_style=rng.randrange(2),
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
            block_tokens=sum(
                _block_tokens(turn)
                for number, turn in enumerate(rollout.turns)
                if rule.turns is None or number in rule.turns
            ),
        )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A training sequence and how many of its trained tokens are block."""

    sequence: TrainingSequence
    block_tokens: int


def mean_label(items: Sequence[Labelled]) -> float:
    """The mean label of the first turns: the number of a block that shall tell nothing by it."""
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
    mine = items[index].trajectory
    calls = step < mine.num_calls
    for offset in range(1, len(items)):
        other = items[(index + offset) % len(items)]
        turns = other.trajectory.num_calls if calls else len(other.trajectory.steps)
        if other.trajectory.task.id != mine.task.id and turns > step:
            return other
    return items[index]
