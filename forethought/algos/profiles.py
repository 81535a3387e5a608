"""The credit profiles: how one group of episodes becomes advantages of plan, confidence and act.

`grpo`, `gigpo` and `paper` are published objectives, `causal` is ours; docs/method.md has the
equations, their sources and what the paper leaves open. A profile sees one group at a time; what
it needs from other tasks comes through `Futures`. Indices: i member, t turn (from 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forethought.algos.advantages import (
    NORMALISERS,
    Normaliser,
    centre,
    group_zscore,
    leave_one_out,
    others_mean,
)
from forethought.algos.futures import Futures
from forethought.algos.gigpo import step_advantages
from forethought.algos.values import ValueFit
from forethought.errors import InputError
from forethought.foresight.calibration import brier, r_calib
from forethought.foresight.grounding import READINGS
from forethought.types import Episode, EpisodeTurn, Foresight, TurnCredit

NO_CREDIT = TurnCredit(plan=None, confidence=None, act=None)

Credits = list[list[TurnCredit]]
"""Credits by member of a group, then by turn."""

MIN_BRIER_SKILL = 0.1
"""A TD mixture trusts q; below this skill its bias is larger than the variance it saves."""

_CHOICES = {
    "profile": ("causal", "paper", "paper-mean", "grpo", "gigpo"),
    "matcher": tuple(READINGS),
    "future": ("observations", "all"),
    "normaliser": ("default", *NORMALISERS),
    "void_turns": ("train", "null"),
    "plan_baseline": ("previous", "group"),
}
ABLATIONS = ("soft", "td-add", "idf")
"""Earlier forms of `causal` that are kept for comparison (docs/method.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditConfig:
    """A profile and its readings. Defaults are those of docs/method.md."""

    profile: str = "causal"
    omega: float = 0.2  # paper: weight of A_S (0.2 search, 0.1 maths); gigpo: of its own (1 there);
    # ablation td-add: of A_delta
    gamma: float = 0.95  # gigpo: discount a turn
    anchor_similarity: float = 1.0  # gigpo: how alike two states must be to be one; 1 = equal
    c_g: float = 0.1  # causal: weight of the grounding bonus, in points of reward
    c_q: float = 1.0  # causal: weight of the confidence score
    r_calib: float = 1.0  # paper: weight of R_calib in the reward of the block
    r_ground: float = 1.0  # paper: weight of R_ground there
    matcher: str = "fraction"  # paper: how keyword hits become R_ground
    future: str = "observations"  # paper: what keywords are matched against
    normaliser: str = "default"  # grpo, gigpo, paper: of the episode reward; default = zscore
    void_turns: str = "train"  # turns without an action: as others, or "null" = left out
    plan_baseline: str = "previous"  # causal: V of the turn before, or "group" = m_i always
    lam: float = 1.0  # causal: lambda of the act advantage; 1 is unbiased for every q
    brier_skill: float | None = None  # of q in the last 10 updates; needed for lam < 1
    beta_soft: float = 0.5  # ablation soft: weight of the others' success in the target
    ablations: tuple[str, ...] = ()  # of ABLATIONS

    def __post_init__(self) -> None:
        """Refuses unknown names and estimators that are known to be wrong.

        Raises:
            InputError: a value that no profile can use.
        """
        if self.plan_baseline == "own":
            raise InputError(
                "credit.plan_baseline",
                got="own (q of the same turn)",
                expected="previous or group",
                next_step="keep previous: q is written after the plan and would erase its gradient",
            )
        for name, allowed in _CHOICES.items():
            _one_of(name, getattr(self, name), allowed)
        for name in self.ablations:
            _one_of("ablations", name, ABLATIONS)
        for name in ("gamma", "anchor_similarity"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise InputError(
                    f"credit.{name}",
                    got=str(getattr(self, name)),
                    expected="above 0, at most 1",
                    next_step="see docs/method.md, gigpo",
                )
        if self.lam != 1.0 and (self.brier_skill is None or self.brier_skill <= MIN_BRIER_SKILL):
            raise InputError(
                "credit.lam",
                got=f"{self.lam} with a Brier skill of {self.brier_skill}",
                expected=f"1, or a Brier skill above {MIN_BRIER_SKILL} over the last 10 updates",
                next_step="set lam = 1, which is unbiased for every q",
            )

    @property
    def normalise(self) -> Normaliser:
        """How a number compares with those of its group."""
        return NORMALISERS["zscore" if self.normaliser == "default" else self.normaliser]

    @property
    def reads_futures(self) -> bool:
        """True where keywords are matched against what happened later."""
        return self.profile.startswith("paper") or (self.profile == "causal" and self.c_g != 0.0)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(
            f"credit.{name}",
            got=repr(value),
            expected="one of " + ", ".join(allowed),
            next_step="see docs/method.md",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The valid attempts at one task."""

    indices: tuple[int, ...]  # [n] positions in the sequence of all episodes
    episodes: tuple[Episode, ...]  # [n]
    void_null: bool  # True: turns without an action are left out

    @property
    def rewards(self) -> list[float]:
        """[n] R."""
        return [episode.reward for episode in self.episodes]

    @property
    def outcomes(self) -> list[float]:
        """[n] I, 0 or 1."""
        return [float(episode.success or 0) for episode in self.episodes]

    @property
    def num_steps(self) -> int:
        """Turns of the longest member."""
        return max((len(episode.turns) for episode in self.episodes), default=0)

    def turn(self, i: int, t: int) -> EpisodeTurn | None:
        """Turn t of member i; None where there is none or it is left out."""
        turns = self.episodes[i].turns
        if t >= len(turns) or (self.void_null and turns[t].action is None):
            return None
        return turns[t]

    def block(self, i: int, t: int) -> Foresight | None:
        """The foresight block of turn t of member i, if there is one."""
        turn = self.turn(i, t)
        return None if turn is None else turn.foresight

    def q(self, i: int, t: int) -> float | None:
        """The readable success estimate of turn t of member i, if there is one."""
        block = self.block(i, t)
        return None if block is None else block.q


def grpo(group: Group, config: CreditConfig) -> Credits:
    """Every sampled token gets the normalised episode reward (GRPO, arXiv 2402.03300)."""
    episode = _episode_advantage(group, config)
    return _assemble(
        group,
        lambda i, t: TurnCredit(
            plan=episode[i], confidence=episode[i], act=episode[i], analysis=episode[i]
        ),
    )


def gigpo(group: Group, config: CreditConfig) -> Credits:
    """Every sampled token of a turn gets A_E(i) + omega A_S(i,t) (`forethought.algos.gigpo`)."""
    episode = _episode_advantage(group, config)
    steps = step_advantages(
        [_anchors(group, i) for i in range(len(group.episodes))],
        group.rewards,
        gamma=config.gamma,
        similarity=config.anchor_similarity,
        normalise=config.normalise,
    )

    def credit(i: int, t: int) -> TurnCredit:
        value = episode[i] + config.omega * steps.get((i, t), 0.0)
        return TurnCredit(plan=value, confidence=value, act=value, analysis=value)

    return _assemble(group, credit)


def _anchors(group: Group, i: int) -> list[str | None]:
    """[T] what the environment said before each turn, "" before the first; None: left out."""
    turns = group.episodes[i].turns
    seen = ["", *(turn.observation for turn in turns)]
    return [seen[t] if group.turn(i, t) is not None else None for t in range(len(turns))]


def paper(group: Group, config: CreditConfig, futures: Futures) -> Credits:
    """The published objective (arXiv 2606.27483, 3.4).

    Block tokens: A_WM(i,t) = norm(I - (q - I)^2 + R_ground). Think and action tokens:
    A_E(i) + omega A_S(i,t), A_S = norm(q). Both normalised over the members that have a block
    (A_WM) or a readable q (A_S) at turn t; `paper` divides by the standard deviation, `paper-mean`
    only centres. An unreadable q has R_calib 0, which is the best a failed episode can get.
    """
    normalise: Normaliser = centre if config.profile == "paper-mean" else group_zscore
    episode = _episode_advantage(group, config)
    members = range(len(group.episodes))
    world: list[list[float | None]] = []
    utility: list[list[float | None]] = []
    for t in range(group.num_steps):
        world.append(normalise([_world_reward(group, config, futures, i, t) for i in members]))
        utility.append(normalise([group.q(i, t) for i in members]))

    def credit(i: int, t: int) -> TurnCredit:
        act = episode[i] + config.omega * (utility[t][i] or 0.0)
        return TurnCredit(plan=world[t][i], confidence=world[t][i], act=act, analysis=world[t][i])

    return _assemble(group, credit)


def _world_reward(
    group: Group, config: CreditConfig, futures: Futures, i: int, t: int
) -> float | None:
    """R_WM = R_calib + R_ground, weighted; None without a block."""
    block = group.block(i, t)
    if block is None:
        return None
    hits = futures.paper_hits(group.indices[i], t, include_own_text=config.future == "all")
    calibrated = config.r_calib * r_calib(block.q, group.outcomes[i])
    return calibrated + config.r_ground * READINGS[config.matcher](hits)


def causal(
    group: Group, config: CreditConfig, futures: Futures | None, fit: ValueFit | None
) -> Credits:
    """Our estimator: unbiased baselines, credit by sub-span, no standard deviation anywhere.

    act = R_i - V_{i,t}; analysis = R_i - U_{i,t} with U_{i,1} = m_i and U_{i,t} = V_{i,t-1};
    plan = analysis + c_g (I_i rho_{i,t} - mean_{j != i} I_j rho_{j,t}), absent steps 0;
    confidence = c_q times the leave-one-out of -(q - I)^2 over the readable ones, used where the
    exact Brier loss cannot be (levels of several tokens). Derivation: docs/method.md.
    """
    rewards = group.rewards
    alone = len(rewards) < 2
    baselines = [
        own if m is None else m for own, m in zip(rewards, others_mean(rewards), strict=True)
    ]
    values = [_values(group, i, baselines[i], None if alone else fit) for i in range(len(rewards))]
    bonus = _grounding_bonus(group, config, futures)
    scores = _confidence_advantage(group, config)
    deltas = _td_advantage(group) if "td-add" in config.ablations else None

    def credit(i: int, t: int) -> TurnCredit:
        before = baselines[i] if t == 0 or config.plan_baseline == "group" else values[i][t - 1]
        act = _lambda_advantage(values[i], rewards[i], t, config.lam)
        if deltas is not None:
            act = rewards[i] - baselines[i] + config.omega * (deltas[t][i] or 0.0)
        score = scores[t][i]
        return TurnCredit(
            plan=rewards[i] - before + config.c_g * bonus[t][i],
            confidence=None if score is None else config.c_q * score,
            act=act,
            analysis=rewards[i] - before,
        )

    return _assemble(group, credit)


def _values(group: Group, i: int, m: float, fit: ValueFit | None) -> list[float]:
    """V of each turn of member i: the fit where q is readable, else the others' mean reward."""
    values: list[float] = []
    for t in range(len(group.episodes[i].turns)):
        q = group.q(i, t)
        values.append(m if fit is None or q is None else fit.value(t, q, m))
    return values


def _lambda_advantage(values: Sequence[float], reward: float, t: int, lam: float) -> float:
    """sum_l lam^l (V_{t+1+l} - V_{t+l}) with V_{T+1} = R; R - V_t for lam = 1."""
    if lam == 1.0:
        return reward - values[t]
    following = [*values[t + 1 :], reward]
    own = values[t:]
    return sum(lam**n * (b - a) for n, (a, b) in enumerate(zip(own, following, strict=True)))


def _grounding_bonus(
    group: Group, config: CreditConfig, futures: Futures | None
) -> list[list[float]]:
    """[t][i] leave-one-out of I rho; steps that a member lacks count as 0, failures always."""
    bonus: list[list[float]] = []
    for t in range(group.num_steps):
        gated = [0.0] * len(group.episodes)
        for i, outcome in enumerate(group.outcomes):
            if futures is not None and config.c_g and outcome and group.block(i, t) is not None:
                gated[i] = outcome * (futures.rho(group.indices[i], t) or 0.0)
        bonus.append([value or 0.0 for value in leave_one_out(gated)])
    return bonus


def _confidence_advantage(group: Group, config: CreditConfig) -> list[list[float | None]]:
    """[t][i] leave-one-out of -(q - y)^2; y = I, or the soft target of the first turn."""
    outcomes = group.outcomes
    soft = others_mean(outcomes) if "soft" in config.ablations else [None] * len(outcomes)
    result: list[list[float | None]] = []
    for t in range(group.num_steps):
        scores: list[float | None] = []
        for i, (outcome, mean_of_others) in enumerate(zip(outcomes, soft, strict=True)):
            q = group.q(i, t)
            target = outcome
            if t == 0 and mean_of_others is not None:
                target = (1.0 - config.beta_soft) * outcome + config.beta_soft * mean_of_others
            scores.append(None if q is None else -brier(q, target))
        result.append(leave_one_out(scores))
    return result


def _td_advantage(group: Group) -> list[list[float | None]]:
    """[t][i] leave-one-out of q_{t+1} - q_t with q_{T+1} = I (ablation td-add)."""
    result: list[list[float | None]] = []
    for t in range(group.num_steps):
        deltas: list[float | None] = []
        for i, outcome in enumerate(group.outcomes):
            last = t + 1 == len(group.episodes[i].turns)
            q, following = group.q(i, t), outcome if last else group.q(i, t + 1)
            deltas.append(None if q is None or following is None else following - q)
        result.append(leave_one_out(deltas))
    return result


def _episode_advantage(group: Group, config: CreditConfig) -> list[float]:
    """[n] the normalised reward, one number an episode."""
    return [value or 0.0 for value in config.normalise(group.rewards)]


def _assemble(group: Group, credit: Callable[[int, int], TurnCredit]) -> Credits:
    """Credits of all turns, with None where a turn lacks the span."""
    result: Credits = []
    for i, episode in enumerate(group.episodes):
        row: list[TurnCredit] = []
        for t in range(len(episode.turns)):
            block = group.block(i, t)
            if group.turn(i, t) is None:
                row.append(NO_CREDIT)
                continue
            full = credit(i, t)
            row.append(
                TurnCredit(
                    plan=None if block is None else full.plan,
                    confidence=None if block is None or block.q is None else full.confidence,
                    act=full.act,
                    analysis=None if block is None else full.analysis,
                )
            )
        result.append(row)
    return result
