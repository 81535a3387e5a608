"""`search/paper-2b` and `maths/paper-2b` say what arXiv 2606.27483 says, where a key can say it."""

from __future__ import annotations

import math
import tomllib
from importlib import resources

import pytest

from forethought.config import load_config
from tests.test_baselines import flat

SEARCH: dict[str, object] = {
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
# What the maths runs have in common with those of search is in `SEARCH`.
MATHS: dict[str, object] = {
    **{key: value for key, value in SEARCH.items() if key != "judge.kind"},
    "rollout.max_turns": 15,
    "rollout.max_turn_tokens": 20_000,
    "rollout.max_context_tokens": 2048 + 20_000,
    "sft.num_episodes": 2000,
    "sft.epochs": 6.0,
    "sft.samples": "episodes",
    "sft.micro_batch_tokens": 20_000,
    "sft.optim.lr": 1e-5,
    "rl.prompts": 128,
    "rl.group_size": 16,
    "rl.omega": 0.1,
    "rl.terms": ["maths_paper"],
    "eval.temperature": 1.0,
    "eval.attempts": 30,
}
RECIPES = {"search/paper-2b": SEARCH, "maths/paper-2b": MATHS}
UNCHECKED = {
    *("model.prompt_style", "base.warmup_episodes", "teacher.model", "rl.normaliser"),
    *("midtrain.block_share", "midtrain.lambda_obs", "sft.format_off_share"),
    *("rl.refit_rollouts", "eval.imagine_k"),
}
ALSO = {
    "search/paper-2b": {"judge.model", "rl.updates"},
    "maths/paper-2b": {"rollout.old_blocks", "eval.num_tasks"},
}
"""Marked, and no number that could be mistaken."""


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, published in RECIPES.items() for key in published]
)
def test_the_recipe_has_the_papers_values(name: str, key: str) -> None:
    found, expected = flat(load_config(name).model_dump(mode="json"))[key], RECIPES[name][key]
    if isinstance(expected, float):
        assert math.isclose(found, expected, abs_tol=1e-12)
    else:
        assert found == expected


def text_of(name: str) -> str:
    return (resources.files("forethought") / "configs" / f"{name}.toml").read_text("utf-8")


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_marked_as_the_papers_is_checked_here(name: str) -> None:
    """A value with [P] behind it, or "no such thing" there."""
    published = RECIPES[name]
    section, marked = "", set()
    for line in text_of(name).splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        key, sign, rest = line.partition(" = ")
        if sign and "# [P" in rest:
            marked.add(section + key)
    assert set(published) - marked <= {"rl.terms"} | {
        key for key in published if key.endswith("tokens")
    }
    assert marked - set(published) == UNCHECKED | ALSO[name]


def test_the_sets_are_named() -> None:
    sets = {name: tomllib.loads(text_of(name))["data"]["benchmarks"] for name in RECIPES}
    assert sets["search/paper-2b"] == ["nq", "hotpotqa"]
    trained, *measured = sets["maths/paper-2b"]
    assert trained.partition(":")[0] == "plain-maths" and "train" in trained
    assert measured == ["aime24", "aime25", "aime26"]
