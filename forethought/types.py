"""The data that every part of forethought speaks: tasks, turns, rollouts, episodes, sequences.

Plain frozen dataclasses. An object is complete when it is built; a later phase makes a new object
(`Rollout` -> `Episode` -> `TrainingSequence`) and never fills in a blank. Nothing here imports
numpy or torch, so small tools that read these types start at once.

Letters used for shapes: `T` turns of a rollout, `L` tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

JsonRow = dict[str, Any]
"""One decoded JSON object: a line of a `.jsonl` file."""


class StopReason(StrEnum):
    """Why a rollout ended. Only `ERROR` leaves it out of every statistic."""

    ANSWER = "answer"  # the policy answered
    DONE = "done"  # the world ended the episode (budget spent): a failure, trained and scored
    MAX_TURNS = "max_turns"  # the harness's bound on turns: a failure, trained and scored
    LENGTH = "length"  # the token bound of a turn or of the context: a failure by default
    ABSTAIN = "abstain"  # a mode withheld it for a low estimate: not answered, no outcome for q
    ERROR = "error"  # the machine's fault: no success value, in no group, counted


class Span(StrEnum):
    """What a token belongs to. A tag belongs to the span that it opens or closes."""

    PROMPT = "prompt"
    OBSERVATION = "observation"
    IMAGINARY = "imaginary"
    KEYWORD = "keyword"
    ANALYSIS = "analysis"
    CONFIDENCE = "confidence"
    THINK = "think"
    ACTION = "action"
    OTHER = "other"  # sampled text outside every element


BLOCK_SPANS = frozenset({Span.IMAGINARY, Span.KEYWORD, Span.ANALYSIS, Span.CONFIDENCE})
"""The foresight block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One problem. `columns` are further fields of its row; they reach `env.reset(**row)`."""

    id: str
    question: str
    answers: tuple[str, ...]  # accepted aliases, first = canonical; hidden from the environment
    kind: str  # "qa" | "maths": which grader judges the answer
    split: str = "train"  # "train" | "val" | "test" | "acceptance"
    world_seed: int | None = None  # None: not from a synthetic world
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """The block a policy writes before it acts."""

    roadmap: str  # the content of <imaginary>: coming states, then what is still missing
    keywords: tuple[str, ...]  # the items of <keyword>, in order, stripped, empty ones dropped
    analysis: str
    q: float | None  # success estimate in [0, 1]; None = unreadable
    q_text: str = ""  # what stood in the confidence element


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What the policy does: a tool call (`kind` = the tool's name) or `kind="answer"`."""

    kind: str
    text: str  # the query, the code, or the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class CharSpan:
    """Characters `[start, end)` of a turn's text that belong to one element."""

    span: Span
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedTurn:
    """What a turn's text says, and what is wrong with it (`problems`, codes of docs/format.md)."""

    foresight: Foresight | None
    think: str
    action: Action | None
    problems: tuple[str, ...]
    spans: tuple[CharSpan, ...]  # sorted, disjoint; characters outside are Span.OTHER

    @property
    def format_ok(self) -> bool:
        """True when the strict parse found nothing wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One exchange: what the policy sampled and what the environment replied."""

    ids: tuple[int, ...]  # [n] sampled tokens, stop token included
    logprobs: tuple[float, ...]  # [n] log-softmax(logits / temperature); 0.0 where forced
    text: str  # decode(ids)
    parsed: ParsedTurn
    token_spans: tuple[Span, ...]  # [n]
    observation: str  # the environment's bare text; "" after an answer
    observation_ids: tuple[int, ...]  # the wrapped observation as it was appended to the sequence
    tool_error: bool = False  # the call failed for the policy's reasons
    level_probs: tuple[float, ...] | None = None  # [21] P(level | context); None = unscored
    kept_ids: tuple[int, ...] | None = None  # what later turns see of `ids`; None = all of them
    reply_at: tuple[int, int] | None = None  # [begin, end) of `observation_ids`: the text without
    # its wrapping; None = unknown, all of them

    @property
    def past_ids(self) -> tuple[int, ...]:
        """What stands in the context of later turns: of what was sampled, and the reply."""
        return (self.ids if self.kept_ids is None else self.kept_ids) + self.observation_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutError:
    """Why the machine, not the policy, ended a rollout."""

    kind: str  # "tool" | "timeout" | "backend" | "judge"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One attempt at one task, from start to end, with the ids that were really sampled.

    A turn is sampled behind `prompt_ids` and the `past_ids` of the turns before it.
    """

    task: Task
    index: int  # position in its group, from 0
    env: str
    prompt_ids: tuple[int, ...]
    turns: tuple[Turn, ...]
    answer: str | None
    stop_reason: StopReason
    error: RolloutError | None
    wall_s: float  # recorded only; nothing decides by it
    extra_tokens: int = 0  # sampled for this attempt and thrown away, such as other candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Exact values of the first routes of a task in a synthetic world."""

    chosen: float  # of the route that the policy took first; 0 where it took none
    mean: float  # over the routes that fit the budget
    best: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a synthetic world knows about a rollout. Empty fields: it knows nothing."""

    p: tuple[float | None, ...] = ()  # [T] exact success probability before each turn
    copied: tuple[bool | None, ...] = ()  # [T] the call's entity was copied right; None = no call
    choice: Choice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeTurn:
    """A turn as it stands in `episodes.jsonl`."""

    text: str
    format_ok: bool
    foresight: Foresight | None
    action: Action | None
    observation: str
    tool_error: bool = False
    q_expected: float | None = None  # mean level under the policy's 21 level probabilities
    q_levels: tuple[float, ...] | None = None  # [21] those probabilities
    oracle_p: float | None = None  # exact success probability from this state, where there is one
    keywords_novel: tuple[str, ...] = ()
    keywords_hit: tuple[str, ...] = ()
    copied: bool | None = None  # the entity of the call was copied right; None = unknown
    contrast: float | None = None  # mean hit rate on step-matched futures of the other tasks
    sampled_tokens: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A judged rollout without its tokens: one line of `episodes.jsonl`, and what credit reads."""

    task_id: str
    rollout: int
    env: str
    split: str
    question: str
    answers: tuple[str, ...]
    answer: str | None
    success: int | None  # 1 | 0 | None when `error` is set
    reward: float
    judge: str  # how the verdict was reached, e.g. "exact"
    stop_reason: StopReason
    error: RolloutError | None
    turns: tuple[EpisodeTurn, ...]
    world_seed: int | None = None
    tokens_prompt: int = 0
    tokens_sampled: int = 0
    tokens_observation: int = 0
    tokens_extra: int = 0  # sampled for the attempt and thrown away
    wall_s: float = 0.0
    choice: Choice | None = None
    group: str = ""  # kind of task, a breakdown of summaries; "" = there is one kind
    judge_reason: str = ""  # of a verdict by a judge, in its words
    success_em: int | None = None  # 1 | 0 by exact match where a judge is on; None = none is
    f1: float | None = None  # token F1 beside it (qa only)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCredit:
    """Advantages of one turn. None = the turn has no such span."""

    plan: float | None  # imaginary and keyword tokens
    confidence: float | None
    act: float | None  # think and action tokens
    analysis: float | None = None  # analysis tokens: `plan` without the grounding bonus


