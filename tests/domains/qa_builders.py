"""The shipped rows of public sets as the domain `qa`."""

from __future__ import annotations

import json
from pathlib import Path

from forethought.config import load_config
from forethought.domains.qa import QaDomain

FIXTURES = Path(__file__).parents[1] / "fixtures" / "search_qa"
ENTRIES = tuple(f"{name}:{FIXTURES / name}.jsonl.gz" for name in ("2wiki", "hotpotqa", "musique"))


def overrides(*entries: str, **more: str) -> dict[str, str]:
    dotted = {key.replace("__", "."): value for key, value in more.items()}
    return {"data.benchmarks": json.dumps(entries or ENTRIES), **dotted}


def qa_domain(*entries: str, **more: str) -> QaDomain:
    return QaDomain.from_config(load_config("search/multihop-smollm2", overrides(*entries, **more)))
