"""From a rollout to a row of episodes.jsonl."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rollout_toys import ANSWER_B, CONFIG, FORM, TOKENIZER, start

from forethought.rewards.terms import RewardConfig
from forethought.rollout.engine import run_rollouts_sync
from forethought.rollout.episodes import to_episode
from forethought.rollout.scripted import ScriptedBackend


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({}, ""),
        ({"composed": True}, "composed"),
        ({"composed": False}, "seen"),
        ({"group": "short", "composed": True}, "short"),
    ],
)
def test_the_kind_of_a_task_is_its_own_word_or_its_slice(
    columns: dict[str, Any], kind: str
) -> None:
    first = start(0)
    begin = replace(first, task=replace(first.task, columns=columns))
    backend = ScriptedBackend(lambda *_: ANSWER_B, TOKENIZER)
    (rollout,) = run_rollouts_sync([begin], backend, FORM, TOKENIZER, CONFIG)
    assert to_episode(rollout, RewardConfig(), "toy").group == kind
