r"""The one grader: is this prediction one of the accepted answers?

`qa`: exact match after SQuAD normalisation (Rajpurkar et al., arXiv 1606.05250) with any alias; the
best token F1 is reported beside it. Both are those of SQuAD's evaluation script 1.1, but for one
case: of "+", "The The" or an empty prediction normalisation leaves nothing; to the script they are
all the same, and here they are only if they are so as texts. `maths`: the last complete `\boxed{}`
counts, else the last "Answer:" line, else a prediction that is nothing but an expression; equality
by math-verify. A changed unit or number base is wrong.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from forethought.errors import InputError
from forethought.foresight.contents import boxes, statements

KINDS = ("qa", "maths")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the grader found."""

    correct: bool
    extracted: str | None  # the part of the prediction that was judged; None = there is none
    method: str  # see `grade`; "+text": too complex for anything but texts
    f1: float | None = None  # best token F1 over the aliases (qa only)


def grade(
    kind: str, prediction: str | None, answers: Sequence[str], *, is_answer: bool = False
) -> Verdict:
    """Judges one prediction.

    Args:
        kind: "qa" | "maths".
        prediction: what the policy answered; in maths usually the text that holds its answer.
            None = no answer.
        answers: accepted aliases, at least one.
        is_answer: the prediction is the answer itself, nothing has to be found in it.

    Returns:
        the verdict; its method is "exact" (qa), "boxed", "answer_line", "bare" or "given" (maths:
        how the answer was found), or "none" where there is no answer. "+text" is added where an
        expression was too complex for anything but comparing texts.

    Raises:
        InputError: no such kind, or no answers.
    """
    if kind not in KINDS:
        raise InputError(
            "kind", got=repr(kind), expected=" | ".join(KINDS), next_step="choose one of these"
        )
    if not answers:
        raise InputError(
            "answers", got="none", expected="at least one accepted answer", next_step="add it"
        )
    text = (prediction or "").strip()
    if kind == "qa":
        return _grade_qa(text, answers)
    found = (text or None, "given") if is_answer else extract_maths(text)
    return _grade_maths(*found, answers)


def check_grader(kind: str) -> None:
    """Makes sure that answers of a kind can be judged, before anything depends on it.

    Mathematics is judged by a process that must tell known pairs apart first; it stays for the
    answers that come.

    Raises:
        MissingError: math-verify does not start or does not judge.
    """
    if kind == "maths":
        from forethought.rewards import equality

        equality.comparer().start()


def squad_normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles, single spaces (the SQuAD 1.1 script)."""
    plain = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def token_f1(prediction: str, answer: str) -> float:
    """Harmonic mean of token precision and recall after `squad_normalise`, in [0, 1].

    As in SQuAD's script, yes and no are words like others. HotpotQA's script gives nothing for a
    part of them: a prediction `yes it is` has 0.5 here and 0 there.
    """
    left, right = squad_normalise(prediction).split(), squad_normalise(answer).split()
    if not left or not right:
        return float(_same_answer(prediction, answer))
    shared = sum((Counter(left) & Counter(right)).values())
    return 2 * shared / (len(left) + len(right))


def _same_answer(prediction: str, answer: str) -> bool:
    mine, gold = squad_normalise(prediction), squad_normalise(answer)
    if not mine or not gold:
        # "The The" or "+": nothing is left to compare, so the texts themselves are.
        return prediction.strip().lower() == answer.strip().lower()
    return mine == gold


def _grade_qa(text: str, answers: Sequence[str]) -> Verdict:
    if not text:
        return Verdict(correct=False, extracted=None, method="none", f1=0.0)
    return Verdict(
        correct=any(_same_answer(text, answer) for answer in answers),
        extracted=text,
        method="exact",
        f1=max(token_f1(text, answer) for answer in answers),
    )


def _grade_maths(extracted: str | None, method: str, answers: Sequence[str]) -> Verdict:
    from forethought.rewards.maths import equal

    if extracted is None:
        return Verdict(correct=False, extracted=None, method="none")
    found = equal(_unboxed(extracted), *map(_gold, answers))
    return Verdict(correct=found.equal, extracted=extracted, method=method + found.mark)


def _gold(answer: str) -> str:
    """An accepted answer; a box around it is taken off."""
    found = statements(answer)
    return _unboxed(found[-1].text) if found else answer.strip()


def _unboxed(text: str) -> str:
    """Without the boxes around the whole of it."""
    while (inside := boxes(text)) and (inside[0].start, inside[0].end) == (0, len(text)):
        text = inside[0].text
    return text


def extract_maths(text: str) -> tuple[str | None, str]:
    r"""The answer in a text and how it was found: "boxed", "answer_line", "bare" or "none".

    The last complete non-empty `\boxed{}` wins wherever it stands, then the last "Answer:" line.
    A text of one line without prose is its own answer.
    """
    found = [replace(s, text=_unboxed(s.text)) for s in statements(text)]
    found = [s for s in found if s.text and "\\boxed" not in s.text]
    boxed = [s for s in found if "\\boxed" in text[s.start : s.end]]
    if boxed:
        return boxed[-1].text, "boxed"
    if found:
        return found[-1].text, "answer_line"
    return (text, "bare") if _is_bare(text) else (None, "none")


def _is_bare(text: str) -> bool:
    """True for one short line whose words are at most a number's unit or a name."""
    if not text or "\n" in text or len(text) > 200 or "\\boxed" in text:
        return False
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", " ", text))
    return len(words) <= 2 and not re.match(r"(?i)answer\b", text)
