"""The way to an answer as hops: what each one asks, of whom, and the text that settles it.

Built once from the columns of `forethought.data.benchmark_rows`, whatever a set gives:
sub-questions (MuSiQue), triples (2WikiMultihopQA), or gold facts alone (HotpotQA, passages of NQ).
The hops take the place of the column `decomposition`, which no environment is given, as JSON
objects with the fields of `Hop`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from forethought.foresight.grounding import contains
from forethought.types import JsonRow, Task

REFERENCE = re.compile(r"#(\d+)")
"""How a sub-question of MuSiQue names the answer of an earlier one, counted from 1."""

_IN_PARENTHESES = re.compile(r"\s*\([^()]*\)\s*$")
_NEARBY = 60  # characters beside an answer that count as its evidence, where no sentence is marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One step of the way to an answer."""

    names: tuple[str, ...]  # what its subject may be called, best first
    relation: str  # what is asked of the subject, in the set's words; "" = the set does not say
    question: str  # the sub-question with its references; "" = there is none
    answer: str  # what it leads to; "" = not known
    after: tuple[int, ...]  # hops whose answers name the subject, from 0
    evidence: tuple[str, ...]  # pieces of the page that say it, white space evened out; never empty

    def came(self, reply: str) -> bool:
        """Whether a reply of a search shows all of the evidence."""
        shown = even(reply)
        return all(piece in shown for piece in self.evidence)


def even(text: str) -> str:
    """The text with every run of white space as one blank."""
    return " ".join(text.split())


def hops_of(task: Task) -> tuple[Hop, ...]:
    """The hops that `with_hops` left in a task; none where the way to its answer is not known."""
    return tuple(map(_hop_of, task.columns.get("decomposition") or ()))


def _hop_of(row: Mapping[str, Any]) -> Hop:
    return Hop(
        names=tuple(row["names"]),
        relation=row["relation"],
        question=row["question"],
        answer=row["answer"],
        after=tuple(row["after"]),
        evidence=tuple(row["evidence"]),
    )


def with_hops(task: Task) -> Task:
    """The task with hops in its column `decomposition`, and without its paragraphs.

    There are none where a hop has no page among the gold ones: then no search could be judged.
    """
    steps = task.columns.get("decomposition") or ()
    pages = _gold_pages(task)
    hops = _of_steps(steps, pages) if steps else _of_pages(task, pages)
    rows = [_row_of(hop) for hop in hops] if all(hop.evidence for hop in hops) else []
    kept = {
        key: value
        for key, value in task.columns.items()
        if key not in ("paragraphs", "supporting", "decomposition")
    }
    return replace(task, columns={**kept, "decomposition": rows} if rows else kept)


def _row_of(hop: Hop) -> JsonRow:
    """The hop as JSON has it: lists, so that a row that was read is the row that was written."""
    fields = asdict(hop)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in fields.items()}


@dataclass(frozen=True, slots=True)
class _Page:
    """A gold page: its title, its text, and its gold sentences (none: the whole page is gold)."""

    title: str
    text: str
    marked: tuple[str, ...]

    def evidence(self, answer: str) -> tuple[str, ...]:
        if self.marked:
            return self.marked
        whole = rf"(?<!\w){re.escape(answer)}(?!\w)"
        found = re.search(whole, self.text, re.IGNORECASE) if answer else None
        if found is None:
            return (self.text,)
        return (self.text[max(0, found.start() - _NEARBY) : found.end() + _NEARBY].strip(),)


def _gold_pages(task: Task) -> dict[str, _Page]:
    """The gold pages by id, in the order in which the set names them."""
    context = {each["id"]: each for each in task.columns.get("paragraphs", ())}
    marked: dict[str, list[str]] = {}
    for fact in task.columns.get("supporting", ()):
        if fact["paragraph"] not in context:
            continue
        sentences = context[fact["paragraph"]]["sentences"]
        found = marked.setdefault(fact["paragraph"], [])
        number = fact["sentence"]
        if number is not None and number < len(sentences) and sentences[number]:
            found.append(even(sentences[number]))
    pages: dict[str, _Page] = {}
    for name, pieces in marked.items():
        text = even(" ".join(each for each in context[name]["sentences"] if each))
        # Where a set splits its pages, a fact without a sentence is one of its faults.
        pages[name] = _Page(context[name]["title"], text, tuple(dict.fromkeys(pieces)))
    return pages


