"""From a turn's text to block, thought and action, and back. The strict parser of the formats.

Nothing is repaired: what does not parse is counted. A block whose four elements do not stand there
once each, in order, closed and first is no block (`foresight` None). The action is read on its
own: a turn with a broken block still acts if it holds exactly one action. All decisions are listed
in docs/format.md; `PROBLEMS` is that list.

Styles: "search" (tags), "maths" (headings inside the thinking part, JSON tool calls), "free"
(stage 1: any text, then thought and action of either style).
"""

from __future__ import annotations

from forethought.errors import InputError
from forethought.foresight.contents import (
    percent_text,
    read_foresight,
    read_tool_call,
    statements,
    tool_call_text,
)
from forethought.foresight.elements import (
    ACTION_NAMES,
    BLOCK_NAMES,
    REPLY_NAMES,
    Element,
    Scan,
    has_reserved,
    scan,
    without_tags,
)
from forethought.foresight.headings import headings_text, read_thinking
from forethought.types import Action, CharSpan, Foresight, ParsedTurn, Span

STYLES = ("search", "maths", "free")
PROBLEMS: dict[str, str] = {
    "missing_block": "a block was expected and none of its four elements is there",
    "missing_element": "some elements of the block are there and others are not, or there is no "
    "thinking part",
    "repeated_element": "an element of the block, or the thinking part, stands twice",
    "nested": "an element opens inside another one",
    "out_of_order": "the elements do not stand in the fixed order",
    "unclosed": "an element opens and is never closed",
    "stray_tag": "a closing tag without its opening tag",
    "bad_tag": "a tag or heading that is almost ours: spaces, attributes, upper case, `<think/>`",
    "observation_tag": "the policy wrote a tag that only the environment may write",
    "unexpected_block": "an element of the block in a mode without blocks",
    "stray_text": "text outside the elements, before the action",
    "text_after_action": "text behind the action",
    "empty_element": "an element without content",
    "no_keywords": "no item in the keyword list",
    "too_many_keywords": "more than five items in the keyword list",
    "empty_keyword": "nothing between two commas, or before the first or after the last",
    "duplicate_keyword": "two items that are equal in lower case and without punctuation",
    "confidence_text": "the confidence is no number",
    "confidence_range": "the confidence is a number outside 0..100",
    "confidence_fraction": "the confidence is a decimal from 0 to 1 without a percent sign",
    "bad_tool_call": "the tool call is not strict JSON with a name and one text argument",
    "no_action": "nothing that can be carried out",
    "two_actions": "more than one action, or one inside another element",
}
"""Every code that `parse` gives, in the order in which it gives them, and its meaning."""

_NAMES = {
    "search": (*BLOCK_NAMES, "think", "search", "answer", "information"),
    "maths": ("think", "tool_call", "tool_response"),
    "free": ("think", *ACTION_NAMES, *REPLY_NAMES),
}
_RANK = {name: rank for rank, name in enumerate((*BLOCK_NAMES, "think"))} | dict.fromkeys(
    ACTION_NAMES, len(BLOCK_NAMES) + 1
)


def parse(text: str, style: str = "search", expect_foresight: bool = True) -> ParsedTurn:
    """Reads a turn.

    Args:
        text: what the policy wrote, observations excluded.
        style: "search" | "maths" | "free".
        expect_foresight: False in a mode without blocks: then `foresight` is None and a block is
            a problem. Blocks of style "free" have no elements, so there it is None always.

    Raises:
        InputError: no such style.
    """
    if style not in STYLES:
        raise InputError(
            "style", got=repr(style), expected=" | ".join(STYLES), next_step="choose one of these"
        )
    found = scan(text, _NAMES[style])
    problems = found.problems | _order_problems(found)
    spans = [span for e in found.elements if e.name != "think" for span in e.spans()]
    foresight, think = None, ""
    thoughts = found.named("think")
    if not thoughts:
        problems.add("missing_element")
    if style == "maths" and thoughts:
        foresight, think, inside = _maths_thought(text, thoughts, expect_foresight, spans)
        problems |= inside
    else:
        think = thoughts[0].text if thoughts else ""
        spans += [span for element in thoughts for span in element.spans()]
        if style == "maths" and expect_foresight:
            problems.add("missing_block")
    if style == "search":
        foresight, inside = _tagged_block(found, expect_foresight)
        problems |= inside
    if style == "free" and has_reserved(text, BLOCK_NAMES):
        problems.add("unexpected_block")
    action, answer_spans, inside = _action(found, style)
    problems |= inside
    return ParsedTurn(
        foresight=foresight,
        think=think,
        action=action,
        problems=tuple(code for code in PROBLEMS if code in problems) if problems else (),
        spans=tuple(sorted([*spans, *answer_spans], key=lambda span: span.start)),
    )


