"""The surface of the workbook world: a question, printed and read back.

pot 37 ; jar 61 ; each day * 1 + 12 - 5 ; 140 days ; then / 7 ; pot ? ; calls 2
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forethought.errors import InputError
from forethought.worlds.workbook.physics import Rule, parse_rule, render_rule

ACCOUNTS = ("pot", "jar", "box", "tin", "bag", "cup")

_QUESTION = re.compile(
    r"(?P<first>[a-z]+) (?P<a>\d+) ; (?P<second>[a-z]+) (?P<b>\d+) ; each day (?P<rule>[^;]+) ; "
    r"(?P<days>\d+) days ; (?:then (?P<last>/ \d+|digits) ; )?(?P<asked>[a-z]+) \? ; "
    r"calls (?P<calls>\d+)(?: ; (?:plain|foresight))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFacts:
    """All that a question says."""

    accounts: tuple[tuple[str, int], tuple[str, int]]  # name and first value, in listed order
    rule: Rule
    days: int
    divisor: int | None = None  # of the last step "/ 7"
    digits: bool = False  # the last step is the sum of the digits
    asked: str
    calls: int  # calls before the episode ends

    @property
    def start(self) -> int:
        """First value of the account that is asked for; the other one is a distractor."""
        return dict(self.accounts)[self.asked]

    @property
    def has_last(self) -> bool:
        """Whether something is to be done with the number of the last day."""
        return self.digits or self.divisor is not None


def render_question(facts: QuestionFacts) -> str:
    """The question's text; `parse_question` inverts it."""
    parts = [f"{name} {value}" for name, value in facts.accounts]
    parts += [f"each day {render_rule(facts.rule)}", f"{facts.days} days"]
    if facts.has_last:
        parts.append("then digits" if facts.digits else f"then / {facts.divisor}")
    return " ; ".join([*parts, f"{facts.asked} ?", f"calls {facts.calls}"])


def parse_question(text: str) -> QuestionFacts:
    """Reads a question, with or without the mode flag that a prompt appends.

    Raises:
        InputError: the text is not a question of this world.
    """
    match = _QUESTION.fullmatch(" ".join(text.split()))
    rule = parse_rule(match["rule"]) if match else None
    if match is None or rule is None or match["asked"] not in (match["first"], match["second"]):
        raise InputError(
            "workbook question",
            got=repr(text[:80]),
            expected='"pot 37 ; jar 61 ; each day * 1 + 12 ; 140 days ; pot ? ; calls 2"',
            next_step="pass a question made by forethought.worlds.workbook",
        )
    last = match["last"]
    return QuestionFacts(
        accounts=((match["first"], int(match["a"])), (match["second"], int(match["b"]))),
        rule=rule,
        days=int(match["days"]),
        divisor=int(last.split()[1]) if last and last != "digits" else None,
        digits=last == "digits",
        asked=match["asked"],
        calls=int(match["calls"]),
    )


def read_question(text: str) -> QuestionFacts | None:
    """What a question says that the world can work out; None for any other text."""
    if re.search(r"[0-9]{7}", text) or not text.isascii():
        return None
    try:
        facts = parse_question(text)
    except InputError:
        return None
    names = [name for name, _ in facts.accounts]
    known = len(set(names)) == len(names) and set(names) <= set(ACCOUNTS)
    return facts if known and facts.days > 0 and facts.divisor != 0 else None
