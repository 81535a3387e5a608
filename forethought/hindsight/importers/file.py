"""A file of recorded attempts as trajectories, with an account of every row.

`read = imported + sum(left_out)`: a row becomes a trajectory, or is left out for one named reason
(`attempt.REASONS`). A question that stands in a test file is never imported.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forethought.data.decontaminate import Asked, TestIndex, asked
from forethought.errors import InputError
from forethought.hindsight.importers import FORMATS
from forethought.hindsight.importers.attempt import REASONS, LeftOut
from forethought.hindsight.importers.build import Built, ImportOptions, build
from forethought.hindsight.importers.facts import refuse_held_out
from forethought.hindsight.trajectory import Trajectory
from forethought.jsonl import dumps, no_rows, parse_json, read_jsonl, read_lines
from forethought.types import JsonRow

SCHEMA = "forethought.import/1"
LINES_SHOWN = 5
"""Line numbers that the report names for each reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFile:
    """The questions of one file that must not be trained on."""

    __test__ = False  # for pytest: no test class

    path: str
    index: TestIndex


@dataclass(slots=True, kw_only=True)
class Tally:
    """The account of a file, as its rows pass by."""

    left_out: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    contaminated: list[JsonRow] = field(default_factory=list)

    def leave_out(self, reason: str, line: int) -> None:
        """One more row that is no trajectory."""
        self.left_out[reason] += 1
        self.lines.setdefault(reason, []).append(line)

    def take(self, built: Built) -> None:
        """One more trajectory."""
        self.counts["imported"] += 1
        self.counts["success"] += built.trajectory.success
        self.counts["recorded" if built.recorded else "graded"] += 1
        self.counts["filled"] += built.filled
        self.counts["steps"] += len(built.trajectory.steps)
        self.counts["own_gold" if built.own_gold else "accepted"] += 1
        if built.agrees is not None:
            self.counts["agree" if built.agrees else "differ"] += 1
        self.tools.update(
            step.action.kind for step in built.trajectory.steps if step.action.kind != "answer"
        )


def read_tests(paths: Sequence[str]) -> list[TestFile]:
    """The test files of `--decontaminate`.

    Raises:
        InputError: a file cannot be read, has no row, or a row has no question.
    """
    files: list[TestFile] = []
    for path in paths:
        index = TestIndex()
        for line, row in read_jsonl(path):
            index.add(asked(row, path, line))
        if not index.known:
            raise no_rows(path, "test question")
        files.append(TestFile(path=path, index=index))
    return files


def import_file(
    path: str, form: str, options: ImportOptions, tests: Sequence[TestFile] = ()
) -> tuple[list[Trajectory], JsonRow]:
    """The trajectories of a file, and the account of its rows (import.json).

    Args:
        path: JSON lines, plain or gzipped; `-` = standard input.
        form: a key of `FORMATS`.
        options: what is known and wanted.
        tests: questions that must not be imported.

    Raises:
        InputError: no such format, the file cannot be read, or it has no row.
    """
    if form not in FORMATS:
        raise InputError(
            "--format", got=repr(form), expected=" | ".join(FORMATS), next_step="choose one"
        )
    tally, read = Tally(), list[tuple[int, Built]]()
    digest = hashlib.sha256()
    stem = Path(path).name.removesuffix(".gz").removesuffix(".jsonl")
    for line, data, _ in read_lines(path):
        digest.update(data)
        if not data.strip():
            continue
        tally.counts["read"] += 1
        try:
            read.append((line, _read(data, f"{stem}/{line}", form, options, tally)))
        except LeftOut as out:
            tally.leave_out(out.reason, line)
    found = _new_and_clean(read, tests, tally)
    if not tally.counts["read"]:
        raise no_rows(path, "recorded attempt")
    return found, _report(path, form, tally, tests) | {"sha256": digest.hexdigest()}


def _new_and_clean(
    read: Sequence[tuple[int, Built]], tests: Sequence[TestFile], tally: Tally
) -> list[Trajectory]:
    """Those that ask no test question and were not there before, in the order of the file."""
    for file in tests:
        for _, built in read:
            for question in _questions(built.trajectory):
                file.index.learn(question)
    found: list[Trajectory] = []
    seen: set[str] = set()
    for line, built in read:
        try:
            _refuse_tests(built.trajectory, line, tests, tally)
            key = _key(built.trajectory)
            if key in seen:
                raise LeftOut("duplicate")
        except LeftOut as out:
            tally.leave_out(out.reason, line)
            continue
        seen.add(key)
        found.append(built.trajectory)
        tally.take(built)
    return found