def _order_problems(found: Scan) -> set[str]:
    ranks = [_RANK[e.name] for e in found.elements if e.name in _RANK]
    problems = {"out_of_order"} if ranks != sorted(ranks) else set()
    names = [e.name for e in found.elements if e.name == "think" or e.name in BLOCK_NAMES]
    return problems | ({"repeated_element"} if len(set(names)) < len(names) else set())


def _tagged_block(found: Scan, expected: bool) -> tuple[Foresight | None, set[str]]:
    """The block of the search style; None unless its elements are sound and come first."""
    elements = [e for e in found.elements if e.name not in REPLY_NAMES]
    present = {e.name for e in elements} & set(BLOCK_NAMES)
    if not expected:
        return None, {"unexpected_block"} if present else set()
    if not present:
        return None, {"missing_block"}
    problems = {"missing_element"} if len(present) < len(BLOCK_NAMES) else set()
    head = elements[: len(BLOCK_NAMES)]
    again = {e.name for e in elements[len(BLOCK_NAMES) :]} & set(BLOCK_NAMES)
    sound = tuple(e.name for e in head) == BLOCK_NAMES and all(e.closed for e in head)
    if not sound or again or any(has_reserved(e.text, _NAMES["search"]) for e in head):
        return None, problems
    block, inside = read_foresight(*(e.text for e in head))
    return block, problems | set(inside)


def _maths_thought(
    text: str, thoughts: list[Element], expected: bool, spans: list[CharSpan]
) -> tuple[Foresight | None, str, set[str]]:
    """Block, thought and problems of the thinking part; adds its spans to `spans`."""
    first, *rest = thoughts
    spans += [span for element in rest for span in element.spans()]
    part = read_thinking(text, first)
    spans += part.spans
    if not expected:
        found = {"unexpected_block"} if part.num_headings else set()
        return None, part.think, found | ({"stray_text"} & set(part.problems))
    if not part.num_headings:
        return None, part.think, {"missing_block", *part.problems}
    sound = first.closed and not rest and not has_reserved(first.text, _NAMES["maths"])
    return part.foresight if sound else None, part.think, set(part.problems)


def _action(found: Scan, style: str) -> tuple[Action | None, list[CharSpan], set[str]]:
    """The one action of a turn, spans of answers in plain text, and problems."""
    elements = found.named(*ACTION_NAMES)
    answers = _stated_answers(found, style)
    problems = _loose_text(found, style, elements, answers)
    calls = [e for e in elements if e.name == "tool_call"]
    readings = {id(e): read_tool_call(e.text) for e in calls}
    if any(e.closed and e.text and readings[id(e)] is None for e in calls):
        problems.add("bad_tool_call")
    spans = [CharSpan(span=Span.ACTION, start=a, end=b) for a, b, _ in answers]
    action: Action | None = None
    if len(elements) + len(answers) + found.inner_actions > 1:
        return None, spans, problems | {"two_actions"}
    if answers:
        answer = answers[0][2]
        action = Action(kind="answer", text=answer) if answer else None
        problems |= set() if answer else {"empty_element"}
    elif elements and elements[0].closed and elements[0].text:
        only = elements[0]
        action = readings[id(only)] if calls else Action(kind=only.name, text=only.text)
    return action, spans, problems if action else problems | {"no_action"}


def _stated_answers(found: Scan, style: str) -> list[tuple[int, int, str]]:
    r"""`(start, end, text)` of "Answer:" lines and boxes outside elements.

    In free text only what follows the thinking part can be an answer.
    """
    thoughts = found.named("think")
    if style == "search" or (style == "free" and found.named("search", "answer")):
        return []
    begin = thoughts[-1].end if style == "free" and thoughts else 0
    return [
        (start + s.start, start + s.end, s.text)
        for start, _, gap in found.gaps()
        if start >= begin
        for s in statements(gap)
    ]


