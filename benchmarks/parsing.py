"""How many turns are parsed and rendered in a second of CPU time, beside plain regular expressions?

    python benchmarks/parsing.py [--quick] --json FILE

Turns are those of the package's recording: as they are (valid), each broken in one of seven ways
(malformed), with a roadmap that grows to 64,000 characters (long), and with the headings of the
maths style. The peer reads with one regular expression for each element and takes what it finds;
`same_block` is the share of turns where it comes to the same block, or to none, as the strict
parser, which says what is wrong with the others. The peer of rendering is a format string; ours
reads back what it wrote. Figures are CPU seconds for a million turns; `per_s` is their inverse.
`exponent` is of the CPU time over the length of long turns.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from typing import Any

from child import take_turns
from measured import exponent, ratio, spread, write

from forethought.foresight.block import parse, render
from forethought.types import Foresight, ParsedTurn

MILLION = 1_000_000
LENGTHS = (1_000, 4_000, 16_000, 64_000)  # characters of a roadmap
UNIT = "CPU s a million turns"
PATTERNS = {
    "search": [
        re.compile(rf"<{name}>(.*?)</{name}>", re.DOTALL)
        for name in ("imaginary", "keyword", "analysis", "confidence", "think")
    ]
    + [re.compile(r"<(search|answer)>(.*?)</\1>", re.DOTALL)],
    "maths": [
        re.compile(rf"\*\*{name}\*\*\s*(.*?)(?=\n\*\*|\n\n|</think>)", re.DOTALL)
        for name in ("Imaginary", "Keyword", "Analysis", "Confidence")
    ]
    + [re.compile(r"</think>(.*)", re.DOTALL)],
}
UNSURE = "<confidence> quite sure </confidence>"
BREAKS: dict[str, Callable[[str], str]] = {
    "unclosed": lambda text: text.replace("</keyword>", "", 1),
    "out of order": lambda text: text[text.index("<think>") :] + text[: text.index("<think>")],
    "repeated": lambda text: text.replace("<think>", "<analysis> x </analysis> <think>", 1),
    "bad tag": lambda text: text.replace("<confidence>", "< confidence >", 1),
    "no number": lambda text: re.sub(r"<confidence>.*?</confidence>", UNSURE, text),
    "text behind": lambda text: text + " and so on",
    "no action": lambda text: re.sub(r"<(search|answer)>.*", "", text, flags=re.DOTALL),
}


def recorded() -> list[str]:
    """The turns with a block of the package's recording."""
    file = resources.files("forethought") / "recordings" / "atlas" / "episodes.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [turn["text"] for row in rows for turn in row["turns"]]
    return [text for text in texts if parse(text).foresight and not parse(text).problems]


def broken(texts: Sequence[str]) -> list[str]:
    """Each turn broken in one way, the ways in turns."""
    ways = list(BREAKS.values())
    return [ways[n % len(ways)](text) for n, text in enumerate(texts)]


def lengthened(parsed: Sequence[ParsedTurn], chars: int) -> list[str]:
    """The turns with roadmaps of that many characters, a few signs of tags among them."""
    words = " ".join(f"step {n} < next" for n in range(chars))[:chars].strip()
    return [_text(replace(turn, foresight=replace(block(turn), roadmap=words))) for turn in parsed]


def block(turn: ParsedTurn) -> Foresight:
    """The block of a turn that has one."""
    assert turn.foresight is not None
    return turn.foresight


def _text(turn: ParsedTurn, style: str = "search") -> str:
    assert turn.action is not None
    return render(turn.foresight, turn.think, turn.action, style=style)


def strictly(texts: Sequence[str], style: str) -> list[Foresight | None]:
    """The blocks that the parser of this package reads."""
    return [parse(text, style).foresight for text in texts]


def by_patterns(texts: Sequence[str], style: str) -> list[list[str | None]]:
    """What regular expressions find, element by element."""
    patterns = PATTERNS[style]
    return [
        [None if (hit := p.search(text)) is None else hit[p.groups].strip() for p in patterns]
        for text in texts
    ]


