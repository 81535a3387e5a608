import json
import subprocess
import sys

import pytest

from forethought.cli import main


def row(task, rollout, success, q, keywords=(), observation="", **changes):
    block = {"roadmap": "r", "keywords": list(keywords), "analysis": "a", "q": q, "q_text": "x"}
    turn = {
        "text": "<think> t </think> <search> s </search>",
        "format_ok": True,
        "foresight": block,
        "action": {"kind": "search", "text": "s"},
        "observation": observation,
        "tool_error": False,
        "oracle_p": None,
        "keywords_novel": [],
        "keywords_hit": [],
        "contrast": None,
    }
    return {
        "schema": "forethought.episode/1",
        "task_id": task,
        "rollout": rollout,
        "world_seed": None,
        "split": "val",
        "env": "search_qa",
        "question": "who",
        "answers": ["yes"],
        "answer": "yes",
        "success": success,
        "reward": float(success or 0),
        "judge": "exact",
        "stop_reason": "answer",
        "error": None,
        "tokens": {"prompt": 1, "sampled": 1, "observation": 1},
        "wall_s": 0.0,
        "turns": [turn],
    } | changes


ROWS = [
    row("a", 0, 1, 0.9),
    row("a", 1, 0, 0.2),
    row("a", 2, None, 0.2, stop_reason="error", error={"kind": "tool", "message": "down"}),
]


def run(tmp_path, capsys, *flags, rows=ROWS):
    file = tmp_path / "episodes.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    code = main(["credit", str(file), *flags])
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


def test_one_line_an_episode_in_file_order_with_null_for_the_machines_failure(tmp_path, capsys):
    code, lines, _ = run(tmp_path, capsys, "--profile", "causal")
    assert code == 0
    assert [(line["task_id"], line["rollout"]) for line in lines] == [("a", 0), ("a", 1), ("a", 2)]
    assert lines[0]["turns"] == [{"plan": 1.0, "confidence": pytest.approx(0.03), "act": 1.0}]
    assert lines[2]["turns"] == [{"plan": None, "confidence": None, "act": None}]


def test_omega_weighs_the_estimate_in_the_paper_profile(tmp_path, capsys):
    _, lines, _ = run(tmp_path, capsys, "--profile", "paper", "--omega", "0.5")
    assert lines[0]["turns"][0]["act"] == pytest.approx(1.5)


def test_turns_without_an_action_are_null_unless_they_are_to_train(tmp_path, capsys):
    void = row("a", 0, 1, 0.9)
    void["turns"][0]["action"] = None
    rows = [void, row("a", 1, 0, 0.2)]
    _, lines, _ = run(tmp_path, capsys, rows=rows)
    assert lines[0]["turns"][0]["act"] is None
    _, lines, _ = run(tmp_path, capsys, "--void-turns", "train", rows=rows)
    assert lines[0]["turns"][0]["act"] == 1.0


def test_a_corpus_is_accepted_and_said_to_be_unused_without_the_idf_ablation(tmp_path, capsys):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id":"1","title":"moss","text":"page"}\n')
    code, _, err = run(tmp_path, capsys, "--corpus", str(corpus))
    assert code == 0 and "idf" in err
    code, _, err = run(tmp_path, capsys, "--corpus", str(corpus), "--ablate", "idf")
    assert code == 0 and err == ""


def test_a_corpus_that_is_not_there_is_refused_whether_or_not_it_would_count(tmp_path, capsys):
    for flags in ((), ("--ablate", "idf")):
        code, lines, err = run(tmp_path, capsys, "--corpus", str(tmp_path / "none"), *flags)
        assert (code, lines) == (2, []) and "none" in err


def test_a_malformed_row_is_named_by_file_and_line(tmp_path, capsys):
    code, lines, err = run(tmp_path, capsys, rows=[ROWS[0], {"task_id": "a"}])
    assert (code, lines) == (2, [])
    assert "episodes.jsonl:2" in err


def test_credit_never_imports_torch_or_numpy():
    script = "import sys, forethought.cli.credit; print(*(set(sys.modules) & {'torch', 'numpy'}))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_an_episode_without_a_verdict_and_without_an_error_is_named(tmp_path, capsys):
    file = tmp_path / "episodes.jsonl"
    rows = [row("a", 0, 1, 0.9), row("a", 1, None, 0.2)]
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert main(["credit", str(file)]) == 2
    said = capsys.readouterr()
    assert "episodes.jsonl:2" in said.err and "success" in said.err and said.out == ""
