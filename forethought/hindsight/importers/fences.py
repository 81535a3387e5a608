r"""ToRA (arXiv 2309.17452): words, a fenced Python program, its fenced output, words with a box.

```python          ```output          .. the answer is $\boxed{12}$.
print(3 * 4)       12
```                ```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from forethought.foresight.contents import statements
from forethought.hindsight.importers.attempt import Act, Attempt, LeftOut, Said, first_text

_FENCE = re.compile(r"^```(python|output)[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
QUESTIONS = ("question", "problem")


def has_fences(text: str) -> bool:
    """Whether a text runs programs in this way."""
    return any(fence[1] == "python" for fence in _FENCE.finditer(text))


def read_row(row: Mapping[str, Any]) -> Attempt:
    """A row of ToRA's outputs: `question`, and one text in `code`.

    Raises:
        LeftOut: see `REASONS`.
    """
    texts = row.get("code")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not isinstance(texts[0], str):
        raise LeftOut("no_trajectory")
    if len(texts) > 1:
        raise LeftOut("several_samples")
    question = first_text(row, QUESTIONS)
    if not question:
        raise LeftOut("no_question")
    return Attempt(question=question, turns=read_text(texts[0]), kind="maths")


def read_text(text: str) -> tuple[Said, ...]:
    """The turns of a text.

    Raises:
        LeftOut: an output without a program.
    """
    turns: list[Said] = []
    place = 0
    for fence in _FENCE.finditer(text):
        told = text[place : fence.start()].strip()
        place = fence.end()
        if fence[1] == "python":
            turns.append(Said(think=told, acts=(Act(kind="python", text=fence[2].strip("\n")),)))
            continue
        if told or not turns or turns[-1].reply is not None:
            raise LeftOut("stray_reply")
        last = turns.pop()
        turns.append(Said(think=last.think, acts=last.acts, reply=fence[2].strip("\n")))
    rest = text[place:].strip()
    if rest:
        found = statements(rest)
        acts = (Act(kind="answer", text=found[-1].text),) if found else ()
        turns.append(Said(think=rest, acts=acts))
    return tuple(turns)
