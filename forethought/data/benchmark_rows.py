"""Rows of public question sets as tasks, with what they know about the way to the answer.

Whatever a set calls its fields, a task has the same columns, each only where the set has it:

    paragraphs     [{"id", "title", "sentences": [text, ..]}, ..]   the context, in its order
    supporting     [{"title", "sentence": int | null, "paragraph": id | null}, ..]   gold facts
    decomposition  [{"question": text | null, "answer": text,
                     "triple": [subject, relation, object] | null, "paragraph": id | null}, ..]
    benchmark      the name of the set
    group          the set's own kind of question (HotpotQA, 2Wiki), relation (PopQA) or number
                   of hops (MuSiQue)

`sentence` counts from 0 in `sentences`; null is the whole paragraph. A set that does not split its
paragraphs has one sentence in each. `paragraph` is the id of the context's paragraph; null where
it is not in the context. An id is a function of title and text alone, so equal paragraphs of
different rows and sets have one id, which is also their id in corpus.jsonl. A step of MuSiQue is a
question that may name an earlier answer (`#1`), one of 2Wiki a triple whose object is the answer.
`supporting` and `decomposition` are hidden from environments (`forethought.envs.base`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forethought.errors import InputError
from forethought.jsonl import dumps
from forethought.tools.retrieval import Document
from forethought.types import JsonRow, Task

ID_DIGITS = 16  # of a hexadecimal sha256: two of ten million paragraphs collide once in 400,000
_IDS = ("id", "_id", "question_id", "qid", "qId", "QuestionId")
_QUESTIONS = ("question", "Question", "qText")
_ANSWERS = ("answers", "golden_answers", "possible_answers", "answer", "Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a row stands, and what is known of it from there."""

    name: str  # of the benchmark
    where: str  # file or hub name
    line: int  # from 1
    split: str  # ours: "train" | "val" | "test" | "acceptance"

    def refuse(self, got: str, expected: str) -> InputError:
        """What a reader answers to this row."""
        return InputError(
            self.where,
            line=self.line,
            got=got[:100],
            expected=expected,
            next_step=f"check that these are rows of {self.name} (`forethought list benchmarks`)",
        )


def plain_task(row: JsonRow, place: Place) -> Task | None:
    """A question with its answers and nothing else; a list of answers is one of aliases."""
    return _task(row, place, {})


def nq_task(row: JsonRow, place: Place) -> Task | None:
    """NQ: with its passages where the row has `ctxs` (DPR's form), or `title` and `paragraph`."""
    columns: JsonRow = {}
    if "ctxs" in row:
        marked = _objects(row, "ctxs", place)
        context = [
            _paragraph(_title(each, place), [text_of(each, "text", place)]) for each in marked
        ]
        columns |= {"paragraphs": context} | _gold(marked, context, "isgold")
    elif "paragraph" in row:
        gold = _paragraph(_title(row, place), [text_of(row, "paragraph", place)])
        columns["paragraphs"] = [gold]
        columns["supporting"] = [_fact(gold["title"], None, gold["id"])]
    return _task(row, place, columns)


def triviaqa_task(row: JsonRow, place: Place) -> Task | None:
    """TriviaQA: `answer` is an object with the answer and its aliases, or the answers alone."""
    answer = row.get("answer", row.get("Answer"))
    if not isinstance(answer, Mapping):
        return _task(row, place, {})
    value = answer.get("value", answer.get("Value"))
    aliases = answer.get("aliases", answer.get("Aliases")) or []
    if value == "<unk>":  # the published test split
        return None
    return _task({**row, "answers": [value, *aliases]}, place, {})


def popqa_task(row: JsonRow, place: Place) -> Task | None:
    """PopQA: `possible_answers` is a JSON list, as a text on the hub."""
    columns = {"group": row["prop"]} if row.get("prop") else {}
    answers = row.get("possible_answers")
    if isinstance(answers, str):
        try:
            row = {**row, "possible_answers": json.loads(answers)}
        except ValueError as error:
            got = f"possible_answers = {answers!r}"
            raise place.refuse(got, "a JSON list of texts") from error
    return _task(row, place, columns)


