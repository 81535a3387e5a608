"""Problems of GSM8K (Cobbe et al., arXiv 2110.14168): where they are found, what stands in them.

A solution marks each calculation as `<<48/2=24>>` and ends with `#### 72`. Use them by way of
`forethought.data.gsm8k`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from forethought.data.hub import INSTALL, hub_rows
from forethought.errors import InputError
from forethought.jsonl import need, no_rows, read_jsonl
from forethought.types import JsonRow, Task

HUB_NAME = "openai/gsm8k"
SPLITS = ("train", "test")

_ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>]*)>>")
_ANSWER = re.compile(r"^####\s*(\S.*?)\s*$", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One marked calculation of a solution."""

    expression: str  # "48/2"
    value: str  # as the annotator wrote it: "24"
    before: str  # the solution's words on the same line before the mark, marks taken out


@dataclass(frozen=True, slots=True, kw_only=True)
class GsmRow:
    """One problem with the calculations of its solution."""

    task: Task
    answer: str  # the number after "####", thousands separators taken out
    annotations: tuple[Annotation, ...]  # in order; may be empty


def load_gsm8k(split: str, path: str | Path | None = None) -> list[GsmRow]:
    """All problems of a split, in the order of the source.

    Looks at `path`, then in the folder FORETHOUGHT_DATA, then at the Hugging Face hub.

    Raises:
        InputError: no such split, no row, or a malformed one.
        MissingError: the data are nowhere.
    """
    if split not in SPLITS:
        raise InputError(
            "gsm8k",
            got=f"split {split!r}",
            expected=f"one of {', '.join(SPLITS)}",
            next_step="correct the split",
        )
    file = Path(path) if path is not None else find_gsm8k(split)
    if file is not None:
        rows = list(_parsed(read_jsonl(file), split, str(file)))
    else:
        rows = list(_parsed(enumerate(_from_hub(split), start=1), split, HUB_NAME))
    if not rows:
        raise no_rows(file or HUB_NAME, "problem")
    return rows


def find_gsm8k(split: str) -> Path | None:
    """The file of a split under FORETHOUGHT_DATA, or None.

    Known places, plain or gzipped: `gsm8k_train.jsonl`, `gsm8k/train.jsonl` (as the official
    release names it), either also inside a folder `math`, and `gsm8k_train_*.jsonl` for a part.
    """
    home = os.environ.get("FORETHOUGHT_DATA")
    if not home:
        return None
    for folder in (Path(home), Path(home, "math")):
        for name in (f"gsm8k_{split}.jsonl", f"gsm8k/{split}.jsonl", f"gsm8k_{split}_*.jsonl"):
            for pattern in (name, name + ".gz"):
                found = sorted(folder.glob(pattern))
                if found:
                    return found[0]
    return None


def _from_hub(split: str) -> Iterable[JsonRow]:
    ways = (
        f"put gsm8k_{split}.jsonl (fields question and answer, as in the official release) into "
        f"the folder FORETHOUGHT_DATA, or {INSTALL}"
    )
    rows: Iterable[JsonRow] = hub_rows(
        HUB_NAME, "main", split, what=f"GSM8K ({split})", next_step=ways
    )
    return rows


def _parsed(rows: Iterable[tuple[int, JsonRow]], split: str, where: str) -> Iterator[GsmRow]:
    for line, row in rows:
        yield parse_row(row, split=split, where=where, line=line)


def parse_row(row: JsonRow, *, split: str, where: str, line: int) -> GsmRow:
    """One problem from `{"question","answer"}`; its id is the split and the line from 0.

    Raises:
        InputError: a field is absent, or the solution has no "#### NUMBER" line.
    """
    question: str = need(row, "question", str, where, line)
    solution: str = need(row, "answer", str, where, line)
    found = _ANSWER.search(solution)
    answer = found.group(1).replace(",", "").strip("$") if found else ""
    if not question.strip() or _NUMBER.fullmatch(answer) is None:
        raise InputError(
            where,
            line=line,
            got=f"a solution that ends with {solution[-40:]!r}",
            expected='a question, and a solution with a last line "#### NUMBER"',
            next_step="use the official files",
        )
    return GsmRow(
        task=Task(
            id=f"gsm8k/{split}/{line - 1}",
            question=question.strip(),
            answers=(answer,),
            kind="maths",
            split=split,
        ),
        answer=answer,
        annotations=tuple(_annotations(solution)),
    )


def _annotations(solution: str) -> Iterator[Annotation]:
    for line in solution.splitlines():
        start = 0
        for match in _ANNOTATION.finditer(line):
            before = _ANNOTATION.sub("", line[start : match.start()])
            yield Annotation(
                expression=match.group(1).replace(" ", ""),
                value=match.group(2).replace(" ", "").replace(",", ""),
                before=before.strip(),
            )
            # The number behind the mark repeats its value; the next calculation starts after it.
            start = match.end() + len(match.group(2))
