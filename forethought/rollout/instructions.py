"""What a general model is told before it plays: one text for each style and mode, in our words."""

from __future__ import annotations

_SEARCH_TASK = (
    "Answer the question. You may look things up with a search tool, as often as the task allows."
)
_SEARCH_ACT = """\
<think>your reasoning</think>
and end the turn with exactly one action:
<search>a query</search> looks something up; the results come back between <information> and \
</information>
<answer>the answer in a few words</answer> ends the task."""
_SEARCH_BLOCK = """\
Every turn begins with a look ahead, in this order:
<imaginary>what you expect the coming results to say, step by step, then what will still be missing\
</imaginary>
<keyword>up to five words or names you expect in those results, separated by commas</keyword>
<analysis>what may go wrong, and what is left if it does</analysis>
<confidence>your chance of ending with the right answer, from 0% to 100% in steps of 5</confidence>
Then write
"""

_MATHS_TASK = "Solve the problem. You may run Python code; only what it prints comes back."
_MATHS_ACT = """\
End the turn with exactly one action:
<tool_call>{"name": "python", "arguments": {"code": "..."}}</tool_call> runs code; its output \
comes back between <tool_response> and </tool_response>
or a last line "Answer: " with the result, which ends the task."""
_MATHS_BLOCK = """\
Every turn begins with <think>. Look ahead there first, under four headings in this order:
**Imaginary** what you expect the coming outputs to be, then what will still be missing
**Keyword** up to five things you expect to see printed, separated by commas
**Analysis** what may go wrong, and what is left if it does
**Confidence** your chance of ending with the right answer, from 0% to 100% in steps of 5
Then reason freely and write </think>.
"""
_FREE = (
    "Before you act, say in your own words what you expect to happen, what is still missing and "
    "how likely success is.\n"
)


def instruction(style: str, mode: str) -> str:
    """The instruction for a style ("search" | "maths") and a mode ("foresight"|"plain"|"free")."""
    if style == "maths":
        plain = "Every turn, reason between <think> and </think>.\n"
        opening = {"foresight": _MATHS_BLOCK, "free": _FREE + plain, "plain": plain}[mode]
        return f"{_MATHS_TASK}\n{opening}{_MATHS_ACT}"
    plain = "Every turn, write\n"
    opening = {"foresight": _SEARCH_BLOCK, "free": _FREE + plain, "plain": plain}[mode]
    return f"{_SEARCH_TASK}\n{opening}{_SEARCH_ACT}"