def hotpotqa_task(row: JsonRow, place: Place) -> Task | None:
    """HotpotQA and 2WikiMultihopQA: paragraphs in sentences, gold sentences, evidence triples.

    Reads lists of lists, as the sets are published (`[[title, sentences], ..]`), and the columns
    of the hub's copies (`{"title": [..], "sentences": [..]}`, or objects with these keys).
    """
    row = _with_metadata(row)
    columns: JsonRow = {"group": row["type"]} if row.get("type") else {}
    context = []
    for title, sentences in _records(row, "context", ("title", "sentences|content"), place):
        if not isinstance(title, str) or not _are_texts(sentences):
            raise place.refuse(f"context: {title!r}, {sentences!r}", "a title and sentences")
        context.append(_paragraph(title, sentences))
    if context:
        columns["paragraphs"] = _with_text(context)
    facts = []
    for title, number in _records(row, "supporting_facts", ("title", "sent_id"), place):
        if not isinstance(title, str) or type(number) is not int:
            raise place.refuse(f"a fact {title!r}, {number!r}", "a title and a sentence's number")
        facts.append(_fact(title, number, _paragraph_of(context, title, number)))
    if facts:
        columns["supporting"] = facts
    steps = []
    for triple in _records(row, "evidences", ("fact", "relation", "entity"), place):
        if not _are_texts(triple):
            raise place.refuse(f"evidences: {triple!r}", "triples of texts")
        steps.append(_triple_step(triple, facts))
    if steps:
        columns["decomposition"] = steps
    return _task(row, place, columns)


def musique_task(row: JsonRow, place: Place) -> Task | None:
    """MuSiQue: whole paragraphs and sub-questions; a question made unanswerable is no task."""
    row = _with_metadata(row)
    if row.get("answerable") is False:
        return None
    columns: JsonRow = {}
    marked = _objects(row, "paragraphs", place)
    context = [
        _paragraph(_title(each, place), [text_of(each, "paragraph_text", place)]) for each in marked
    ]
    numbered = {each.get("idx", i): context[i]["id"] for i, each in enumerate(marked)}
    if context:
        columns["paragraphs"] = _with_text(context)
    columns |= _gold(marked, context, "is_supporting")
    steps = [
        {
            "question": text_of(each, "question", place),
            "answer": text_of(each, "answer", place),
            "triple": None,
            "paragraph": numbered.get(each.get("paragraph_support_idx")),
        }
        for each in _objects(row, "question_decomposition", place)
    ]
    if steps:
        columns |= {"decomposition": steps, "group": f"{len(steps)} hops"}
    answers = [*_answers(row, place), *(row.get("answer_aliases") or [])]
    return _task({**row, "answers": answers}, place, columns)


def documents_of(task: Task) -> Iterable[Document]:
    """The paragraphs of a task as documents of a corpus."""
    for each in task.columns.get("paragraphs", ()):
        text = " ".join(sentence for sentence in each["sentences"] if sentence)
        yield Document(id=each["id"], title=each["title"], text=text)


def _task(row: JsonRow, place: Place, columns: JsonRow) -> Task | None:
    """The task of a row whose columns are known; None where every answer is blank."""
    answers = _answers(row, place)
    if not answers:
        return None
    own = next((row[key] for key in _IDS if isinstance(row.get(key), str | int)), None)
    name = f"{place.split}/{place.line - 1}" if own in (None, "") else own
    return Task(
        id=f"{place.name}/{name}",
        question=text_of(row, next((k for k in _QUESTIONS if k in row), "question"), place).strip(),
        answers=answers,
        kind="maths" if row.get("ability") == "math" else "qa",  # a column of verl's mixed sets
        split=place.split,
        columns={**columns, "benchmark": place.name},
    )


def _answers(row: JsonRow, place: Place) -> tuple[str, ...]:
    """Every accepted answer once, in order, blank ones left out."""
    key = next((key for key in _ANSWERS if key in row), "answer")
    found = row.get(key)
    values = found if isinstance(found, list) else [found]
    if not all(isinstance(value, str | int | float) for value in values):
        got = f"{key} = {dumps(found)}" if key in row else f"fields {', '.join(sorted(row))}"
        raise place.refuse(got, 'the answers as "answer" or "answers": a text or a list of texts')
    return tuple(dict.fromkeys(text for value in values if (text := _as_text(value))))


