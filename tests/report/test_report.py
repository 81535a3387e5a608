"""The page and the tables read the files of a run, finished or not, and nothing else."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from forethought.cli import main
from forethought.errors import InputError
from forethought.jsonl import read_json, write_json, write_jsonl
from forethought.report.budget import budget
from forethought.report.page import build_page
from forethought.report.tables import JUDGED, cell_text, drifted, print_run
from forethought.runlog import RunPaths, episode_to_row
from forethought.stats.summary import Labels, summarise
from tests.stats.stats_builders import episode, turn


@pytest.fixture
def run(tmp_path: Path) -> Path:
    paths = RunPaths(tmp_path / "run")
    write_json(paths.resolved, {"name": "a <run>", "seed": 3, "smoke": True})
    write_json(paths.state, {"done": ["base", "sft"], "cpu_s": {"base": 60.0}, "dose": {}})
    rows = [episode(f"t{n}", n % 2, turn(0.25 + 0.5 * (n % 2)), turn(0.9)) for n in range(12)]
    write_jsonl(paths.eval_dir("sft") / "episodes.jsonl", (episode_to_row(row) for row in rows))
    write_json(paths.eval_dir("sft") / "summary.json", summarise(rows, Labels(seed=1)))
    metrics = [{"step": step, "ce_loss": 3.0 / step} for step in range(1, 30)]
    write_jsonl(paths.root / "sft" / "metrics.jsonl", metrics)
    return paths.root


def test_exact_match_and_a_judge_never_stand_in_one_column(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(run)
    plain = capsys.readouterr().out
    rows = [replace(episode(f"t{n}", 1, turn(0.5)), success_em=n % 4 // 3) for n in range(12)]
    paths = RunPaths(run)
    write_jsonl(paths.eval_dir("rl") / "episodes.jsonl", (episode_to_row(row) for row in rows))
    write_json(
        paths.eval_dir("rl") / "summary.json", summarise(rows, Labels(seed=1, judge="llm:m"))
    )
    print_run(run)
    judged = capsys.readouterr().out
    assert JUDGED not in plain and judged.count(JUDGED) == 1
    (exact,) = (
        line.split("|") for line in judged.replace("\u2502", "|").splitlines() if " sft " in line
    )
    (asked,) = (
        line.split("|") for line in judged.replace("\u2502", "|").splitlines() if " rl " in line
    )
    assert (exact[3].strip()[:5], exact[4].strip()) == ("0.500", "-")
    assert (asked[3].strip()[:5], asked[4].strip()[:5]) == ("0.250", "1.000")
    page = build_page(run).read_text()
    assert JUDGED in page


def test_a_budget_compares_verdicts_of_one_judge_only(tmp_path: Path) -> None:
    def made(name: str, judge: str) -> Path:
        rows = [replace(episode(f"t{n // 2}", 1, turn(0.5)), rollout=n % 2) for n in range(8)]
        write_jsonl(tmp_path / name / "episodes.jsonl", map(episode_to_row, rows))
        write_json(tmp_path / name / "summary.json", summarise(rows, Labels(seed=1, judge=judge)))
        return tmp_path / name

    samples, same, other = made("a", "llm:m"), made("b", "llm:m"), made("c", "exact")
    assert budget(samples, [same], resamples=10)["rows"]
    with pytest.raises(InputError, match="success by exact, and by llm:m"):
        budget(samples, [same, other], resamples=10)


class Strict(HTMLParser):
    """Counts open tags and collects what a browser would load, and links."""

    void = frozenset({"meta", "br", "link", "img", "input", "path", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = [v or "" for k, v in attrs if k in ("src", "href")]
        (self.links if tag == "a" else self.loads).extend(found)
        if tag not in self.void:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_is_well_formed_loads_nothing_and_escapes_text(run: Path) -> None:
    text = build_page(run).read_text()
    parser = Strict()
    parser.feed(text)
    assert parser.stack == [] and parser.loads == []
    assert parser.links == ["evals/sft/episodes.jsonl"]
    assert (run / parser.links[0]).is_file()
    assert "a &lt;run&gt;" in text and "<script" not in text
    assert "smoke" in text and "prefers-color-scheme: dark" in text


def test_the_page_shows_episodes_curves_and_the_reliability_diagram(run: Path) -> None:
    text = build_page(run).read_text()
    ten, surprises = text.split("<h2>Surprises</h2>")[1].split("<h2>Episodes</h2>")[::-1]
    assert ten.count('<details id="sft-') == 10
    assert surprises.count('<details id="sft-') == 3 and "sure of success, and lost: 6" in surprises
    assert "<h2>Why episodes were lost</h2>" in text
    assert "sft: cross-entropy" in text and 'class="dot"' in text


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    write_json(paths.resolved, {"name": "new", "seed": 0, "smoke": False})
    assert "pending" in build_page(tmp_path).read_text()


def test_scripted_episodes_leave_the_page_of_an_evaluated_run(run: Path) -> None:
    before = build_page(run).read_bytes()
    paths = RunPaths(run)
    paths.examples.write_bytes((paths.eval_dir("sft") / "episodes.jsonl").read_bytes())
    assert build_page(run).read_bytes() == before


def test_equal_files_give_equal_bytes(run: Path) -> None:
    assert build_page(run).read_bytes() == build_page(run).read_bytes()


def test_the_table_of_a_run_names_every_evaluation(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(run)
    out = capsys.readouterr().out
    assert "sft" in out and "0.500" in out


def test_an_undefined_cell_is_a_dash() -> None:
    assert cell_text({"value": None, "lo": None, "hi": None, "n": 0}) == "-"
    assert cell_text({"value": 0.5, "lo": 0.4, "hi": 0.6, "n": 3}) == "0.500 [0.400, 0.600]"


def test_a_quoted_figure_that_drifted_is_found_and_exits_1(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    mark = "<!-- record: run/evals/sft/summary.json metrics.brier.first.value -->"
    readme.write_text(f"Brier {mark}0.06 and {mark}0.062\n")
    value = read_json(run / "evals/sft/summary.json")["metrics"]["brier.first"]["value"]
    assert value == pytest.approx(0.0625)
    assert drifted(readme, tmp_path) == []
    readme.write_text(f"Brier {mark}0.07\n")
    assert main(["report", "--check", str(readme)]) == 1
    assert "README 0.07" in capsys.readouterr().err


def test_a_summary_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(InputError, match=r"summary\.json:1: got text that is not JSON"):
        read_json(tmp_path / "summary.json")


def test_view_prints_the_turns_of_an_episode(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(run), "--eval", "sft", "--num", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("answer 'buzur'") == 2 and "expected q" in out


def test_diff_exits_1_where_figures_differ_and_0_where_none_does(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", str(run), str(run)]) == 0
    other = tmp_path / "other"
    write_json(other / "resolved.json", {"name": "b", "seed": 3, "smoke": True})
    assert main(["diff", str(run), str(other)]) == 1
    assert "config.name: 'a <run>' -> 'b'" in capsys.readouterr().out
    assert json.loads((run / "resolved.json").read_text())["seed"] == 3


@pytest.mark.parametrize("key", ["metrics.none.value", "metrics", "seed.x", "by_step.7.n", "x.0"])
def test_a_quoted_figure_that_no_record_has_has_drifted(run: Path, key: str) -> None:
    readme = run / "README.md"
    readme.write_text(f"<!-- record: evals/sft/summary.json {key} -->0.06\n")
    assert len(drifted(readme, run)) == 1


def said_as_json(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_results_are_one_json_document_where_asked(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = str(run / "evals" / "sft")
    assert said_as_json(["report", evaluation], capsys)["num_tasks"] == 12
    both = said_as_json(["report", evaluation, evaluation], capsys)
    assert [summary["num_tasks"] for summary in both] == [12, 12]
    shown = said_as_json(["view", str(run), "--eval", "sft", "--num", "2"], capsys)
    assert [row["task_id"] for row in shown] == ["t0", "t6"]
    same = said_as_json(["diff", str(run), str(run)], capsys)
    assert same["differences"] == [] and len(same["paired"]) == 1
    other = tmp_path / "other"
    write_json(other / "resolved.json", {"name": "a <run>", "seed": 4, "smoke": True})
    rows = said_as_json(["diff", str(run), str(other)], capsys, code=1)["differences"]
    assert rows[0] == {"key": "config.seed", "a": 3, "b": 4}
    monkeypatch.setattr("sys.stdin", io.StringIO("search employer banok\nanswer nobody\n"))
    played = said_as_json(["play", "atlas"], capsys)
    assert played["answer"] == "nobody" and played["correct"] is False
