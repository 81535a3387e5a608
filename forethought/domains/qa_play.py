"""First trajectories of real questions, by rule: the gold hops played against the real index.

The player knows which pages settle a question and in which order (`forethought.data.hops`). It may
write only what the question or an earlier reply has shown: where the name of a hop's subject has
not been seen, it searches with the words of the question. How it asks, how often it tries again and
when it stops are drawn from a seed, so that pages fail to come and it then fails as anyone would.
Answers after such a failure are "none" or what was found last, never the gold one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from forethought.data.hops import Hop, filled, hops_of
from forethought.envs.base import Observation, call_tool, row_of
from forethought.foresight.grounding import contains, normalise
from forethought.hindsight.qa_words import noun_of
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.rewards.grading import grade
from forethought.types import Action, StopReason, Task

PLAYER = "hops"
NOTHING = "none"
PHRASINGS = ("name", "relation", "question", "whole")
"""The name alone; name and what is asked; a sentence; the whole question of the task."""
VARIANTS = 4
"""Trajectories of a task that differ in phrasing, at most."""

_STOP_TEXT = """
a an the of in on at to for from by with and or is are was were be been did do does has have had
who whom whose which what when where how why that this these those it its as into than both also
his her their he she they there
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())
_FIRST = ("I start with {what}.", "First I need {what}.", "The question turns on {what}.")
_NEXT = ("{found}Next I need {what}.", "{found}Now I look up {what}.", "{found}Open: {what}.")
_AGAIN = ("That page did not come; I ask in other words.", "Not there. I try another query.")
_BLIND = ("I do not know its name yet; I search with the words of the question.",)


def _whole(reply: str) -> str:
    return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of an episode, as the engine has them."""

    max_turns: int  # the answer included
    cut: Callable[[str], str] = _whole  # what is shown of a reply


@dataclass(slots=True)
class _Play:
    """One attempt in progress."""

    task: Task
    hops: tuple[Hop, ...]
    env: Any
    rng: random.Random
    cut: Callable[[str], str]
    steps: list[Step] = field(default_factory=list)
    came: set[int] = field(default_factory=set)
    missed: set[int] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    told: set[int] = field(default_factory=set)  # hops whose answer a thought has said
    done: bool = False

    def seen(self) -> str:
        """All that the player has been shown."""
        return "\n".join([self.task.question, *(step.observation for step in self.steps)])

    def search(self, think: str, query: str) -> None:
        """Runs a query in the environment and notes which pages came."""
        reply: Observation = call_tool(self.env, "search", query)
        shown = self.cut(str(reply))
        action = Action(kind="search", text=query)
        self.steps.append(Step(think=think, action=action, observation=shown, failed=reply.failed))
        self.asked.add(query.lower())
        self.came |= {n for n, hop in enumerate(self.hops) if hop.came(shown)}
        self.done = reply.done


def play(task: Task, env: Any, *, seed: str, bounds: Bounds) -> Trajectory:
    """One attempt at a task with hops, a function of its arguments alone.

    Args:
        task: with hops (`forethought.data.hops.with_hops`).
        env: a fresh search environment.
        seed: what phrasings, patience and thoughts are drawn from.
        bounds: of an episode.
    """
    env.reset(**row_of(task))
    rng = random.Random(seed)
    game = _Play(task=task, hops=hops_of(task), env=env, rng=rng, cut=bounds.cut)
    tries = game.rng.choice((1, 2, 2, 3))
    patience = max(1, len(game.hops) + game.rng.choice((-1, 0, 1, 2, 3, 3)))
    searches = min(bounds.max_turns - 1, patience)
    while not game.done and len(game.steps) < searches:
        target = _next_target(game)
        if target is None:
            break
        _ask(game, target, tries=min(tries, searches - len(game.steps)))
        if target not in game.came:
            game.missed.add(target)
    return _ended(game)


def _next_target(game: _Play) -> int | None:
    """The first open hop whose way is open; None when nothing is left to ask for."""
    for number, hop in enumerate(game.hops):
        if number not in game.came | game.missed and not set(hop.after) & game.missed:
            return number
    return None


def _ask(game: _Play, target: int, tries: int) -> None:
    """Searches for a hop's page until it comes, the tries are spent or no new query is left."""
    follows = game.hops[target].after and name_of(game.hops[target], game.seen())
    known = PHRASINGS[:-1] if follows else PHRASINGS  # the whole question finds its first pages
    phrasings = game.rng.sample(known, len(known))
    queries = [
        query_of(game.hops, target, how, game.task.question, game.seen()) for how in phrasings
    ]
    fresh = [query for query in dict.fromkeys(queries) if query.lower() not in game.asked]
    for number, query in enumerate(fresh[:tries]):
        think = game.rng.choice(_AGAIN) if number else _thought(game, target)
        game.search(think, query)
        if target in game.came or game.done:
            return


