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
_TOOLS_TASK = "Solve the problem. You may call these tools; only what they print comes back."
_TOOLS_ACT = """\
End the turn with exactly one action:
<tool_call>{"name": "NAME", "arguments": {"PARAMETER": "..."}}</tool_call> calls a tool; what it \
prints comes back between <tool_response> and </tool_response>
or a last line "Answer: " with the result, which ends the task."""
WORLDS = {
    "atlas": """\
A question reads "START of REGION : a RELATION RELATION b RELATION .. ; BUDGET". It asks what \
stands at the end of a chain of relations that begins with START; the routes a, b and c lead to \
the same end, and one of them is enough. BUDGET is the number of searches that you have.
A search names one relation and one name, such as: mentor gera. A page reads "RELATION REGION \
SIGN SUBJECT OBJECT REGION": OBJECT is the next name of the chain. Some pages are missing, and \
then others come back; some are wrong, and nothing on them shows it.
The answer is one name, or none where you found no end.""",
    "workbook": """\
A question reads "pot 37 ; jar 61 ; each day * 1 + 12 - 5 ; 140 days ; then / 7 ; pot ? ; \
calls 2". It gives the first values of two accounts, what is done to each every day, in this \
order, the number of days, sometimes a last step (then / 7: divide by 7; then digits: the sum of \
the digits), the account that is asked for, and how many calls of tools you have. Numbers and \
signs are set apart by blanks. The answer is a whole number.""",
}
"""How to read the questions of a synthetic world, by the name of its text format."""
_FREE = (
    "Before you act, say in your own words what you expect to happen, what is still missing and "
    "how likely success is.\n"
)


def instruction(style: str, mode: str, guide: str = "") -> str:
    """The instruction for a style ("search" | "maths") and a mode ("foresight"|"plain"|"free").

    Args:
        style: of the text format.
        mode: of the prompt.
        guide: how to read the questions; for maths, the tools in place of Python. "" = nothing.
    """
    told = f"{guide}\n" if guide else ""
    if style == "maths":
        task, act = (_TOOLS_TASK, _TOOLS_ACT) if guide else (_MATHS_TASK, _MATHS_ACT)
        plain = "Every turn, reason between <think> and </think>.\n"
        opening = {"foresight": _MATHS_BLOCK, "free": _FREE + plain, "plain": plain}[mode]
        return f"{task}\n{told}{opening}{act}"
    plain = "Every turn, write\n"
    opening = {"foresight": _SEARCH_BLOCK, "free": _FREE + plain, "plain": plain}[mode]
    return f"{_SEARCH_TASK}\n{told}{opening}{_SEARCH_ACT}"