def _of_steps(steps: Sequence[Mapping[str, Any]], pages: Mapping[str, _Page]) -> list[Hop]:
    """Hops of sub-questions or triples; a step without a page takes the next one of no step."""
    claimed = {step["paragraph"] for step in steps}
    free = [page for name, page in pages.items() if name not in claimed]
    hops: list[Hop] = []
    for step in steps:
        page = pages.get(step["paragraph"]) or (free.pop(0) if free else None)
        earlier = [hop.answer for hop in hops]
        subject, relation, question = _asked(step, earlier)
        title = page.title if page is not None else ""
        after = [int(found) - 1 for found in REFERENCE.findall(step["question"] or "")]
        after += [n for n, answer in enumerate(earlier) if step["triple"] and answer == subject]
        hops.append(
            Hop(
                names=_names(title, subject),
                relation=relation,
                question=question,
                answer=step["answer"].strip(),
                after=tuple(n for n in dict.fromkeys(after) if 0 <= n < len(earlier)),
                evidence=page.evidence(step["answer"]) if page is not None else (),
            )
        )
    return hops


def _asked(step: Mapping[str, Any], earlier: Sequence[str]) -> tuple[str, str, str]:
    """Subject, relation and sub-question of a step; "" for what it does not have."""
    if step["triple"]:
        subject, relation, _ = step["triple"]
        return subject.strip(), relation.strip(), ""
    subject, sign, relation = step["question"].partition(">>")
    if sign:
        return filled(subject.strip(), earlier), relation.strip(), ""
    named = [earlier[int(n) - 1] for n in REFERENCE.findall(subject) if int(n) <= len(earlier)]
    return next(iter(named), ""), "", subject.strip()


def filled(text: str, answers: Sequence[str]) -> str:
    """The text with each `#1` as the answer of that number; one that is not there stays."""

    def answer(found: re.Match[str]) -> str:
        number = int(found[1]) - 1
        return answers[number] if 0 <= number < len(answers) else found[0]

    return REFERENCE.sub(answer, text)


def _of_pages(task: Task, pages: Mapping[str, _Page]) -> list[Hop]:
    """Hops of gold pages alone: those that the question names first, then those they lead to."""
    order = list(pages.values())
    named = [page for page in order if _is_named(page.title, task.question)]
    rest = [page for page in order if page not in named]
    if not named:  # the page that names another one leads to it
        rest.sort(
            key=lambda page: not any(_is_named(o.title, page.text) for o in rest if o != page)
        )
        named, rest = rest[:1], rest[1:]
    ways = [*named, *rest]
    return [
        Hop(
            names=_names(page.title, ""),
            relation="",
            question="",
            answer=task.answers[0] if number == len(ways) - 1 and rest else "",
            after=tuple(range(len(named))) if page in rest else (),
            evidence=page.evidence(""),
        )
        for number, page in enumerate(ways)
    ]


def _is_named(title: str, text: str) -> bool:
    return any(contains(name, text) for name in _names(title, ""))


def _names(title: str, subject: str) -> tuple[str, ...]:
    """Title and subject as they are, then without parentheses at their end, then unaccented."""
    whole = [html.unescape(name).strip() for name in (title, subject)]
    forms = [*whole, *(_IN_PARENTHESES.sub("", name) for name in whole)]
    found = dict.fromkeys([*forms, *map(_unaccented, forms)])
    return tuple(name for name in found if name and not REFERENCE.search(name))


def _unaccented(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in parts if not unicodedata.combining(letter))
