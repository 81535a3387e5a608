"""Laws of `parse`, `grade` and `leaks` as commands: rows in, rows out, exit codes."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from forethought import cli

TURN = (
    "<imaginary>r</imaginary><keyword>k, l</keyword><analysis>a</analysis>"
    "<confidence>85 %</confidence><think>t</think><search>q</search>"
)


def command(monkeypatch, capsys, words, rows):
    text = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    code = cli.main(words)
    shown = capsys.readouterr()
    return code, [json.loads(line) for line in shown.out.splitlines()], shown.err


def test_parse_prints_one_row_for_each_row(monkeypatch, capsys):
    rows = [{"id": "a", "text": TURN}, {"id": 2, "text": "hm"}]
    code, out, _ = command(monkeypatch, capsys, ["parse"], rows)
    assert code == 0
    assert out[0] == {
        "id": "a",
        "foresight": {
            "roadmap": "r",
            "keywords": ["k", "l"],
            "analysis": "a",
            "q": 0.85,
            "q_text": "85 %",
        },
        "think": "t",
        "action": {"kind": "search", "text": "q"},
        "problems": [],
    }
    assert out[1]["id"] == 2 and out[1]["foresight"] is None and out[1]["action"] is None
    assert "missing_block" in out[1]["problems"]


def test_parse_reads_files_styles_and_plain_turns(monkeypatch, capsys, tmp_path):
    file = tmp_path / "turns.jsonl"
    file.write_text(json.dumps({"id": 1, "text": "<think>t</think>Answer: 4"}) + "\n")
    code, out, _ = command(
        monkeypatch, capsys, ["parse", str(file), "--format", "maths", "--plain"], []
    )
    assert code == 0 and out[0]["problems"] == []
    assert out[0]["action"] == {"kind": "answer", "text": "4"}
    _, out, _ = command(
        monkeypatch, capsys, ["parse", "--format", "free"], [{"id": 1, "text": "x"}]
    )
    assert out[0]["problems"] == ["missing_element", "no_action"]


def test_grade_leaves_with_1_if_a_verdict_differs_from_what_was_expected(monkeypatch, capsys):
    right = {"id": "a", "prediction": "\\boxed{1/2}", "answers": ["0.5"], "expected": True}
    wrong = {"id": "b", "prediction": "3", "answers": ["4"], "expected": True}
    words = ["grade", "--kind", "maths"]
    code, out, _ = command(monkeypatch, capsys, words, [right])
    assert code == 0
    assert out == [{"id": "a", "correct": True, "extracted": "1/2", "method": "boxed"}]
    code, out, err = command(monkeypatch, capsys, words, [right, wrong])
    assert code == 1 and "b" in err and [row["correct"] for row in out] == [True, False]


def test_grade_reports_f1_for_questions(monkeypatch, capsys):
    row = {"id": 1, "prediction": "Paris, France", "answers": ["Paris"]}
    code, out, _ = command(monkeypatch, capsys, ["grade", "--kind", "qa"], [row])
    assert code == 0 and out[0]["f1"] == pytest.approx(2 / 3) and out[0]["correct"] is False


def leak_row(roadmap: str) -> dict[str, object]:
    return {
        "id": "a",
        "state": "gera of east : a mentor",
        "future": ["mentor east flint gera banok coast"],
        "answers": ["buzur"],
        "block": {"roadmap": roadmap, "keywords": ["flint"], "analysis": "a", "q": 0.5},
    }


def test_leaks_tells_the_reasons(monkeypatch, capsys, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("banok\nbuzur\n\n")
    rows = [leak_row("a mentor flint coast"), leak_row("to banok"), leak_row("to buzur")]
    code, out, _ = command(monkeypatch, capsys, ["leaks", "--entities", str(names)], rows)
    assert code == 0
    assert out[0] == {"id": "a", "accepted": True, "reasons": []}
    assert out[1]["reasons"] == ["entity"] and "answer" in out[2]["reasons"]
    assert not out[1]["accepted"]


def block(**more: object) -> dict[str, object]:
    return {"roadmap": "r", "keywords": [], "analysis": "a", **more}


@pytest.mark.parametrize(
    ("words", "row", "expected"),
    [
        (["parse"], "{\n", "<stdin>:2"),
        (["parse"], {"id": 1}, "text"),
        (["parse"], {"id": 1, "text": 3}, "text = 3"),
        (["grade", "--kind", "qa"], {"id": 1, "prediction": "x", "answers": []}, "at least one"),
        (["grade", "--kind", "qa"], {"id": 1, "prediction": "x", "answers": "x"}, "answers"),
        (
            ["grade", "--kind", "qa"],
            {"id": 1, "prediction": "x", "answers": ["x"], "expected": "yes"},
            "expected",
        ),
        (
            ["leaks"],
            {"id": 1, "state": "s", "future": [], "answers": ["x"], "block": {}},
            "roadmap",
        ),
        (["leaks"], leak_row("x") | {"future": [3]}, "future"),
        (["leaks"], leak_row("x") | {"block": block(q=1.5)}, "q = 1.5"),
        (["leaks"], leak_row("x") | {"block": block(q=10**400)}, "401 digits"),
        (["leaks"], leak_row("x") | {"block": block(q=float("nan"))}, "NaN"),
        (["leaks"], leak_row("x") | {"block": block(q_text=[1])}, "q_text"),
        (["parse"], '{"id": 1, "text": "\\ud800"}\n', "surrogate"),
        (["parse"], "[" * 100_000 + "\n", "nested too deeply"),
    ],
)
def test_a_bad_row_is_named_with_its_line(monkeypatch, capsys, words, row, expected):
    good = {"id": 0, "text": "x", "prediction": "x", "answers": ["x"]} | leak_row("x")
    code, _, err = command(monkeypatch, capsys, words, [good, row])
    assert code == 2 and ":2" in err and expected in err


def test_a_file_that_is_not_there_is_the_users_mistake(monkeypatch, capsys):
    code, _, err = command(monkeypatch, capsys, ["parse", "nowhere.jsonl"], [])
    assert code == 2 and "nowhere.jsonl" in err


@pytest.mark.parametrize("words", [["parse"], ["grade", "--kind", "maths"], ["leaks"]])
def test_the_small_tools_never_import_torch(words):
    rows = [{"id": 0, "text": "x", "prediction": "1/2", "answers": ["0.5"]} | leak_row("x")]
    code = (
        "import sys; from forethought.cli import main; "
        f"code = main({words!r}); sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(rows[0]),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
