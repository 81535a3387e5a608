"""Episodes as arrays: one column of numbers for each metric, with the task of every row.

Only episodes without an error enter. A `Column` keeps values (or q and y), the index of the task,
and a weight; `value(counts)` gives the metric under resampled task counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forethought.stats.metrics import FORECAST_METRICS, Array, mean, ratio
from forethought.types import Episode, EpisodeTurn

CUTS = ("first", "last", "all")
SOURCES = ("", "_expected")  # the sampled q, and the expected q over the 21 levels
CHUNK = 250  # resamplings at a time: bounds the memory of the weight matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The rows that a metric is computed from."""

    metric: Callable[[Array, Array, Array], Array]  # (q or values, y, weights) -> [R]
    q: Array  # [N]
    y: Array  # [N]; unused by plain means
    weight: Array  # [N]
    task: np.ndarray  # [N] index into the tasks of the file
    n: int  # episodes (or turns, where the metric pools turns) that enter

    def value(self, counts_RT: Array) -> Array:
        """The metric under each of R task counts, [R]."""
        parts = [
            self.metric(self.q, self.y, counts_RT[first : first + CHUNK, self.task] * self.weight)
            for first in range(0, len(counts_RT), CHUNK)
        ]
        return np.concatenate(parts)


def _mean(values: Array, _: Array, weights: Array) -> Array:
    return mean(values, weights)


def valid_episodes(episodes: Sequence[Episode]) -> list[Episode]:
    """Episodes that the machine did not end."""
    return [episode for episode in episodes if episode.error is None]


def task_ids(episodes: Sequence[Episode]) -> list[str]:
    """The tasks of the valid episodes, in order of first appearance."""
    return list(dict.fromkeys(episode.task_id for episode in valid_episodes(episodes)))


def q_of(turn: EpisodeTurn, source: str) -> float | None:
    """The sampled q of a turn, or the expected one."""
    if source == "_expected":
        return turn.q_expected
    return None if turn.foresight is None else turn.foresight.q


def columns(episodes: Sequence[Episode], tasks: Sequence[str]) -> dict[str, Column]:
    """A column for every metric of the contract, by name.

    Args:
        episodes: all of a file; those with an error are left out.
        tasks: the tasks that counts refer to; episodes of other tasks are left out.
    """
    index = {task: number for number, task in enumerate(tasks)}
    valid = [e for e in valid_episodes(episodes) if e.task_id in index]
    found = _plain_columns(valid, index)
    for source in SOURCES:
        for cut in CUTS:
            found |= _forecast_columns(valid, index, source, cut)
    return found


def _column(rows: Sequence[tuple[float, int]], n: int | None = None) -> Column:
    """A plain mean over (value, task) rows."""
    values = np.array([value for value, _ in rows], dtype=np.float64)
    return Column(
        metric=_mean,
        q=values,
        y=np.zeros(len(rows)),
        weight=np.ones(len(rows)),
        task=np.array([task for _, task in rows], dtype=np.int64),
        n=len(rows) if n is None else n,
    )


def _plain_columns(valid: Sequence[Episode], index: dict[str, int]) -> dict[str, Column]:
    episodes = [(episode, index[episode.task_id]) for episode in valid]
    turns = [(turn, task) for episode, task in episodes for turn in episode.turns]
    calls = [(t, task) for t, task in turns if t.action is None or t.action.kind != "answer"]
    return {
        "success": _column([(float(e.success or 0), task) for e, task in episodes]),
        "turns": _column([(float(len(e.turns)), task) for e, task in episodes]),
        "sampled_tokens": _column([(float(e.tokens_sampled), task) for e, task in episodes]),
        "format_ok": _column([(float(t.format_ok), task) for t, task in turns]),
        "q_missing": _column([(float(q_of(t, "") is None), task) for t, task in turns]),
        "tool_error_rate": _column([(float(t.tool_error), task) for t, task in calls]),
        "q_modal_share": _modal(turns),
        "copy_accuracy": _column(
            [(float(t.copied), task) for t, task in turns if t.copied is not None]
        ),
        "choice_gain": _choice_gain(episodes),
        "oracle_mae": _column(_per_episode(episodes, _oracle_error)),
        "keyword_precision": _column(_per_episode(episodes, _precision)),
        "keyword_lift": _column(_per_episode(episodes, _lift)),
    }


