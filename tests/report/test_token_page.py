"""The section of the page about tokens: there where the full arm kept an example, and escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from forethought.jsonl import write_json
from forethought.report.page import build_page
from forethought.report.token_view import token_view
from forethought.runlog import RunPaths
from forethought.types import JsonRow

HEADING = '<h2 id="tokens">'


def token(text: str, span: str, weight: float, advantage: float, **more: object) -> JsonRow:
    given = span in ("prompt", "observation")
    turn = None if span == "prompt" else 0
    row: JsonRow = {"text": text, "span": span, "turn": turn, "sampled": not given}
    return {**row, "pg_weight": weight, "advantage": advantage, "number": False, **more}


TOKENS = [
    token("who", "prompt", 0.0, 0.0),
    token("<imaginary>", "imaginary", 1.0, -0.5),
    token('"&</span><script>', "keyword", 0.2, 0.5),
    token("40", "confidence", 0.0, 0.0, number=True),
    token("%", "confidence", 1.0, 0.0),
    token("x", "think", 0.0, 0.5),
    token("<information>", "observation", 0.0, 0.0),
]
EXAMPLE: JsonRow = {
    "schema": "forethought.example/1", "update": 7, "task_id": "t", "question": "who",
    "group": [0, 1, 0], "rollouts": [{"rollout": 1, "success": 1, "tokens": TOKENS}],
}  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    found = RunPaths(tmp_path / "run")
    write_json(found.resolved, {"name": "a run", "seed": 3, "smoke": False})
    env = {"schema": "forethought.env/1", "command": "forethought run x", "sha256": {}}
    write_json(found.env, env)
    return found


class Section(HTMLParser):
    """The token spans of a page as class, title and text, and the text of everything."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.spans: list[tuple[str | None, str, str]] = []
        self.text = ""
        self._open: tuple[str | None, str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        found = dict(attrs)
        title = found.get("title")
        self._open = (found.get("class"), title) if tag == "span" and title else None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open is not None:
            self.spans.append((*self._open, data))
            self._open = None


def test_the_page_shows_every_token_escaped_and_says_how_it_was_made(paths: RunPaths) -> None:
    write_json(paths.root / "rl" / "example.json", EXAMPLE)
    page = build_page(paths.root).read_text()
    section = Section(page)
    assert [text for _, _, text in section.spans] == [token["text"] for token in TOKENS]
    assert [kind for kind, _, _ in section.spans] == [
        "given", "down", "up", "number", None, None, "given",
    ]  # fmt: skip
    titles = [title for _, title, _ in section.spans]
    assert titles[1] == "imaginary, weight 1, advantage -0.500"
    assert titles[3] == "confidence, trained by the Brier score"
    assert titles[6] == "observation, does not train"
    assert "Of update 7 of stage 3, where 1 of 3 attempts" in section.text
    assert "forethought run x" in page.split(HEADING)[1]
    assert len(page) < 2e6


def test_a_tint_is_as_strong_as_weight_times_advantage(paths: RunPaths) -> None:
    write_json(paths.root / "example.json", EXAMPLE)
    view = token_view(paths.root / "example.json")
    assert view is not None
    shown = view["rollouts"][0]
    tints = {t["text"]: t["tint"] for turn in shown["turns"] for t in turn}
    assert tints == {**{t["text"]: 0.0 for t in TOKENS}, "<imaginary>": 1.0, TOKENS[2]["text"]: 0.2}
    assert [row["span"] for row in shown["spans"]] == [
        "imaginary", "keyword", "confidence", "think",
    ]  # fmt: skip


@pytest.mark.parametrize("folder", ["", "fe-sft-grpo"])
def test_without_an_example_of_the_full_arm_the_section_is_left_out(
    paths: RunPaths, folder: str
) -> None:
    if folder:
        write_json(paths.root / folder / "rl" / "example.json", EXAMPLE)
    assert HEADING not in build_page(paths.root).read_text()