def name_of(hop: Hop, seen: str) -> str:
    """What the subject of a hop may be called by one who has seen this much; "" = nothing yet."""
    return next((name for name in hop.names if contains(name, seen)), "")


def query_of(hops: Sequence[Hop], target: int, how: str, question: str, seen: str) -> str:
    """The query for a hop in one of `PHRASINGS`, made of what has been seen and its relation."""
    hop, name = hops[target], name_of(hops[target], seen)
    told = _sub_question(hops, hop, seen)
    if how == "whole":
        return question
    if told and how == "question":
        return told
    if told and (how == "relation" or not name):
        return " ".join(_content(told, name if how == "name" else ""))
    asked = hop.relation or " ".join(_content(question, name))
    if not name:
        return " ".join(dict.fromkeys([*_content(question, ""), *asked.split()]))
    if how == "name":
        return name
    if how == "question" and hop.relation:
        return f"What is the {noun_of(hop.relation)} of {name}?"
    return f"{name} {asked}"


def _sub_question(hops: Sequence[Hop], hop: Hop, seen: str) -> str:
    """The sub-question of a hop with earlier answers; "" if it names what has not been seen.

    Capitals show what a name is.
    """
    told = filled(hop.question, [each.answer for each in hops])
    first, *words = told.split() or [""]
    named = [word for word in words if word != word.lower()]
    named += [word for word in (first, *words) if any(letter.isdecimal() for letter in word)]
    return told if all(contains(word, seen) for word in named if normalise(word)) else ""


def _content(text: str, without: str) -> list[str]:
    """Words that say something, those of a name left out, in their order."""
    skip = {*_STOP_WORDS, *normalise(without)}
    words = (word.strip(".,;:?!\"'()") for word in text.split())
    return list(dict.fromkeys(w for w in words if w and not set(normalise(w)) <= skip))


def _thought(game: _Play, target: int) -> str:
    hop, seen = game.hops[target], game.seen()
    name, told = name_of(hop, seen), _sub_question(game.hops, hop, seen).rstrip(" ?.")
    if not name and not told:
        return _found(game) + game.rng.choice(_BLIND)
    if told:
        what = f'"{told}"'
    else:
        what = f"the {noun_of(hop.relation)} of {name}" if hop.relation else f"the page on {name}"
    forms = _NEXT if game.steps else _FIRST
    return game.rng.choice(forms).format(what=what, found=_found(game))


def _found(game: _Play) -> str:
    """What the pages that came have said, where it is written there, with a blank behind."""
    said = [
        n
        for n in sorted(game.came - game.told)
        if game.hops[n].answer and contains(game.hops[n].answer, game.seen())
    ]
    game.told |= game.came
    return "".join(f"Found: {game.hops[n].answer.rstrip('.')}. " for n in said)


def _ended(game: _Play) -> Trajectory:
    """The attempt with its answer: the gold one if every page came, else none or the last find."""
    supported = len(game.came) == len(game.hops)
    if game.done:
        return _trajectory(game, success=False, stop=StopReason.DONE)
    if supported:
        think, answer = f"{_found(game)}Every page that I need has come.", game.task.answers[0]
    else:
        think, answer = f"{_found(game)}A page is missing and I stop here.", _guess(game)
    game.steps.append(Step(think=think, action=Action(kind="answer", text=answer), observation=""))
    return _trajectory(game, success=supported, stop=StopReason.ANSWER)


def _guess(game: _Play) -> str:
    """What was found last, or none; never an accepted answer, for nothing supports it."""
    found = [game.hops[n].answer for n in sorted(game.came) if n in game.told]
    options = [answer for answer in found[-1:] if answer and contains(answer, game.seen())]
    guesses: list[str] = [*(options if game.rng.random() < 0.5 else ()), NOTHING, "unknown"]
    answers = game.task.answers
    return next(guess for guess in guesses if not grade(game.task.kind, guess, answers).correct)


def _trajectory(game: _Play, *, success: bool, stop: StopReason) -> Trajectory:
    return Trajectory(
        task=game.task,
        source_policy=PLAYER,
        steps=tuple(game.steps),
        success=success,
        stop_reason=stop,
    )