def _modal(turns: Sequence[tuple[EpisodeTurn, int]]) -> Column:
    stated = [(q, task) for t, task in turns if (q := q_of(t, "")) is not None]
    values = [q for q, _ in stated]
    mode = max(sorted(set(values)), key=values.count) if values else 0.0
    return _column([(float(q == mode), task) for q, task in stated])


def _choice_gain(episodes: Sequence[tuple[Episode, int]]) -> Column:
    """(chosen - mean) summed over episodes / (best - mean) summed likewise."""
    rows = [(e.choice, task) for e, task in episodes if e.choice is not None]
    return Column(
        metric=ratio,
        q=np.array([choice.chosen - choice.mean for choice, _ in rows], dtype=np.float64),
        y=np.array([choice.best - choice.mean for choice, _ in rows], dtype=np.float64),
        weight=np.ones(len(rows)),
        task=np.array([task for _, task in rows], dtype=np.int64),
        n=len(rows),
    )


def _per_episode(
    episodes: Sequence[tuple[Episode, int]], score: Callable[[EpisodeTurn], float | None]
) -> list[tuple[float, int]]:
    """Means over the turns that have the score, one row an episode that has such a turn."""
    rows: list[tuple[float, int]] = []
    for episode, task in episodes:
        scores = [value for turn in episode.turns if (value := score(turn)) is not None]
        if scores:
            rows.append((sum(scores) / len(scores), task))
    return rows


def _oracle_error(turn: EpisodeTurn) -> float | None:
    q = q_of(turn, "")
    return None if q is None or turn.oracle_p is None else abs(q - turn.oracle_p)


def _has_future(turn: EpisodeTurn) -> bool:
    # The record of a turn without a later observation has no contrast.
    return bool(turn.keywords_novel) and turn.contrast is not None


def _precision(turn: EpisodeTurn) -> float | None:
    if not _has_future(turn):
        return None
    return len(turn.keywords_hit) / len(turn.keywords_novel)


def _lift(turn: EpisodeTurn) -> float | None:
    precision = _precision(turn)
    return None if precision is None or turn.contrast is None else precision - turn.contrast


def forecast_rows(episode: Episode, source: str, cut: str) -> list[tuple[float | None, float]]:
    """(q, weight) of the turns of a cut; q None where the cut's turn states none.

    `first` and `last` are turn 0 and the last turn; `all` gives each turn with a q the weight
    1 / (number of such turns).
    """
    if not episode.turns:
        return []
    if cut != "all":
        return [(q_of(episode.turns[0 if cut == "first" else -1], source), 1.0)]
    stated = [q for turn in episode.turns if (q := q_of(turn, source)) is not None]
    return [(q, 1.0 / len(stated)) for q in stated]


def _forecast_columns(
    valid: Sequence[Episode], index: dict[str, int], source: str, cut: str
) -> dict[str, Column]:
    q: list[float] = []
    y: list[float] = []
    weight: list[float] = []
    task: list[int] = []
    missing: list[tuple[float, int]] = []
    entered = 0
    for episode in valid:
        rows = forecast_rows(episode, source, cut)
        outcome, place = float(episode.success or 0), index[episode.task_id]
        entered += any(value is not None for value, _ in rows)
        if not any(value is not None for value, _ in rows):
            missing.append((outcome, place))
        for value, part in rows:
            if value is not None:
                q.append(value)
                y.append(outcome)
                weight.append(part)
                task.append(place)
    made = _five(source, cut, (q, y, weight, task), entered)
    if source == "":
        rate = float(np.average(y, weights=weight)) if y else 0.0
        filled = (
            [*q, *(rate for _ in missing)],
            [*y, *(outcome for outcome, _ in missing)],
            [*weight, *(1.0 for _ in missing)],
            [*task, *(place for _, place in missing)],
        )
        made |= _five("_imputed", cut, filled, entered + len(missing) if y else 0)
    return made


def _five(
    suffix: str,
    cut: str,
    rows: tuple[list[float], list[float], list[float], list[int]],
    n: int,
) -> dict[str, Column]:
    q, y, weight, task = rows
    return {
        f"{name}{suffix}.{cut}": Column(
            metric=metric,
            q=np.array(q, dtype=np.float64),
            y=np.array(y, dtype=np.float64),
            weight=np.array(weight, dtype=np.float64),
            task=np.array(task, dtype=np.int64),
            n=n,
        )
        for name, metric in FORECAST_METRICS.items()
    }