def _read(data: bytes, name: str, form: str, options: ImportOptions, tally: Tally) -> Built:
    try:
        row: Any = parse_json(data)
    except (ValueError, RecursionError) as error:
        raise LeftOut("not_json") from error
    if not isinstance(row, dict):
        raise LeftOut("not_an_object")
    refuse_held_out(row)
    attempt = FORMATS[form].read(row)
    try:
        return build(attempt, row, name, options)
    except LeftOut as out:
        if out.reason == "unknown_tool" and options.tools is not None:
            called = {act.kind for turn in attempt.turns for act in turn.acts} - {"answer"}
            ours = {each for each in called if options.rename.get(each, each) in options.tools}
            tally.unknown.update(called - ours)
        raise


def _refuse_tests(
    trajectory: Trajectory, line: int, tests: Sequence[TestFile], tally: Tally
) -> None:
    """Passes what asks no test question, also behind a last "Question:" of its text.

    Raises:
        LeftOut: a test question is in it, or it in one.
    """
    hits: dict[str, JsonRow] = {}
    for file in tests:
        for question in _questions(trajectory):
            for hit in file.index.hits(question):
                row = {"line": line, "id": hit.train_id, "test_file": file.path}
                row |= {"test_id": hit.test_id, "why": hit.why}
                hits.setdefault(dumps([file.path, hit.test_id]), row)
    tally.contaminated += hits.values()
    if hits:
        raise LeftOut("contaminated")


def _questions(trajectory: Trajectory) -> list[Asked]:
    """What was asked, as a whole and behind a last "Question:" of its text."""
    question = trajectory.task.question
    texts = dict.fromkeys((question, question.rpartition("Question:")[2]))
    return [Asked(id=trajectory.task.id, text=text, field="question") for text in texts]


def _key(trajectory: Trajectory) -> str:
    steps = ((s.think, s.action.kind, s.action.text, s.observation) for s in trajectory.steps)
    text = dumps([trajectory.task.question, *map(list, steps)])
    return hashlib.sha256(text.encode()).hexdigest()


def _report(path: str, form: str, tally: Tally, tests: Sequence[TestFile]) -> JsonRow:
    counts = tally.counts
    return {
        "schema": SCHEMA,
        "file": path,
        "format": form,
        "read": counts["read"],
        "imported": counts["imported"],
        "left_out": {name: tally.left_out[name] for name in REASONS if tally.left_out[name]},
        "success": counts["success"],
        "steps": counts["steps"],
        "thoughts_filled": counts["filled"],
        "verdicts": {
            "recorded": counts["recorded"],
            "graded": counts["graded"],
            "grader_agrees": counts["agree"],
            "grader_differs": counts["differ"],
        },
        "answers": {"of_the_row": counts["own_gold"], "as_accepted": counts["accepted"]},
        "tools": dict(tally.tools.most_common()),
        "unknown_tools": dict(tally.unknown.most_common()),
        "lines": {name: tally.lines[name][:LINES_SHOWN] for name in REASONS if name in tally.lines},
        "decontaminated_with": [{"file": t.path, "questions": len(t.index.known)} for t in tests],
        "contaminated": tally.contaminated,
    }


def told(report: JsonRow) -> Iterator[str]:
    """The account in lines for reading."""
    yield (
        f"{report['file']}: {report['read']} rows read, {report['imported']} imported "
        f"({report['success']} succeed, {report['steps']} steps)"
    )
    for reason, number in report["left_out"].items():
        lines = ", ".join(map(str, report["lines"][reason]))
        yield f"  left out: {number} {reason} ({REASONS[reason]}); lines {lines}"
    if report["thoughts_filled"]:
        yield f"  {report['thoughts_filled']} turns had no thought and got one that names the call"
    if report["unknown_tools"]:
        names = ", ".join(f"{name} ({num} rows)" for name, num in report["unknown_tools"].items())
        yield f"  unknown tools: {names}; --tool THEIRS=OURS renames one"
    differ = report["verdicts"]["grader_differs"]
    if differ:
        yield f"  {differ} recorded verdicts are not those of the grader; the recorded ones stand"
