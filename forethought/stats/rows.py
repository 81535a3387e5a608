"""Episodes as arrays: one column of numbers for each metric, with the task of every row.

Only episodes without an error enter. A `Column` keeps values (or q and y), the index of the task,
and a weight; `value(counts)` gives the metric under resampled task counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forethought.stats.attempts import pass_at_k, shown
from forethought.stats.metrics import FORECAST_METRICS, Array, mean, ratio
from forethought.stats.selective import SELECTIVE_METRICS
from forethought.types import Episode, EpisodeTurn, StopReason

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
    n: int  # episodes that enter, also where the metric pools their turns

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


def answered(valid: Sequence[Episode]) -> list[Episode]:
    """Episodes that no mode held back: an abstained one has no outcome to score a q with."""
    return [episode for episode in valid if not abstained(episode)]


def abstained(episode: Episode) -> bool:
    """Whether a mode held the episode back: not answered, and not lost by trying."""
    return episode.stop_reason is StopReason.ABSTAIN


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
            found |= _forecast_columns(answered(valid), index, source, cut)
    return found


def _column(rows: Sequence[tuple[float, int]], n: int | None = None) -> Column:
    """A plain mean over (value, task) rows; `n` where they are not one an episode."""
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
    mode = _modal_q(valid)
    return (
        {
            "success": _column([(float(e.success or 0), task) for e, task in episodes]),
            "turns": _column([(float(len(e.turns)), task) for e, task in episodes]),
            "sampled_tokens": _column([(float(e.tokens_sampled), task) for e, task in episodes]),
            "format_ok": _pooled(episodes, lambda turn: float(turn.format_ok)),
            "q_missing": _pooled(episodes, lambda turn: float(q_of(turn, "") is None)),
            "tool_error_rate": _pooled(episodes, _tool_error),
            "tool_use_rate": _column([(float(any(map(_calls, e.turns))), t) for e, t in episodes]),
            "execution_error_rate": _pooled(
                episodes, lambda turn: float(turn.tool_error) if _calls(turn) else None
            ),
            "q_modal_share": _pooled(
                episodes, lambda turn: None if (q := q_of(turn, "")) is None else float(q == mode)
            ),
            "copy_accuracy": _pooled(
                episodes, lambda turn: None if turn.copied is None else float(turn.copied)
            ),
            "choice_gain": _choice_gain(episodes),
            "oracle_mae": _column(_per_episode(episodes, _oracle_error)),
            "keyword_precision": _column(_per_episode(episodes, _precision)),
            "keyword_lift": _column(_per_episode(episodes, _lift)),
        }
        | _beside_a_judge(episodes)
        | _votes(episodes)
        | _attempts(episodes)
        | _held_back(episodes)
    )


def spent_tokens(episode: Episode) -> int:
    """All tokens that were sampled for an episode: its own, and those that were thrown away."""
    return episode.tokens_sampled + episode.tokens_extra


def _held_back(episodes: Sequence[tuple[Episode, int]]) -> dict[str, Column]:
    """What a mode that spends more, or answers less, adds; nothing where it did neither."""
    found: dict[str, Column] = {}
    if any(episode.tokens_extra for episode, _ in episodes):
        found["spent_tokens"] = _column([(float(spent_tokens(e)), task) for e, task in episodes])
    kept = [(e, task) for e, task in episodes if not abstained(e)]
    if len(kept) < len(episodes):
        found["coverage"] = _column([(float(not abstained(e)), task) for e, task in episodes])
        found["success_answered"] = _column([(float(e.success or 0), task) for e, task in kept])
    return found


def _beside_a_judge(episodes: Sequence[tuple[Episode, int]]) -> dict[str, Column]:
    """Exact match and token F1, where `success` is the verdict of a judge; nothing elsewhere."""
    exact = [(float(e.success_em), t) for e, t in episodes if e.success_em is not None]
    if not exact:
        return {}
    f1 = _column([(e.f1, t) for e, t in episodes if e.f1 is not None])
    return {"success_em": _column(exact), **({"f1": f1} if f1.n else {})}


def _votes(episodes: Sequence[tuple[Episode, int]]) -> dict[str, Column]:
    """Success of the commonest answer of a task, and of the one with the most q behind it.

    Only where tasks have several rollouts; n = tasks. The first of two equal answers wins, a
    rollout without an answer has no vote, and one without an estimate none that is weighed by it.
    """
    by_task = _by_task(episodes)
    if all(len(members) < 2 for members in by_task.values()):
        return {}
    weights = {"success_voted": lambda e: 1.0, "success_voted_q": _last_q}
    return {
        name: _column([(_elected(members, weigh), task) for task, members in by_task.items()])
        for name, weigh in weights.items()
    }


def _by_task(episodes: Sequence[tuple[Episode, int]]) -> dict[int, list[Episode]]:
    by_task: dict[int, list[Episode]] = {}
    for episode, task in episodes:
        by_task.setdefault(task, []).append(episode)
    return by_task


def _attempts(episodes: Sequence[tuple[Episode, int]]) -> dict[str, Column]:
    """mean@K and pass@k where tasks have several rollouts; n = tasks.

    A task that lost rollouts to the machine has fewer than the others, and is in no pass@k of more.
    """
    counted = [
        (task, len(members), sum(e.success or 0 for e in members))
        for task, members in _by_task(episodes).items()
    ]
    most = max((n for _, n, _ in counted), default=0)
    if most < 2:
        return {}
    found = {f"mean_at_{most}": _column([(right / n, task) for task, n, right in counted])}
    for k in shown(most):
        rows = [(pass_at_k(n, right, k), task) for task, n, right in counted if n >= k]
        found[f"pass_at_{k}"] = _column(rows)
    return found


def _last_q(episode: Episode) -> float:
    last = episode.turns[-1] if episode.turns else None
    if last is None:
        return 0.0
    return last.q_expected if last.q_expected is not None else q_of(last, "") or 0.0


def vote_of(answer: str) -> str:
    """What an answer votes for: case and blanks do not tell two answers apart."""
    return " ".join(answer.lower().split())


def _elected(members: Sequence[Episode], weigh: Callable[[Episode], float]) -> float:
    """1 if the answer with the largest sum of weights is right, else 0."""
    votes: dict[str, float] = {}
    right: dict[str, float] = {}
    for episode in members:
        if episode.answer is not None:
            answer = vote_of(episode.answer)
            votes[answer] = votes.get(answer, 0.0) + weigh(episode)
            right.setdefault(answer, float(episode.success or 0))
    return right[max(votes, key=lambda answer: votes[answer])] if votes else 0.0


def _pooled(
    episodes: Sequence[tuple[Episode, int]], score: Callable[[EpisodeTurn], float | None]
) -> Column:
    """The mean over all turns that have the score; n = the episodes that have such a turn."""
    scores = [
        [(value, task) for turn in e.turns if (value := score(turn)) is not None]
        for e, task in episodes
    ]
    return _column([row for rows in scores for row in rows], n=sum(map(bool, scores)))


def _calls(turn: EpisodeTurn) -> bool:
    return turn.action is not None and turn.action.kind != "answer"


def _tool_error(turn: EpisodeTurn) -> float | None:
    answers = turn.action is not None and turn.action.kind == "answer"
    return None if answers else float(turn.tool_error)


def _modal_q(valid: Sequence[Episode]) -> float | None:
    """The commonest stated q of all turns, the lowest of several; None where none is stated."""
    turns = (turn for episode in valid for turn in episode.turns)
    counts = Counter(q for turn in turns if (q := q_of(turn, "")) is not None)
    return min(counts, key=lambda q: (-counts[q], q)) if counts else None


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
    episodes: Sequence[tuple[Episode, int]], score: Callable[[Episode, int], float | None]
) -> list[tuple[float, int]]:
    """Means over the turns that have the score, one row an episode that has such a turn.

    `score` gets the episode and the number of the turn.
    """
    rows: list[tuple[float, int]] = []
    for episode, task in episodes:
        found = (score(episode, step) for step in range(len(episode.turns)))
        scores = [value for value in found if value is not None]
        if scores:
            rows.append((sum(scores) / len(scores), task))
    return rows


def _oracle_error(episode: Episode, step: int) -> float | None:
    turn = episode.turns[step]
    q = q_of(turn, "")
    return None if q is None or turn.oracle_p is None else abs(q - turn.oracle_p)


def _has_future(episode: Episode, step: int) -> bool:
    """Whether anything was printed behind the block of a turn: at that turn or later."""
    return any(turn.observation for turn in episode.turns[step:])


def _precision(episode: Episode, step: int) -> float | None:
    turn = episode.turns[step]
    if not turn.keywords_novel or not _has_future(episode, step):
        return None
    return len(turn.keywords_hit) / len(turn.keywords_novel)


def _lift(episode: Episode, step: int) -> float | None:
    # Without a contrast no other task of the file reaches this turn: nothing to compare with.
    precision, contrast = _precision(episode, step), episode.turns[step].contrast
    return None if precision is None or contrast is None else precision - contrast


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


_Rows = list[tuple[float, float, float, int]]  # q, outcome, weight, task


def _forecast_columns(
    valid: Sequence[Episode], index: dict[str, int], source: str, cut: str
) -> dict[str, Column]:
    rows: _Rows = []
    entered = 0
    for episode in valid:
        outcome, task = float(episode.success or 0), index[episode.task_id]
        stated = [(q, w) for q, w in forecast_rows(episode, source, cut) if q is not None]
        entered += bool(stated)
        rows += [(q, outcome, weight, task) for q, weight in stated]
    made = _scores(source, cut, rows, entered)
    if source == "":
        filled = _imputed(valid, index, cut, rows)
        made |= _scores("_imputed", cut, filled, len(valid) if filled else 0)
    return made


def _imputed(valid: Sequence[Episode], index: dict[str, int], cut: str, stated: _Rows) -> _Rows:
    """The rows of a cut with the base rate of its stated rows in place of a missing q.

    Every turn of the cut weighs 1 / (turns of the cut in its episode), with a q or without. An
    episode without any turn counts as one that states nothing.
    """
    if not stated:
        return []
    _, outcomes, weights, _ = zip(*stated, strict=True)
    rate = float(np.average(outcomes, weights=weights))
    rows: _Rows = []
    for episode in valid:
        outcome, task = float(episode.success or 0), index[episode.task_id]
        turns = episode.turns
        if cut != "all":
            turns = turns[:1] if cut == "first" else turns[-1:]
        found = [q_of(turn, "") for turn in turns] or [None]
        rows += [(rate if q is None else q, outcome, 1.0 / len(found), task) for q in found]
    return rows


def _scores(suffix: str, cut: str, rows: _Rows, n: int) -> dict[str, Column]:
    """The scores of a cut; of the last estimates also what answering by them would bring."""
    metrics = FORECAST_METRICS | (SELECTIVE_METRICS if cut == "last" else {})
    q, y, weight, task = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        f"{name}{suffix}.{cut}": Column(
            metric=metric,
            q=np.array(q, dtype=np.float64),
            y=np.array(y, dtype=np.float64),
            weight=np.array(weight, dtype=np.float64),
            task=np.array(task, dtype=np.int64),
            n=n,
        )
        for name, metric in metrics.items()
    }
