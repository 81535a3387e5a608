"""Writes the recording that `forethought demo --replay` shows, from a finished demo.

    python tools/record_episodes.py RUN

Takes twenty evenly spaced episodes of the evaluation after stage 3, for the world of the run.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from forethought.cli._episode import evenly
from forethought.config import read_resolved
from forethought.jsonl import read_json, write_jsonl, write_text_atomic
from forethought.runlog import RunPaths, episode_to_row, read_episodes

RECORDINGS = Path(__file__).parents[1] / "forethought" / "recordings"


def main() -> int:
    """Writes the package's recording from the run named on the command line."""
    run = RunPaths(Path(sys.argv[1]))
    out = RECORDINGS / read_resolved(run.resolved).data.source
    folder = run.eval_dir("rl")
    found = evenly(read_episodes(folder / "episodes.jsonl"), 20)
    slim = [replace(e, turns=tuple(replace(t, q_levels=None) for t in e.turns)) for e in found]
    write_jsonl(out / "episodes.jsonl", (episode_to_row(episode) for episode in slim))
    env, summary = read_json(run.env), read_json(folder / "summary.json")
    text = (
        "A recording, not a live model: twenty evenly spaced episodes of the evaluation after "
        f"stage 3.\nMade by `{env['command']}` at commit {str(env['commit'])[:12]}; success over "
        f"all {summary['num_rollouts']} of its episodes "
        f"{summary['metrics']['success']['value']:.3f}.\n"
        "Behind `<-` stands what the tool replied; all else the model wrote, element by "
        "element.\n"
    )
    write_text_atomic(out / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
