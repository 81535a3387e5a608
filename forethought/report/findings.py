"""The three findings at the head of a page, in words, from the summary of a run alone.

A finding that the run has no figures for is left out; one that speaks against the method is told
like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forethought.types import JsonRow

AUROC, SKILL = "auroc_expected.first", "brier_skill_expected.first"
PLAIN = "plain-grpo"
_STAGES = {"sft": "stage 2", "rl": "stage 3"}


def findings(evaluations: Mapping[str, JsonRow], comparisons: Sequence[JsonRow]) -> list[str]:
    """At most three sentences: what is foreseen, what stage 3 changes, and against the control.

    Args:
        evaluations: name -> summary.
        comparisons: paired differences of the run's summary.
    """
    found = {(row["a"], row["b"], row["metric"]): row for row in comparisons}
    last = next((name for name in ("rl", "sft") if name in evaluations), None)
    told = [_foreseen(last, evaluations[last])] if last else []
    told += [_stage_three(found), _control(last, found)]
    return [sentence for sentence in told if sentence]


def _foreseen(name: str, summary: JsonRow) -> str:
    metrics = summary["metrics"]
    auroc, lift = metrics.get(AUROC) or {}, metrics.get("keyword_lift") or {}
    if auroc.get("value") is None:
        return ""
    trivial = ((summary.get("beside") or {}).get("trivial.first") or {}).get("auroc")
    text = (
        f"After {_STAGES[name]} the first estimate rates a won episode above a lost one in "
        f"{auroc['value']:.0%} of all pairs [{auroc['lo']:.0%}, {auroc['hi']:.0%}]"
    )
    text += "" if trivial is None else f"; the looks of the question alone do so in {trivial:.0%}"
    if lift.get("value") is None:
        return text + "."
    return text + (
        f". Foretold keywords come true {100 * lift['value']:.0f} points more often than in the "
        f"future of another task [{100 * lift['lo']:.0f}, {100 * lift['hi']:.0f}]."
    )


def _stage_three(found: Mapping[tuple[str, str, str], JsonRow]) -> str:
    success, skill = found.get(("rl", "sft", "success")), found.get(("rl", "sft", SKILL))
    if success is None:
        return ""
    text = f"Stage 3 against stage 2 on the same tasks: success {_change(success)}"
    return f"{text}; skill of the first estimate {_change(skill)}." if skill else f"{text}."


def _control(last: str | None, found: Mapping[tuple[str, str, str], JsonRow]) -> str:
    for (a, b, metric), row in found.items():
        if a == last and metric == "success" and b.endswith(f"-{last}") and b not in _STAGES:
            skill = found.get((a, b, SKILL))
            equal = "at the same passes without blocks" if PLAIN in b else "at equal block tokens"
            text = f"Against the control ({b}), {equal}: success {_change(row)}"
            return f"{text}; skill {_change(skill)}." if skill else f"{text}."
    return ""


def _change(row: JsonRow) -> str:
    """A difference with its interval and a verdict; the interval decides the word."""
    word = "higher" if row["lo"] > 0 else "lower" if row["hi"] < 0 else "no clear difference"
    return f"{row['diff']:+.3f} [{row['lo']:+.3f}, {row['hi']:+.3f}], {word}"
