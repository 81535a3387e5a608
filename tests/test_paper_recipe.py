"""`search/paper-2b` says what arXiv 2606.27483 says, where a key can say it."""

from __future__ import annotations

import math
import tomllib
from importlib import resources

import pytest

from forethought.config import load_config
from tests.test_baselines import flat

NAME = "search/paper-2b"
PUBLISHED = {
    "rollout.max_turns": 10,
    "rollout.max_turn_tokens": 2048,
    "rollout.max_context_tokens": 16_384 + 2048,
    "prepare.branch_states": 0,
    "prepare.writer": "teacher",
    "prepare.labels": "teacher",
    "teacher.temperature": 0.6,
    "teacher.top_p": 0.95,
    "teacher.max_tokens": 32_768,
    "midtrain.epochs": 1.0,
    "midtrain.batch_sequences": 752,
    "midtrain.micro_batch_tokens": 32_768,
    "midtrain.untouched_share": 120 / 200,
    "midtrain.optim.name": "adamw",
    "midtrain.optim.lr": 5e-5,
    "midtrain.optim.schedule": "cosine",
    "midtrain.optim.final_fraction": 1e-7 / 5e-5,
    "sft.num_episodes": 4000,
    "sft.epochs": 2.0,
    "sft.samples": "turns",
    "sft.batch_sequences": 256,
    "sft.micro_batch_tokens": 18_000,
    "sft.relabel": False,
    "sft.optim.name": "adamw",
    "sft.optim.lr": 5e-5,
    "sft.optim.schedule": "cosine",
    "judge.kind": "llm",
    "rl.profile": "paper",
    "rl.prompts": 256,
    "rl.group_size": 5,
    "rl.temperature": 1.0,
    "rl.omega": 0.2,
    "rl.r_calib": 1.0,
    "rl.r_ground": 1.0,
    "rl.terms": ["outcome", "invalid_actions"],
    "rl.optim.name": "adamw",
    "rl.optim.lr": 1e-6,
    "eval.temperature": 0.0,
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_the_recipe_has_the_papers_values(key: str) -> None:
    found, expected = flat(load_config(NAME).model_dump(mode="json"))[key], PUBLISHED[key]
    if isinstance(expected, float):
        assert math.isclose(found, expected, abs_tol=1e-12)
    else:
        assert found == expected


def test_what_is_marked_as_the_papers_is_checked_here() -> None:
    """A value with [P] behind it, or "no such thing" there."""
    text = (resources.files("forethought") / "configs" / f"{NAME}.toml").read_text("utf-8")
    section, marked = "", set()
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        key, sign, rest = line.partition(" = ")
        if sign and "# [P" in rest:
            marked.add(section + key)
    assert set(PUBLISHED) - marked <= {"rl.terms"} | {
        key for key in PUBLISHED if key.endswith("tokens")
    }
    silent = {"model.prompt_style", "base.warmup_episodes", "teacher.model", "rl.normaliser"}
    silent |= {"judge.model"}
    silent |= {"midtrain.block_share", "midtrain.lambda_obs", "sft.format_off_share"}
    silent |= {"rl.updates", "rl.refit_rollouts", "eval.imagine_k"}
    assert marked - set(PUBLISHED) == silent
    assert tomllib.loads(text)["data"]["benchmarks"] == ["nq", "hotpotqa"]
