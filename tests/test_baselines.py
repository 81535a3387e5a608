"""Each baseline is the full pipeline but for a few keys; `pytest -s` prints which."""

from __future__ import annotations

from typing import Any

import pytest

from forethought.config import config_names, load_config

BASELINES = [name for name in config_names() if name.startswith("baselines/")]
MOST = 12


def flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def settings(name: str) -> dict[str, Any]:
    return flat(load_config(name).model_dump(mode="json"))


def test_the_papers_rows_are_there() -> None:
    named = {name.removeprefix("baselines/") for name in BASELINES}
    stages = {"sft", "fe-sft", "sft-grpo", "fe-sft-grpo", "rl-only", "amt-sft", "amt-sft-grpo"}
    assert stages | {"amt-fe-sft", "amt-fe-sft-grpo", "state-only", "amt-state-only"} <= named
    assert {"iwm", "iwm-grpo", "full"} <= named


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_differs_from_the_full_pipeline_by_few_keys(name: str) -> None:
    full, mine = settings("baselines/full"), settings(name)
    changed = {key: mine[key] for key in mine if mine[key] != full[key] and key != "name"}
    print(f"{name}: " + (", ".join(f"{k} = {v}" for k, v in changed.items()) or "nothing"))
    assert len(changed) <= MOST
    assert changed or name == "baselines/full"


def test_no_two_baselines_are_the_same() -> None:
    made = [str({**settings(name), "name": ""}) for name in BASELINES]
    assert len(set(made)) == len(made)


def test_the_full_pipeline_is_the_demo_without_its_controls() -> None:
    demo, full = settings("demo/atlas"), settings("baselines/full")
    assert {key for key in demo if demo[key] != full[key]} == {"name", "control.arms"}
