"""The page has scripted episodes to read before a model has played, and none afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from forethought.config import load_config
from forethought.report.page import build_page
from forethought.runlog import RunPaths, read_episodes
from forethought.stages.context import open_run
from forethought.stages.examples import NUM_EXAMPLES, write_examples


def _begun(config: str, folder: Path) -> RunPaths:
    context = open_run(load_config(config, {}), folder, resume=False)
    write_examples(context)
    return context.paths


@pytest.mark.parametrize("config", ["demo/atlas-fast", "demo/workbook"])
def test_examples_are_whole_episodes_with_a_block_before_each_action(
    config: str, tmp_path: Path
) -> None:
    episodes = read_episodes(_begun(config, tmp_path).examples)
    assert len(episodes) == NUM_EXAMPLES
    assert {episode.success for episode in episodes} == {0, 1}
    for episode in episodes:
        assert episode.split == "train" and episode.error is None
        assert episode.turns and all(t.format_ok and t.foresight for t in episode.turns)


def test_numbers_are_outcomes_drawn_towards_the_share_that_won(tmp_path: Path) -> None:
    episodes = read_episodes(_begun("demo/atlas-fast", tmp_path).examples)
    stated = {
        outcome: {t.foresight.q for e in episodes if e.success == outcome for t in e.turns}
        for outcome in (0, 1)
        if all(t.foresight for e in episodes for t in e.turns)
    }
    assert all(len(numbers) == 1 for numbers in stated.values())
    assert max(stated[0]) < min(stated[1])


def test_the_page_shows_them_at_once(tmp_path: Path) -> None:
    _begun("demo/atlas-fast", tmp_path)
    page = build_page(tmp_path).read_text()
    assert "No model has played yet" in page
    assert page.count('<details id="scripted-') == NUM_EXAMPLES


def test_they_are_a_function_of_the_seed(tmp_path: Path) -> None:
    one, two = (_begun("demo/atlas-fast", tmp_path / n) for n in ("a", "b"))
    assert one.examples.read_bytes() == two.examples.read_bytes()
    assert not (one.root / "evals").exists(), "a record pools every folder of evals/"
