"""What does a call of the Python tool cost, fresh and in a session, at each level?

    python benchmarks/python_tool.py [--quick] --json FILE

The peer is a bare start of the same interpreter, `python -I -S -c pass`, which any fresh call has
to make. Every side runs `--calls` small programs in a process of its own with `--workers` threads;
the sides take turns. CPU seconds are those of that process and of all that it started, also of what
bubblewrap leaves to be reaped: a busy machine changes them little. Wall time means something on
idle cores only. A ratio is peer / ours; above 1 ours takes less.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from measured import ratio, spread, write

from forethought.tools.sandbox import LEVELS, SandboxLimits, open_sandbox, why_not
from forethought.tools.sandbox.paths import interpreter

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
MEASURES = {"cpu": "CPU ms a call", "wall": "ms a call, all workers together"}
PROGRAM = "print(sum(range(100)))"
BARE = ("bare", "-")


def caller(kind: str, level: str) -> Callable[[int], None]:
    """A function that makes that many calls, one after another."""
    if kind == "bare":
        command = [interpreter(), "-I", "-S", "-c", "pass"]

        def bare(calls: int) -> None:
            for _ in range(calls):
                subprocess.run(command, check=True, env={})

        return bare
    place, limits = open_sandbox(level), SandboxLimits()

    def fresh(calls: int) -> None:
        for _ in range(calls):
            assert place.run(PROGRAM, limits).stdout == "4950\n"

    def session(calls: int) -> None:
        made = place.session(limits)
        for _ in range(calls):
            assert made.run(PROGRAM).stdout == "4950\n"
        made.close()

    return {"fresh": fresh, "session": session}[kind]


def cpu_s() -> float:
    """CPU seconds of this process and of everything below it that has ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def child(kind: str, level: str, calls: int, workers: int) -> dict[str, float]:
    """Milliseconds a call of one side, measured in this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    call = caller(kind, level)
    call(1)  # not counted: imports, and the test of the level
    with ThreadPoolExecutor(workers) as pool:
        cpu, wall = cpu_s(), time.monotonic()
        list(pool.map(call, [calls // workers] * workers))
        wall = time.monotonic() - wall
    time.sleep(0.1)  # for what ends a moment after its call
    made = calls // workers * workers
    return {"cpu": (cpu_s() - cpu) / made * 1000, "wall": wall / made * 1000}


def main(words: list[str]) -> int:
    if words[:1] == ["--child"]:
        print(json.dumps(child(words[1], words[2], int(words[3]), int(words[4]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 calls a side, three times")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--calls", type=int, help="a side and turn (default 400; 40 with --quick)")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="threads (default 2)")
    args = parser.parse_args(words)
    calls = args.calls or (40 if args.quick else 400)
    levels = [level for level in reversed(LEVELS) if not why_not(level)]
    sides = [BARE, *((kind, level) for kind in ("fresh", "session") for level in levels)]
    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    for repeat in range(args.repeats):
        for side in sides:
            print(f"{repeat + 1}: {' '.join(side)}", file=sys.stderr)
            line = [sys.executable, __file__, "--child", *side, str(calls), str(args.workers)]
            done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
            runs.setdefault(side, []).append(json.loads(done.stdout.splitlines()[-1]))
    rows: list[dict[str, Any]] = []
    for kind, level in sides[1:]:
        for name, unit in MEASURES.items():
            mine, theirs = ([run[name] for run in runs[side]] for side in ((kind, level), BARE))
            peer = {
                **spread(theirs, unit),
                "name": "python -I -S",
                "version": sys.version.split()[0],
            }
            x = {"call": kind, "level": level, "measure": name, "workers": args.workers}
            rows.append(
                {"x": x, "ours": spread(mine, unit), "peer": peer, "ratio": ratio(theirs, mine)}
            )
    for row in rows:
        told = " ".join(str(value) for value in row["x"].values())
        print(
            f"{told}: {row['ours']['median']} {row['ours']['unit']}, ratio {row['ratio']['value']}"
        )
    write(args.json, __doc__.splitlines()[0], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