def _loose_text(
    found: Scan, style: str, elements: list[Element], answers: list[tuple[int, int, str]]
) -> set[str]:
    """`stray_text` and `text_after_action`."""
    last = max([e.end for e in elements] + [end for _, end, _ in answers], default=None)
    first_element = min((e.start for e in found.elements), default=len(found.text))
    problems: set[str] = set()
    for start, end, _ in found.gaps():
        for piece_start, piece in _pieces(found.text, start, end, answers):
            loose = without_tags(piece, _NAMES[style])
            if not loose.strip(" \t\r\n$.[]\\" if answers else None):
                continue
            if last is not None and piece_start >= last:
                problems.add("text_after_action")
            elif style != "free" or piece_start >= first_element:
                problems.add("stray_text")
    return problems


def _pieces(
    text: str, start: int, end: int, answers: list[tuple[int, int, str]]
) -> list[tuple[int, str]]:
    """The gap `[start, end)` without the answers stated in it."""
    pieces: list[tuple[int, str]] = []
    for a, b, _ in answers:
        if start <= a < end:
            pieces.append((start, text[start:a]))
            start = b
    return [*pieces, (start, text[start:end])]


def render(
    foresight: Foresight | None,
    think: str,
    action: Action,
    style: str = "search",
    spaced: bool = False,
) -> str:
    """The text of a turn; `parse` reads exactly these parts from it and finds no problem.

    White space at the ends of the parts is not kept, with `spaced` also repeated white space.

    Args:
        foresight: the block; None = a turn without one. An empty `q_text` is written from `q`.
        think: the thought.
        action: the action; in the maths style a tool call unless its kind is "answer".
        style: "search" | "maths". "free" blocks are written by `templates.render_free`.
        spaced: one blank between all tokens, for word-level vocabularies.

    Raises:
        InputError: a part cannot be written so that it is read back: it holds a tag, a comma in a
            keyword, a number that `q_text` contradicts, or it is empty.
    """
    writers = {"search": _search_text, "maths": _maths_text}
    if style not in writers:
        raise InputError(
            "style", got=repr(style), expected="search | maths", next_step="choose one of these"
        )
    block = None if foresight is None else _written(foresight, spaced)
    call = style == "maths" and action.kind != "answer"
    act = action if call else Action(kind=action.kind, text=_clean(action.text, spaced))
    thought = _clean(think, spaced)
    text = writers[style](block, thought, act, spaced)
    parsed = parse(text, style, expect_foresight=block is not None)
    same = parsed.foresight == block and parsed.think == thought and parsed.action == act
    if parsed.problems or not same:
        why = ", ".join(parsed.problems) or "read back with another meaning"
        raise InputError(
            "a turn to render",
            got=f"{text[:200]!r} ({why})",
            expected="parts that hold no tag, no comma in a keyword, and a q that q_text repeats",
            next_step="correct the part; docs/format.md explains the codes",
        )
    return text


def _clean(text: str, spaced: bool) -> str:
    return " ".join(text.split()) if spaced else text.strip()


def _written(block: Foresight, spaced: bool) -> Foresight:
    """The block as it will be read back: white space tidied, `q_text` never empty."""
    stated = block.q_text.strip() or ("" if block.q is None else percent_text(block.q))
    return Foresight(
        roadmap=_clean(block.roadmap, spaced),
        keywords=tuple(_clean(keyword, spaced) for keyword in block.keywords),
        analysis=_clean(block.analysis, spaced),
        q=block.q,
        q_text=_clean(stated.replace("%", " %"), spaced) if spaced else stated,
    )


def _search_text(block: Foresight | None, think: str, action: Action, spaced: bool) -> str:
    parts = [("think", think), (action.kind, action.text)]
    if block is not None:
        keywords = (" , " if spaced else ", ").join(block.keywords)
        contents = (block.roadmap, keywords, block.analysis, block.q_text)
        parts = [*zip(BLOCK_NAMES, contents, strict=True), *parts]
    edge = " " if spaced else ""
    return (" " if spaced else "\n").join(
        f"<{name}>{edge}{content}{edge}</{name}>" for name, content in parts
    )


def _maths_text(block: Foresight | None, think: str, action: Action, spaced: bool) -> str:
    joint = " " if spaced else "\n"
    head = ""
    if block is not None:
        keywords = (" , " if spaced else ", ").join(block.keywords)
        contents = (block.roadmap, keywords, block.analysis, block.q_text)
        head = headings_text(contents, spaced=spaced) + (" " if spaced else "\n\n")
    if action.kind == "answer":
        tail = f"Answer: {action.text}"
    else:
        tail = f"<tool_call>{joint}{tool_call_text(action, spaced=spaced)}{joint}</tool_call>"
    return f"<think>{joint}{head}{think}{joint}</think>{joint}{tail}"
