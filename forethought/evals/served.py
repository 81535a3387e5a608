"""`forethought eval --model openai:NAME`: a model behind a server in the same harness.

Nothing is trained and nothing is given away: the system message asks for the block in our words and
says what the tools are, replies of tools are messages of the user in the format's own tags, and
what comes back goes through the one parser, the same environments and the same judge. The estimate
is the number in the block; a server gives no probabilities of the 21 levels, so there is no
expected q.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from forethought.chat.client import ChatClient, ChatReply
from forethought.chat.configured import client_of
from forethought.domains import Domain
from forethought.domains.files import FileSearchDomain
from forethought.envs.base import check_class
from forethought.errors import InputError
from forethought.evals.run import (
    EvalSetting,
    Evaluated,
    judge_all,
    make_starts,
    roll_out,
    tasks_hash,
)
from forethought.progress import say
from forethought.rollout.engine import Start
from forethought.rollout.instructions import WORLDS
from forethought.rollout.modes import Mode
from forethought.rollout.render import TextFormat
from forethought.rollout.served import Pieces, ServedBackend, visible_tokens
from forethought.schema import ServedConfig
from forethought.types import Episode, Rollout, Task
from forethought.worlds.atlas.text import read_question

PREFIX = "openai:"
"""Of models behind OPENAI_BASE_URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model behind a server, and how hard it is asked."""

    model: str  # openai:NAME
    section: ServedConfig

    def client(self) -> ChatClient:
        """Asks it.

        Raises:
            InputError: openai: without a name.
        """
        name = self.model.removeprefix(PREFIX)
        if not name:
            raise InputError(
                "--model",
                got=self.model,
                expected=f"{PREFIX}NAME, the name that the server knows",
                next_step="add the name",
            )
        return client_of(self.section, name)


def check_mode(model: str, name: str, mode: Mode) -> None:
    """Refuses ways to act that need a model's probabilities or a turn begun by us.

    Raises:
        InputError: another mode than faithful and plain.
    """
    if mode.way or mode.imagine:
        raise InputError(
            "--mode",
            got=f"{name} for {model}",
            expected="faithful or plain: a server gives no probabilities of the levels",
            next_step="choose one of these, or name a model of this machine",
        )


def play_served(setting: EvalSetting, tasks: Sequence[Task], served: Served) -> Evaluated:
    """The episodes of all tasks, `setting.samples` each, with tokens as the server counts them.

    A request that fails is a failed rollout (`backend`).

    Raises:
        MissingError: there is no server, and the cache does not have every reply.
        InputError: the server refuses the key or knows no such model.
        GuardRail: a bound of `served` is reached; replies so far are kept.
    """
    client, section = served.client(), served.section
    bounds = setting.engine
    sampling = replace(bounds.sampling, max_tokens=section.max_turn_tokens)
    engine = replace(bounds, sampling=sampling, max_context_tokens=section.max_context_tokens)
    setting = replace(setting, engine=engine, domain=_shown(setting, tasks))
    starts = make_starts(setting, tasks)
    say(f"{served.model}: {bound(setting, len(starts), client)}")
    backend = ServedBackend(client)
    rollouts = roll_out(setting, starts, backend, Pieces(), served_format(setting))
    say(
        f"{served.model}: {client.asked} replies asked for, {client.prompt_tokens} tokens in and "
        f"{client.completion_tokens} out" + (f", {client.cost:.2f}" if client.cost else "")
    )
    lost = [rollout.error for rollout in rollouts if rollout.error is not None]
    if lost:
        say(
            f"{len(lost)} of {len(rollouts)} rollouts were lost ({lost[0].kind}: {lost[0].message})"
        )
    episodes = [
        _counted(episode, [backend.replies[key] for key in keys if key in backend.replies])
        for episode, keys in zip(
            judge_all(setting, rollouts, None), map(_keys, starts, rollouts), strict=True
        )
    ]
    return Evaluated(
        rollouts=(),
        episodes=episodes,
        model_sha256=hashlib.sha256(served.model.encode()).hexdigest(),
        data_sha256=tasks_hash(tasks),
    )


def bound(setting: EvalSetting, rollouts: int, client: ChatClient) -> str:
    """What an evaluation takes at most, before it starts: every turn used, every context full."""
    turns = rollouts * setting.engine.max_turns
    tokens_in = turns * setting.engine.max_context_tokens
    tokens_out = turns * setting.engine.sampling.max_tokens
    cost = client.prices.of(tokens_in, tokens_out)
    return (
        f"{rollouts} rollouts, at most {turns} requests, {tokens_in} tokens in and {tokens_out} out"
        + (f", {cost:.2f}" if cost else "")
    )


def served_format(setting: EvalSetting) -> TextFormat:
    """The domain's format as messages, with what a stranger must be told of tools and world."""
    form = setting.domain.text_format
    guide = WORLDS.get(form.name, "") if form.spaced else ""
    if form.style == "maths" and guide:
        guide = f"{guide}\n{_tools(setting.domain.make_env())}"
    return replace(
        form,
        prompt_style="messages",
        spaced=False,
        void_text="",
        old_blocks=True,  # pieces do not end where a block does, so it cannot be cut out of them
        guide=guide,
    )


def _tools(env: Any) -> str:
    """The tools of an environment, a line each."""
    lines = ["Tools:"]
    for spec in check_class(type(env)).values():
        about = "; ".join(f"{name}: {text}" for name, text in spec.about.items())
        lines.append(f"- {spec.name}({', '.join(spec.parameters)}) {spec.description} {about}")
    return "\n".join(lines)


def _shown(setting: EvalSetting, tasks: Sequence[Task]) -> Domain:
    """The domain; pages of real text are shown as numbered documents with their titles."""
    domain = setting.domain
    if not isinstance(domain, FileSearchDomain):
        return domain
    if all(read_question(task.question) is not None for task in tasks):
        return domain
    return replace(domain, text_format=replace(domain.text_format, spaced=False))


def _keys(start: Start, rollout: Rollout) -> list[tuple[int, ...]]:
    """The noise keys of the turns of a rollout."""
    return [(*start.noise, number) for number in range(len(rollout.turns))]


def _counted(episode: Episode, replies: Sequence[ChatReply]) -> Episode:
    """Its tokens by the server's count; the hidden thought of a model is sampled and thrown away.

    What stands in the last prompt and is neither the first prompt nor a reply came as observation.
    """
    if not replies:
        return episode
    hidden = sum(reply.reasoning_tokens for reply in replies)
    episode = replace(episode, tokens_extra=hidden)
    first, last = replies[0].prompt_tokens, replies[-1].prompt_tokens
    if not first:
        return episode  # this server counts nothing: the estimate stays
    written = sum(map(visible_tokens, replies[:-1]))
    return replace(episode, tokens_prompt=first, tokens_observation=max(last - first - written, 0))
