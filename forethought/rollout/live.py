"""Where a rollout starts, and its state while it is played: the one mutable thing here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from forethought.envs.base import tools_of
from forethought.types import Action, Rollout, RolloutError, StopReason, Task, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a rollout begins.

    Without `turns` the environment is reset by the engine. With `turns` (the replayed history of a
    branch) it must already be in the state that those turns led to.
    """

    task: Task
    env: Any  # one instance a rollout
    index: int = 0  # position in its group
    noise: tuple[int, ...]  # key of all sampling noise of this rollout
    parent: str | None = None  # a session of the back-end that shares a beginning
    turns: tuple[Turn, ...] = ()
    prompt_ids: tuple[int, ...] = ()  # () = encoded by the text format
    prefix_ids: tuple[int, ...] = ()  # forced beginning of the next turn; its log-probs are 0.0
    mode: str = "foresight"


@dataclass(slots=True, kw_only=True)
class Live:
    """State of one rollout."""

    start: Start
    session: str
    prompt: tuple[int, ...] = ()
    turns: list[Turn] = field(default_factory=list)
    prefix: tuple[int, ...] = ()  # still to be forced
    begun: tuple[int, ...] = ()  # of the next turn, sampled before a pause
    begun_logprobs: tuple[float, ...] = ()  # theirs
    call: Action | None = None  # a tool call that waits
    answer: str | None = None
    stop: StopReason | None = None
    error: RolloutError | None = None
    wall_s: float = 0.0
    _tools: dict[str, Callable[[str], Any]] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """What the next turn is sampled behind."""
        return self.prompt + tuple(i for turn in self.turns for i in turn.past_ids)

    def begin(self, prompt: tuple[int, ...]) -> None:
        """Lays down the prompt and the replayed turns."""
        self.prompt = prompt
        self.turns = list(self.start.turns)
        self.prefix = self.start.prefix_ids

    def append(self, turn: Turn) -> None:
        """Adds a sampled turn (its forced beginning included)."""
        self.turns.append(turn)
        self.prefix, self.begun, self.begun_logprobs = (), (), ()

    def observe(self, text: str, ids: tuple[int, ...], failed: bool) -> None:
        """Adds the reply to the last turn."""
        self.turns[-1] = replace(
            self.turns[-1], observation=text, observation_ids=ids, tool_error=failed
        )

    def tools(self) -> dict[str, Callable[[str], Any]]:
        """The environment's tools by name."""
        if self._tools is None:
            self._tools = dict(tools_of(self.start.env))
        return self._tools

    def fail(self, kind: str, error: Exception) -> None:
        """Ends the rollout by the machine's fault."""
        self.error = RolloutError(kind=kind, message=f"{type(error).__name__}: {error}".strip())
        self.end_by_error()

    def end_by_error(self) -> None:
        """No success value; in no statistic."""
        self.stop = StopReason.ERROR

    def end_by_answer(self, text: str) -> None:
        """The policy answered."""
        self.answer = text
        self.stop = StopReason.ANSWER

    def end_by_world(self) -> None:
        """The environment said `done`."""
        self.stop = StopReason.DONE

    def end_by_abstention(self) -> None:
        """A mode withholds the answer: a call that waits is not carried out."""
        self.answer, self.call = None, None
        self.stop = StopReason.ABSTAIN

    def end_by_turns(self) -> None:
        """A bound of the harness on turns."""
        self.stop = StopReason.MAX_TURNS

    def end_by_length(self) -> None:
        """The token bound of a turn or of the context."""
        self.stop = StopReason.LENGTH

    def rollout(self, env_name: str) -> Rollout:
        """The finished rollout."""
        assert self.stop is not None
        return self.so_far(env_name, self.stop)

    def so_far(self, env_name: str, stop: StopReason = StopReason.MAX_TURNS) -> Rollout:
        """What has been played, as if it ended here."""
        return Rollout(
            task=self.start.task,
            index=self.start.index,
            env=env_name or type(self.start.env).__name__,
            prompt_ids=self.prompt,
            turns=tuple(self.turns),
            answer=self.answer,
            stop_reason=stop,
            error=self.error,
            wall_s=self.wall_s,
        )
