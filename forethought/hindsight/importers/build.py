"""From an attempt to a `Trajectory`: one action a turn, known tools, a verdict, text we can write.

Nothing is filled in but one thing, and that is counted: a turn without a thought of its own gets a
sentence that says what it does ("Call search."), for our format has a thought in every turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forethought.errors import InputError
from forethought.foresight.block import render
from forethought.foresight.elements import REPLY_NAMES, has_reserved
from forethought.hindsight.importers.attempt import Act, Attempt, LeftOut, Said
from forethought.hindsight.importers.facts import accepted_answers, verdict_of
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.rewards.grading import grade
from forethought.types import Action, Foresight, StopReason, Task

ONE_TEXT = ("search", "python")
"""Our tools that take one text; JSON in its place would be another query or program."""
_SAMPLE = Foresight(roadmap="search", keywords=("sign",), analysis="open", q=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How rows are taken."""

    kind: str = "qa"  # of tasks, where the format does not say it: "qa" | "maths"
    style: str | None = None  # of the text format; None: the one in which all can be written
    tools: frozenset[str] | None = None  # those of the environment; None: any
    rename: Mapping[str, str] = field(default_factory=dict)  # a recorded tool -> ours
    success_at: float | None = None  # least reward of a success; None: 1, and 0 is a failure
    need_thoughts: bool = False  # leave out what has a turn without a thought
    can_tell: Callable[[Sequence[Step]], bool] | None = None  # of the writer; None: it tells all


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A trajectory, and where its parts come from."""

    trajectory: Trajectory
    filled: int  # turns whose thought is ours
    recorded: bool  # the verdict is the recording's, not our grader's
    agrees: bool | None  # whether our grader says the same; None: one of the two is not there
    own_gold: bool  # the row brings accepted answers


def build(attempt: Attempt, row: Mapping[str, Any], name: str, options: ImportOptions) -> Built:
    """The trajectory of an attempt.

    Args:
        attempt: what a reader found in the row.
        row: the row, for answers, success and model.
        name: id of the task: file and line.
        options: what is known and wanted.

    Raises:
        LeftOut: see `REASONS`.
    """
    if not attempt.turns:
        raise LeftOut("no_action")
    steps = _steps(attempt.turns, options)
    kind = attempt.kind or (row["kind"] if row.get("kind") in ("qa", "maths") else options.kind)
    answer = steps[-1].action.text
    gold = accepted_answers(row, kind)
    said = verdict_of(row, options.success_at)
    said = attempt.verdict if said is None else said
    graded = grade(kind, answer, gold, is_answer=True).correct if gold else None
    success = graded if said is None else said
    if success is None:
        raise LeftOut("no_verdict")
    if not gold and not success:
        raise LeftOut("no_gold")
    _check_written(steps, options.style)
    if options.can_tell is not None and not options.can_tell(steps):
        raise LeftOut("untold")
    model = row.get("model")
    source = model.strip() if isinstance(model, str) and model.strip() else "imported"
    task = Task(
        id=name,
        question=attempt.question,
        answers=gold or (answer,),  # a success: what was accepted
        kind=kind,
        split="train",
    )
    return Built(
        trajectory=Trajectory(
            task=task,
            source_policy=source,
            steps=steps,
            success=success,
            stop_reason=StopReason.ANSWER,
        ),
        filled=sum(not said.think.strip() for said in attempt.turns),
        recorded=said is not None,
        agrees=None if said is None or graded is None else said == graded,
        own_gold=bool(gold),
    )


def _steps(turns: Sequence[Said], options: ImportOptions) -> tuple[Step, ...]:
    """The turns as steps; the last one answers, those before call a tool.

    What says most about a row comes first: a second action in a turn is named even where the
    attempt has no end.
    """
    named = [
        tuple(_renamed(act, options.rename) for act in turn.acts) for turn in turns if turn.acts
    ]
    if not any(act.kind != "answer" for acts in named for act in acts):
        raise LeftOut("no_action")
    if any(len(acts) > 1 for acts in named):
        raise LeftOut("two_actions")
    if any(not acts[0].text.strip() for acts in named):
        raise LeftOut("empty_action")
    ends = [number for number, turn in enumerate(turns) if _answers(turn, options)]
    if not ends or (len(turns) > len(named) and ends[0] == len(turns) - 1):
        raise LeftOut("unfinished")
    if ends[0] < len(turns) - 1:
        raise LeftOut("after_answer")
    if any(turn.reply is None for turn in turns[:-1]):
        raise LeftOut("no_reply")
    if options.need_thoughts and not all(turn.think.strip() for turn in turns):
        raise LeftOut("no_thought")
    return tuple(_step(turn, acts[0], options) for turn, acts in zip(turns, named, strict=True))


def _renamed(act: Act, rename: Mapping[str, str]) -> Act:
    return Act(kind=rename.get(act.kind, act.kind), text=act.text, one_text=act.one_text)


def _answers(turn: Said, options: ImportOptions) -> bool:
    return any(_renamed(act, options.rename).kind == "answer" for act in turn.acts)


def _step(turn: Said, act: Act, options: ImportOptions) -> Step:
    if act.kind in (*ONE_TEXT, "answer") and not act.one_text:
        raise LeftOut("bad_arguments")
    if act.kind != "answer" and options.tools is not None and act.kind not in options.tools:
        raise LeftOut("unknown_tool")
    text = act.text.strip("\n") if act.kind == "python" else act.text.strip()
    return Step(
        think=turn.think.strip() or thought_for(act.kind),
        action=Action(kind=act.kind, text=text),
        observation="" if act.kind == "answer" else (turn.reply or "").strip(),
    )


def thought_for(kind: str) -> str:
    """What stands for the thought of a turn that has none: what the turn does."""
    return "Give the answer." if kind == "answer" else f"Call {kind}."


def style_of(steps: Sequence[Step]) -> str:
    """The style in which steps can be written: tags if search is all they call."""
    return "search" if all(s.action.kind in ("search", "answer") for s in steps) else "maths"


def _check_written(steps: Sequence[Step], style: str | None) -> None:
    """Every turn can be rendered with and without a block, and its reply be wrapped."""
    for step in steps:
        if has_reserved(step.observation, REPLY_NAMES):
            raise LeftOut("unwritable")
        for block in (None, _SAMPLE):
            try:
                render(block, step.think, step.action, style=style or style_of(steps))
            except InputError as error:
                raise LeftOut("unwritable") from error
