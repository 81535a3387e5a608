"""A tiny model runs on one thread, others on all cores, and the variable overrules both."""

from __future__ import annotations

import os

import pytest

from forethought.config import load_config
from forethought.stages.context import threads_for


def test_threads_follow_the_model_unless_the_variable_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny, pretrained = load_config("demo/atlas"), load_config("maths/gsm8k-smollm2")
    monkeypatch.delenv("FORETHOUGHT_THREADS", raising=False)
    assert threads_for(tiny) == 1
    assert threads_for(pretrained) == os.cpu_count()
    monkeypatch.setenv("FORETHOUGHT_THREADS", "3")
    assert threads_for(tiny) == threads_for(pretrained) == 3
