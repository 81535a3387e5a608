"""Estimates of success from what was played: functions of episodes, tokens and a fit elsewhere.

Each takes the evaluated episodes and those that it may be fitted on, of the same policy, and gives
a value for every evaluated one at its first or its last turn. What they are: `ESTIMATES` of
`forethought.stats.estimates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from forethought.evals.estimate import fit_estimate
from forethought.stats.estimates import Estimated, agreement
from forethought.stats.logistic import fit_logistic
from forethought.stats.rows import abstained
from forethought.stats.tempering import fit_temperature, tempered
from forethought.types import BLOCK_SPANS, Episode, EpisodeTurn, Rollout, Turn

NO_Q = "the policy states no estimate"
NOTHING_SAMPLED = "no turn samples anything outside its block"
ONE_ROLLOUT = "one rollout a task: give --samples"
TOO_EARLY = "known behind the answer only"

Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Episodes that have an outcome, with the tokens behind them, in the same order."""

    rollouts: tuple[Rollout, ...]
    episodes: tuple[Episode, ...]
    agreed: Values  # with the other rollouts of the task

    @classmethod
    def of(cls, rollouts: Sequence[Rollout], episodes: Sequence[Episode]) -> Played:
        """Leaves out what the machine ended, what was held back, and what has no turn."""
        kept = [
            n
            for n, episode in enumerate(episodes)
            if episode.error is None and episode.turns and not abstained(episode)
        ]
        agreed = agreement(episodes)
        return cls(
            rollouts=tuple(rollouts[n] for n in kept),
            episodes=tuple(episodes[n] for n in kept),
            agreed=tuple(agreed[n] for n in kept),
        )

    @property
    def outcomes(self) -> list[float]:
        """[N] 1 or 0."""
        return [float(episode.success or 0) for episode in self.episodes]

    def turns(self, cut: str) -> list[EpisodeTurn]:
        """[N] the first or the last turn of each episode."""
        return [episode.turns[place(cut)] for episode in self.episodes]

    def sampled(self, cut: str) -> list[Turn]:
        """[N] the same turns with their tokens."""
        return [rollout.turns[place(cut)] for rollout in self.rollouts]


def place(cut: str) -> int:
    """Where the turn of a cut stands in its episode."""
    return 0 if cut == "first" else -1


def stated(cut: str, evaluated: Played, fitted: Played) -> list[Estimated]:
    """The policy's own estimate: as written, as expected, and with a fitted temperature."""
    blocks = [turn.foresight for turn in evaluated.turns(cut)]
    written = tuple(None if block is None else block.q for block in blocks)
    expected = _expected(evaluated, cut)
    found = [
        Estimated(name="q", cut=cut, values=written, reason=_if_none(written)),
        Estimated(name="q-expected", cut=cut, values=expected, reason=_if_none(expected)),
    ]
    pairs = _known(_expected(fitted, cut), fitted.outcomes)
    if not pairs or _if_none(expected):
        return [*found, _nothing("q-tempered", cut, len(expected), NO_Q)]
    q, y = zip(*pairs, strict=True)
    temperature = fit_temperature(np.array(q), np.array(y))
    values = tuple(
        None if one is None else float(tempered(np.array([one]), temperature)[0])
        for one in expected
    )
    fit = {"temperature": temperature}
    return [*found, Estimated(name="q-tempered", cut=cut, values=values, fit=fit)]


def _expected(played: Played, cut: str) -> Values:
    """The expected q that is the policy's: from its levels, not from a curve fitted for it."""
    return tuple(t.q_expected if t.q_levels is not None else None for t in played.turns(cut))


def _if_none(values: Values) -> str:
    return NO_Q if all(value is None for value in values) else ""


def _nothing(name: str, cut: str, count: int, reason: str) -> Estimated:
    return Estimated(name=name, cut=cut, values=(None,) * count, reason=reason)


def _known(values: Values, outcomes: Sequence[float]) -> list[tuple[float, float]]:
    pairs = zip(values, outcomes, strict=True)
    return [(value, outcome) for value, outcome in pairs if value is not None]


def act_logprob(turn: Turn) -> float | None:
    """Mean log-probability (nats a token) of what a turn sampled outside its block.

    At the sampling temperature. The block is left out: it holds the estimate that this one stands
    beside, and its length differs with the plan. None: nothing else was sampled.
    """
    pairs = zip(turn.logprobs, turn.token_spans, strict=True)
    kept = [logprob for logprob, span in pairs if span not in BLOCK_SPANS]
    return sum(kept) / len(kept) if kept else None


def sequence(cut: str, evaluated: Played, fitted: Played) -> list[Estimated]:
    """Sequence probability, raw (it ranks) and as a probability by a fitted curve."""
    mine, other = (
        tuple(act_logprob(turn) for turn in played.sampled(cut)) for played in (evaluated, fitted)
    )
    pairs = _known(other, fitted.outcomes)
    if not pairs or all(value is None for value in mine):
        names = ("sequence", "sequence-fitted")
        return [_nothing(name, cut, len(mine), NOTHING_SAMPLED) for name in names]
    raw = Estimated(name="sequence", cut=cut, values=mine)
    return [raw, _curve("sequence-fitted", cut, mine, pairs)]


def _curve(name: str, cut: str, values: Values, pairs: Sequence[tuple[float, float]]) -> Estimated:
    """A logistic curve through (value, outcome) pairs, read at the values."""
    x, y = zip(*pairs, strict=True)
    fitted = fit_logistic(np.array(x)[:, None], np.array(y))
    read = tuple(
        None if value is None else float(fitted.predict(np.array([[value]]))[0]) for value in values
    )
    return Estimated(name=name, cut=cut, values=read, fit=asdict(fitted))


def agreeing(cut: str, evaluated: Played) -> Estimated:
    """The share of the task's rollouts that gave the answer."""
    name, count = "self-consistency", len(evaluated.agreed)
    if cut != "last":
        return _nothing(name, cut, count, TOO_EARLY)
    if all(value is None for value in evaluated.agreed):
        return _nothing(name, cut, count, ONE_ROLLOUT)
    return Estimated(name=name, cut=cut, values=evaluated.agreed)


def trivial(cut: str, evaluated: Played, fitted: Played) -> list[Estimated]:
    """What can be said without asking the model: base rate, step, a regression on the log."""
    rate = float(np.mean(fitted.outcomes))
    steps, other = (
        tuple(float(0 if cut == "first" else len(e.turns) - 1) for e in played.episodes)
        for played in (evaluated, fitted)
    )
    regression = fit_estimate(fitted.episodes)
    filled = regression.fill(evaluated.episodes)
    values = tuple(episode.turns[place(cut)].q_expected for episode in filled)
    constant = (rate,) * len(steps)
    return [
        Estimated(name="base-rate", cut=cut, values=constant, fit={"rate": rate}),
        _curve("step", cut, steps, _known(other, fitted.outcomes)),
        Estimated(name="logistic", cut=cut, values=values, fit=asdict(regression.logistic)),
    ]
