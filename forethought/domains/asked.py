"""A question of the user's own as a task: read by the world that has to answer it."""

from __future__ import annotations

from dataclasses import replace

from forethought.domains import Domain
from forethought.domains.atlas import AtlasDomain
from forethought.domains.workbook import WorkbookDomain
from forethought.errors import InputError
from forethought.types import Task
from forethought.worlds.atlas import text as atlas_text
from forethought.worlds.atlas.asked import known_answer
from forethought.worlds.atlas.world import world
from forethought.worlds.workbook import text as workbook_text
from forethought.worlds.workbook.law import is_composed, known_result

ASKED = "asked"  # id of a task that no split holds


def asked_task(domain: Domain, like: Task, question: str) -> Task:
    """A question in the world of a task; a task of that world where it is the question of one.

    Args:
        domain: reads the question.
        like: a task of the world that is asked.
        question: in the words of the world.

    Returns:
        The task; `answers` is empty where the world does not know the right one.

    Raises:
        InputError: a question that the world cannot read.
    """
    if isinstance(domain, AtlasDomain):
        return _of_atlas(domain, like, question)
    if isinstance(domain, WorkbookDomain):
        return _of_workbook(domain, like, question)
    if not question.strip():
        raise _unread(like, question, "a problem in words")
    return replace(like, id=ASKED, question=question.strip(), answers=(), columns={})


def _of_atlas(domain: AtlasDomain, like: Task, question: str) -> Task:
    facts = atlas_text.read_question(question)
    if facts is None:
        raise _unread(
            like,
            question,
            "a name, its region, routes of relations behind the letters a b c, and how many "
            "searches are allowed",
        )
    assert like.world_seed is not None, "every task of atlas has a world"
    drawn = world(domain.law, like.world_seed)
    text = atlas_text.render_question(facts)
    for task in drawn.tasks:
        if task.question == text:
            return task
    answer = known_answer(drawn, facts)
    return replace(
        like,
        id=ASKED,
        question=text,
        answers=() if answer is None else (answer,),
        columns={"budget": facts.budget},
    )


def _of_workbook(domain: WorkbookDomain, like: Task, question: str) -> Task:
    facts = workbook_text.read_question(question)
    if facts is None:
        accounts = " ".join(workbook_text.ACCOUNTS)
        raise _unread(
            like,
            question,
            f"two accounts of {accounts}, what happens each day, the days, which account is "
            "asked for, and how many calls are allowed; numbers of at most six digits",
        )
    text = workbook_text.render_question(facts)
    if text == like.question:
        return like
    answer = known_result(facts)
    return replace(
        like,
        id=ASKED,
        question=text,
        answers=() if answer is None else (answer,),
        columns={"budget": facts.calls, "composed": is_composed(domain.law, facts)},
    )


def _unread(like: Task, question: str, grammar: str) -> InputError:
    return InputError(
        "the question",
        got=repr(question[:200]),
        expected=f"one that this world can read, such as {like.question!r}: {grammar}",
        next_step="change that example",
    )
