"""What does a command cost before it does anything, beside Python and beside torch?

    python benchmarks/startup.py [--quick] --json FILE

Each command is a process of its own; CPU milliseconds are those of the whole process. The peer is
`import torch`, which every command would take that imports it where it is not needed: above a ratio
of 1 the command takes less. The limit is `python -c pass`. Before anything is timed each command is
run once more to see which heavy packages it loads (`heavy`): torch or transformers in any of them
ends the benchmark.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
from child import run_child, take_turns
from measured import write
from sides import compared

BARE = [sys.executable, "-c", "pass"]
TORCH = [sys.executable, "-c", "import torch"]
HEAVY = ("numpy", "pandas", "pydantic", "scipy", "torch", "transformers")
NEVER = {"torch", "transformers"}
UNIT = "CPU ms a process"
LOOK = f"""import sys
from forethought.cli import main
code = main(sys.argv[1:])
print()
print(code, *(name for name in {HEAVY!r} if name in sys.modules))"""


def commands(folder: Path) -> dict[str, list[str]]:
    """Name -> words behind `python -m forethought`; what they read lies in `folder`."""
    recording = resources.files("forethought") / "recordings" / "atlas" / "episodes.jsonl"
    (folder / "episodes.jsonl").write_bytes(recording.read_bytes())
    rows = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()]
    turns = [turn["text"] for row in rows for turn in row["turns"]]
    lines = [json.dumps({"id": n, "text": text}) for n, text in enumerate(turns)]
    (folder / "turns.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "--help": ["--help"],
        "demo --help": ["demo", "--help"],
        "list configs": ["list", "configs"],
        "parse": ["parse", str(folder / "turns.jsonl")],
        "view": ["view", str(folder)],
    }


def loaded(words: list[str]) -> list[str]:
    """Heavy packages that a command leaves loaded.

    Raises:
        SystemExit: the command failed, or one of them is torch or transformers.
    """
    code, *found = run_child([sys.executable, "-c", LOOK, *words]).out.splitlines()[-1].split()
    if code != "0" or NEVER & set(found):
        raise SystemExit(f"forethought {' '.join(words)}: exit code {code}, loads {found}")
    return found


def rows(names: dict[str, list[str]], repeats: int) -> list[dict[str, Any]]:
    """A row for each command."""
    heavy = {name: loaded(words) for name, words in names.items()}
    ours = {name: [sys.executable, "-m", "forethought", *words] for name, words in names.items()}
    calls = {
        name: partial(run_child, line)
        for name, line in {"bare": BARE, "torch": TORCH, **ours}.items()
    }
    take_turns(1, calls)  # not counted: files that nobody has read yet
    spent = {
        name: [done.cpu * 1000 for done in ended]
        for name, ended in take_turns(repeats, calls).items()
    }
    least, found = float(np.median(spent["bare"])), []
    for name in names:
        row: dict[str, Any] = {"x": {"command": name, "measure": "cpu"}, "heavy": heavy[name]}
        row |= compared(spent[name], spent["torch"], UNIT)
        row["peer"] |= {"name": "import torch", "version": metadata.version("torch")}
        share = round(least / row["ours"]["median"], 4)
        row["limit"] = {"what": f"python -c pass, {UNIT}", "value": round(least, 4), "share": share}
        found.append(row)
    return found


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three times instead of fifteen")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--repeats", type=int, help="turns (default 15; 3 with --quick)")
    args = parser.parse_args(words)
    repeats = args.repeats or (3 if args.quick else 15)
    with tempfile.TemporaryDirectory() as folder:
        found = rows(commands(Path(folder)), repeats)
    for row in found:
        told = f"{row['x']['command']}: {row['ours']['median']} {UNIT}"
        print(f"{told}, ratio {row['ratio']['value']}, loads {', '.join(row['heavy']) or '-'}")
    write(args.json, __doc__.splitlines()[0], found, repeats=repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