def same_block(texts: Sequence[str]) -> float:
    """Share of turns of the search style in which both sides read the same block or none."""
    same = 0
    for strict, found in zip(strictly(texts, "search"), by_patterns(texts, "search"), strict=True):
        whole = all(part is not None for part in found)
        if strict is None:
            same += not whole
        else:
            same += (strict.roadmap, strict.analysis, strict.q_text) == (found[0], *found[2:4])
    return round(same / len(texts), 4)


def rendered(turns: Sequence[ParsedTurn], style: str) -> list[str]:
    """The texts of turns, each read back."""
    return [_text(turn, style) for turn in turns]


def formatted(turns: Sequence[ParsedTurn], style: str) -> list[str]:
    """The same by a format string, unread."""
    found = []
    for turn in turns:
        made, act = block(turn), turn.action
        assert act is not None
        words = ", ".join(made.keywords)
        found.append(
            f"<imaginary>{made.roadmap}</imaginary>\n<keyword>{words}</keyword>\n"
            f"<analysis>{made.analysis}</analysis>\n<confidence>{made.q_text}</confidence>\n"
            f"<think>{turn.think}</think>\n<{act.kind}>{act.text}</{act.kind}>"
        )
    return found


def seconds(call: Callable[[], Sequence[Any]], least: int) -> float:
    """CPU seconds a million items, over as many calls as take `least` items."""
    items, began = 0, time.process_time()
    while items < least:
        items += len(call())
    return (time.process_time() - began) / items * MILLION


def measure(x: dict[str, Any], sides: dict[str, Callable[[], Any]], plan: tuple[int, int]) -> Any:
    """The row of two sides; `plan`: rounds, and items a round."""
    rounds, least = plan
    spent = take_turns(
        rounds, {name: partial(seconds, call, least) for name, call in sides.items()}
    )
    row: dict[str, Any] = {"x": {**x, "measure": "cpu"}, "ours": spread(spent["ours"], UNIT)}
    name = "format string" if x["work"] == "render" else "re"
    row["peer"] = {**spread(spent["peer"], UNIT), "name": name, "version": sys.version.split()[0]}
    row["ratio"] = ratio(spent["peer"], spent["ours"])
    row["per_s"] = round(MILLION / row["ours"]["median"])
    return row


def rows(plan: tuple[int, int]) -> list[dict[str, Any]]:
    """Parsing of every kind of turn, and rendering in both styles."""
    valid = recorded()
    turns = [parse(text) for text in valid]
    kinds = [("search", "valid", valid), ("search", "malformed", broken(valid))]
    kinds += [("search", "long", lengthened(turns[:8], chars)) for chars in LENGTHS]
    kinds += [("maths", "valid", [_text(turn, "maths") for turn in turns])]
    found = []
    for style, kind, texts in kinds:
        sides: dict[str, Callable[[], Any]] = {
            "ours": partial(strictly, texts, style),
            "peer": partial(by_patterns, texts, style),
        }
        mean = round(sum(map(len, texts)) / len(texts))
        items = max(8, plan[1] * 200 // max(mean, 200))
        x = {"work": "parse", "style": style, "turns": kind, "chars": mean}
        found.append(measure(x, sides, (plan[0], items)))
        if style == "search":
            found[-1]["same_block"] = same_block(texts)
    for style in ("search", "maths"):
        sides = {
            "ours": partial(rendered, turns, style),
            "peer": partial(formatted, turns, style),
        }
        found.append(measure({"work": "render", "style": style}, sides, plan))
    return found


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2,000 turns a round")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--items", type=int, help="turns a round (default 20000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each side (default 5)")
    args = parser.parse_args(words)
    found = rows((args.rounds, args.items or (2_000 if args.quick else 20_000)))
    long = [row for row in found if row["x"].get("turns") == "long"]
    slopes = {
        side: exponent([(row["x"]["chars"], row[side]["median"]) for row in long])
        for side in ("ours", "peer")
    }
    for row in found:
        told = " ".join(str(value) for value in row["x"].values())
        print(f"{told}: {row['ours']['median']} {UNIT}, ratio {row['ratio']['value']}")
    write(args.json, __doc__.splitlines()[0], found, exponent=slopes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