def _as_text(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value).strip()


def _with_metadata(row: JsonRow) -> JsonRow:
    """A row of FlashRAG's copies keeps all but question and answers in `metadata`."""
    inner = row.get("metadata")
    return {**inner, **row} if isinstance(inner, Mapping) else row


def _paragraph(title: str, sentences: Sequence[str]) -> JsonRow:
    """Title and sentences without outer blanks; empty sentences stay, for facts count them."""
    clean = [sentence.strip() for sentence in sentences]
    text = " ".join(sentence for sentence in clean if sentence)
    digest = hashlib.sha256(f"{title.strip()}\n{text}".encode()).hexdigest()
    return {"id": digest[:ID_DIGITS], "title": title.strip(), "sentences": clean}


def _with_text(paragraphs: list[JsonRow]) -> list[JsonRow]:
    return [each for each in paragraphs if any(each["sentences"])]


def _paragraph_of(context: Sequence[JsonRow], title: str, number: int) -> str | None:
    """The first paragraph of that title with such a sentence, else the first of that title."""
    named = [each for each in context if each["title"] == title.strip()]
    reached = [each for each in named if number < len(each["sentences"])]
    found = next(iter(reached or named), None)
    return None if found is None else str(found["id"])


def _gold(marked: Sequence[JsonRow], context: Sequence[JsonRow], mark: str) -> JsonRow:
    """The column of whole paragraphs that a set marks as gold; nothing where it marks none."""
    facts = [
        _fact(paragraph["title"], None, paragraph["id"])
        for each, paragraph in zip(marked, context, strict=True)
        if each.get(mark)
    ]
    return {"supporting": facts} if facts else {}


def _fact(title: str, sentence: int | None, paragraph: str | None) -> JsonRow:
    return {"title": title.strip(), "sentence": sentence, "paragraph": paragraph}


def _triple_step(triple: Sequence[str], facts: Sequence[JsonRow]) -> JsonRow:
    """A triple as a step; its paragraph is the gold one named like its subject, if there is one."""
    at = (fact["paragraph"] for fact in facts if fact["title"] == triple[0])
    return {
        "question": None,
        "answer": triple[2],
        "triple": list(triple),
        "paragraph": next(at, None),
    }


def _records(row: JsonRow, key: str, fields: Sequence[str], place: Place) -> list[tuple[Any, ...]]:
    """The records of a column in any of its published forms; none if it is not there.

    Args:
        row: lists of values, objects, or one object of columns.
        key: the column.
        fields: names of the values; "a|b": either name.
        place: for the message.
    """
    found = row.get(key) or []
    try:
        if isinstance(found, Mapping):
            found = list(zip(*(_either(found, field) for field in fields), strict=True))
        records = [
            tuple(_either(each, field) for field in fields)
            if isinstance(each, Mapping)
            else tuple(each)
            for each in found
        ]
    except (KeyError, TypeError, ValueError):
        records = [()]
    if any(len(record) != len(fields) for record in records):
        expected = f"{key} as lists of ({', '.join(fields)})"
        raise place.refuse(f"{key} = {dumps(found)}", expected)
    return records


def _either(values: Mapping[str, Any], names: str) -> Any:
    return values[next((name for name in names.split("|") if name in values), names)]


def _objects(row: JsonRow, key: str, place: Place) -> list[JsonRow]:
    found = row.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise place.refuse(f"{key} = {dumps(found)}", "a list of objects")
    return found


def text_of(row: Mapping[str, Any], key: str, place: Place) -> str:
    """A field that must be a text with something in it.

    Raises:
        InputError: it is not there, is no text, or is blank.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        fields = f"fields {', '.join(sorted(row))}" if key not in row else f"{key} = {value!r}"
        raise place.refuse(fields, f'a text "{key}"')
    return value


def _title(row: Mapping[str, Any], place: Place) -> str:
    return "" if row.get("title") == "" else text_of(row, "title", place)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(each, str) for each in values)
