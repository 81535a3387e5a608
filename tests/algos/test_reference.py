"""The shipped credit equals a second implementation: plain loops over the definitions.

200 random groups with ragged lengths, blocks and numbers that are missing, void turns, cut
episodes, rollouts that the machine ended, groups of one, and steps with one survivor. Nothing of
the code under test is used but its data types.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from statistics import fmean, pstdev

import pytest

from forethought.algos.credit import CreditConfig, credit_episodes
from forethought.types import (
    Action,
    Episode,
    EpisodeTurn,
    Foresight,
    RolloutError,
    StopReason,
)

WORDS = ("moss", "lamp", "reed", "fern", "salt", "clay", "iron", "wolf", "north", "year")
ENDS = (StopReason.ANSWER, StopReason.DONE, StopReason.MAX_TURNS, StopReason.LENGTH)
Triple = tuple[float | None, float | None, float | None]


# Random episodes


def _phrase(rng: random.Random, most: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def _turn(rng: random.Random) -> EpisodeTurn:
    block, written = None, ""
    if rng.random() < 0.9:
        q = None if rng.random() < 0.2 else rng.randrange(21) / 20
        keywords = tuple(_phrase(rng, 3) for _ in range(rng.randint(0, 7)))
        stated = "no idea" if q is None else f"{round(100 * q)}%"
        block = Foresight(roadmap="r", keywords=keywords, analysis="a", q=q, q_text=stated)
        written = (
            f"<imaginary>r</imaginary><keyword>{', '.join(keywords)}</keyword>"
            f"<analysis>a</analysis><confidence>{stated}</confidence>"
        )
    thought, query = _phrase(rng, 2), _phrase(rng, 2)
    void = rng.random() < 0.1
    acted = f"<think>{thought}</think>" + ("" if void else f"<search>{query}</search>")
    return EpisodeTurn(
        text=written + acted,
        format_ok=True,
        foresight=block,
        action=None if void else Action(kind="search", text=query),
        observation=_phrase(rng, 9) if rng.random() < 0.85 else "",
    )


def _episode(rng: random.Random, task: int, member: int) -> Episode:
    lost = rng.random() < 0.08
    won = int(rng.random() < 0.5)
    return Episode(
        task_id=f"t{task}",
        rollout=member,
        env="e",
        split="train",
        question=_phrase(rng, 3),
        answers=("y",),
        answer=None,
        success=None if lost else won,
        reward=0.0 if lost else won - 0.01 * rng.randrange(3),
        judge="exact",
        stop_reason=StopReason.ERROR if lost else rng.choice(ENDS),
        error=RolloutError(kind="tool", message="gone") if lost else None,
        turns=tuple(_turn(rng) for _ in range(rng.randint(1, 4))),
    )


def _file(seed: int, groups: int) -> list[Episode]:
    rng = random.Random(seed)
    return [_episode(rng, task, m) for task in range(groups) for m in range(rng.randint(1, 6))]


# What a keyword is worth


def _tokens(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


def _holds(text: str, phrase: str) -> bool:
    have, want = _tokens(text), _tokens(phrase)
    return any(have[n : n + len(want)] == want for n in range(len(have) - len(want) + 1))


def _comes(phrase: str, observation: str) -> bool:
    have, want = _tokens(observation), _tokens(phrase)
    for n in range(len(have) - len(want) + 1):
        window, shared = have[n : n + len(want)], 0
        for token in want:
            if token in window:
                window.remove(token)
                shared += 1
        if shared / len(want) >= 0.67:
            return True
    return False


def _distinct(keywords: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    for keyword in keywords:
        if _tokens(keyword) and all(_tokens(keyword) != _tokens(other) for other in kept):
            kept.append(keyword)
    return kept


def _acted(turn: EpisodeTurn) -> str:
    return turn.text.split("</confidence>")[-1]


def _manifest(episode: Episode, t: int) -> float:
    """The published R_ground: share of the first five distinct keywords that come."""
    block = episode.turns[t].foresight
    words = _distinct(block.keywords)[:5] if block else []
    later = [turn.observation for turn in episode.turns[t:]]
    return fmean(any(_comes(w, text) for text in later) for w in words) if words else 0.0


def _rho(file: list[Episode], episode: Episode, t: int) -> float:
    block = episode.turns[t].foresight
    if block is None or not any(turn.observation for turn in episode.turns[t:]):
        return 0.0
    others = [
        e
        for e in file
        if e.error is None
        and e.task_id != episode.task_id
        and any(turn.observation for turn in e.turns[t:])
    ]
    if not others:
        return 0.0
    seen = [episode.question]
    for turn in episode.turns[:t]:
        seen += [turn.text, turn.observation]
    words = [w for w in _distinct(block.keywords) if not any(_holds(s, w) for s in seen)][:5]
    total = 0.0
    for word in words:
        own = 0.0
        for turn in episode.turns[t:]:
            if _holds(_acted(turn), word):
                break
            if _comes(word, turn.observation):
                own = 1.0
                break
        elsewhere = fmean(any(_comes(word, x.observation) for x in e.turns[t:]) for e in others)
        total += own - elsewhere
    return total / 5


# The profiles


def _zscore(values: list[float]) -> list[float]:
    spread = pstdev(values) if values else 0.0
    return [(x - fmean(values)) / spread if spread > 1e-12 else 0.0 for x in values]


def _centre(values: list[float]) -> list[float]:
    return [x - fmean(values) for x in values]


def _left_out(values: list[float]) -> list[float]:
    if len(values) < 2:
        return [0.0] * len(values)
    return [x - (sum(values) - x) / (len(values) - 1) for x in values]


def _by_step(
    group: list[Episode], value: Callable[[Episode, int], float | None], normalise: Callable
) -> dict[tuple[int, int], float]:
    """Normalised over the members that have a turn t, are not void there, and have the value."""
    found = {}
    for t in range(max(len(e.turns) for e in group)):
        here = [
            (n, v)
            for n, e in enumerate(group)
            if t < len(e.turns) and e.turns[t].action is not None and (v := value(e, t)) is not None
        ]
        for (n, _), x in zip(here, normalise([v for _, v in here]), strict=True):
            found[n, t] = x
    return found


def _q(episode: Episode, t: int) -> float | None:
    block = episode.turns[t].foresight
    return None if block is None else block.q


def _paper(group: list[Episode], normalise: Callable, omega: float) -> dict:
    def world(episode: Episode, t: int) -> float | None:
        if episode.turns[t].foresight is None:
            return None
        q, won = _q(episode, t), float(episode.success or 0)
        calibrated = 0.0 if q is None else won - (q - won) ** 2
        return calibrated + _manifest(episode, t)

    reward = _zscore([e.reward for e in group])
    block, number = _by_step(group, world, normalise), _by_step(group, _q, normalise)
    return {
        (n, t): (
            block.get((n, t)),
            None if _q(e, t) is None else block.get((n, t)),
            reward[n] + omega * number.get((n, t), 0.0),
        )
        for n, e in enumerate(group)
        for t in range(len(e.turns))
    }


def _grpo(group: list[Episode]) -> dict:
    reward = _zscore([e.reward for e in group])
    return {
        (n, t): (
            None if e.turns[t].foresight is None else reward[n],
            None if _q(e, t) is None else reward[n],
            reward[n],
        )
        for n, e in enumerate(group)
        for t in range(len(e.turns))
    }


def _causal(file: list[Episode], group: list[Episode], c_g: float, c_q: float) -> dict:
    reward = _left_out([e.reward for e in group])
    longest = max(len(e.turns) for e in group)
    bonus = []
    for t in range(longest):
        gated = [
            float(e.success or 0) * _rho(file, e, t)
            if t < len(e.turns) and e.turns[t].action is not None
            else 0.0
            for e in group
        ]
        bonus.append(_left_out(gated))

    def score(episode: Episode, t: int) -> float | None:
        q = _q(episode, t)
        return None if q is None else -((q - float(episode.success or 0)) ** 2)

    scores = _by_step(group, score, _left_out)
    return {
        (n, t): (
            None if e.turns[t].foresight is None else reward[n] + c_g * bonus[t][n],
            c_q * scores[n, t] if (n, t) in scores else None,
            reward[n],
        )
        for n, e in enumerate(group)
        for t in range(len(e.turns))
    }


def _reference(file: list[Episode], profile: str) -> list[list[Triple]]:
    result: list[list[Triple]] = [[(None, None, None)] * len(e.turns) for e in file]
    for task in dict.fromkeys(e.task_id for e in file):
        places = [n for n, e in enumerate(file) if e.task_id == task and e.error is None]
        group = [file[n] for n in places]
        if not group:
            continue
        if profile == "grpo":
            found = _grpo(group)
        elif profile == "causal":
            found = _causal(file, group, 0.1, 1.0)
        else:
            found = _paper(group, _zscore if profile == "paper" else _centre, 0.2)
        for (n, t), triple in found.items():
            if group[n].turns[t].action is not None:
                result[places[n]][t] = triple
    return result


@pytest.mark.parametrize("profile", ["paper", "paper-mean", "causal", "grpo"])
def test_two_implementations_agree_to_a_billionth(profile: str) -> None:
    numbers = 0
    for seed in range(8):
        file = _file(seed, groups=25)
        shipped = credit_episodes(file, CreditConfig(profile=profile, void_turns="null"))
        for episode, mine, theirs in zip(file, _reference(file, profile), shipped, strict=True):
            for t, (wanted, found) in enumerate(zip(mine, theirs, strict=True)):
                got = (found.plan, found.confidence, found.act)
                assert got == pytest.approx(wanted, abs=1e-9), (seed, episode.task_id, t)
                numbers += sum(x is not None and x != 0.0 for x in wanted)
    assert numbers > 2000, "hardly anything was compared"
