"""The q of a policy that writes none: a logistic regression on what any log of an agent shows.

An arm without blocks states no estimate, so that Brier skill would not be defined for it. Its line
is the best that can be said without asking the model: step, overlap of the question with what came
back last, lengths; fitted on validation episodes of the same policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from forethought.errors import GuardRail
from forethought.jsonl import write_json
from forethought.runfiles import read_estimate
from forethought.stats.logistic import Logistic, fit_logistic
from forethought.types import Episode

SCHEMA = "forethought.estimate/1"
FEATURES = ("step", "overlap", "question_words", "words")


def features(episode: Episode, step: int) -> list[float]:
    """What is known before turn `step` without the model, in the order of `FEATURES`."""
    question = episode.question.split()
    before = episode.turns[:step]
    words = set(question)
    last = set(before[-1].observation.split()) if before else set()
    length = len(question) + sum(
        len(turn.text.split()) + len(turn.observation.split()) for turn in before
    )
    overlap = len(words & last) / max(len(words), 1)
    return [float(step), overlap, float(len(question)), float(length)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A fitted estimate, and from how many episodes of which split."""

    logistic: Logistic
    episodes: int
    split: str

    def fill(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes with this estimate as the expected q of every turn."""
        return [self._filled(episode) for episode in episodes]

    def _filled(self, episode: Episode) -> Episode:
        if not episode.turns:
            return episode
        x = np.array([features(episode, step) for step in range(len(episode.turns))])
        q = self.logistic.predict(x).tolist()
        turns = (replace(t, q_expected=value) for t, value in zip(episode.turns, q, strict=True))
        return replace(episode, turns=tuple(turns))

    def save(self, file: Path) -> None:
        """Writes it as JSON (schema forethought.estimate/1)."""
        row = {"schema": SCHEMA, "features": list(FEATURES), **asdict(self)}
        write_json(file, row)

    @classmethod
    def load(cls, file: Path) -> Estimate:
        """Reads it back.

        Raises:
            InputError: the file is absent or does not fit.
        """
        row = read_estimate(file, FEATURES)
        fitted = {key: tuple(value) for key, value in row["logistic"].items()}
        return cls(logistic=Logistic(**fitted), episodes=row["episodes"], split=row["split"])


def fit_estimate(episodes: Sequence[Episode]) -> Estimate:
    """Fits the outcome of an episode on the features of each of its turns.

    Raises:
        GuardRail: no episode has a turn.
    """
    rows = [
        (features(episode, step), float(episode.success or 0))
        for episode in episodes
        if episode.error is None
        for step in range(len(episode.turns))
    ]
    if not rows:
        raise GuardRail("no episode to fit the estimate of the arm without blocks on")
    x, y = zip(*rows, strict=True)
    fitted = fit_logistic(np.array(x), np.array(y))
    return Estimate(logistic=fitted, episodes=len(episodes), split=episodes[0].split)


def estimate_of(model: str) -> Estimate | None:
    """The estimate that lies beside the model of a stage, for STAGE or STAGE/model."""
    for folder in (Path(model), Path(model).parent):
        if (folder / "estimate.json").is_file():
            return Estimate.load(folder / "estimate.json")
    return None