@dataclass(frozen=True, slots=True, kw_only=True)
class BrierSlot:
    """A place where the policy chose one of the 21 levels.

    The logits at `position - 1` predict the level token at `position`.
    """

    position: int
    target: float  # what the level is scored against, in [0, 1]: the outcome I, in stage 2 a label


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSequence:
    """Tokens and the weight of each in every loss. `weight[i]` is for predicting `ids[i]`.

    Example (P prompt, B block, A action, O observation; stage 2, whole response trained):
        ids        P P P B B A O O B A
        ce_weight  0 0 0 1 1 1 0 0 1 1
    Index 0 is never predicted, so its weights must be 0.
    """

    ids: tuple[int, ...]  # [L]
    starts: tuple[int, ...] = (0,)  # where a document begins: nothing before it is seen behind it
    ce_weight: tuple[float, ...] = ()  # [L] or () = all zero
    obs_weight: tuple[float, ...] = ()  # [L] or () = all zero: of cross-entropy on observations,
    # which has a denominator of its own (`algos.observations`)
    pg_weight: tuple[float, ...] = ()  # [L] or () = all zero
    kl_weight: tuple[float, ...] = ()  # [L] or () = all zero: of the KL term, where there is one;
    # below 0: that term trains the output embeddings alone, with the absolute weight
    advantage: tuple[float, ...] = ()  # [L] or () = all zero
    sampling_logprobs: tuple[float, ...] = ()  # [L] 0.0 where not sampled; () when pg_weight is ()
    brier: tuple[BrierSlot, ...] = ()
    source: str = ""  # "task_id/rollout", for messages

    @property
    def documents(self) -> tuple[tuple[int, int], ...]:
        """`[begin, end)` of each document."""
        return tuple(pairwise((*self.starts, len(self.ids))))
