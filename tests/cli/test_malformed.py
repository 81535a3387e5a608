"""Every file that a verb reads, malformed: exit code 2, file and line, and no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from forethought.cli.dispatch import main
from forethought.config import load_config
from forethought.domains.atlas import atlas_tokenizer

BAD_LINE = '{"id": "a", "text": '
EPISODE = '{"schema":"forethought.episode/9"}'


def _jsonl(path: Path, good: str) -> Path:
    path.write_text(f"{good}\n{BAD_LINE}\n", encoding="utf-8")
    return path


def _run(path: Path) -> Path:
    """The smallest folder that passes for a run."""
    (path / "evals/rl").mkdir(parents=True)
    resolved = load_config("demo/atlas").model_dump(mode="json")
    (path / "resolved.json").write_text(json.dumps(resolved), encoding="utf-8")
    (path / "state.json").write_text('{"done": [], "cpu_s": {}}', encoding="utf-8")
    return path


Case = Callable[[Path], tuple[list[str], Path, int | None]]
"""A folder -> the command, the malformed file, and the line it must name."""


def small_tool(words: list[str], good: str) -> Case:
    """A verb that reads JSON lines from one file."""
    return lambda tmp: (
        [*(w.replace("OUT", str(tmp / "out")) for w in words), str(_jsonl(tmp / "in.jsonl", good))],
        tmp / "in.jsonl",
        2,
    )


def config(text: str, *words: str) -> Case:
    """A verb that reads a configuration."""

    def case(tmp: Path) -> tuple[list[str], Path, int | None]:
        file = tmp / "c.toml"
        file.write_text(text, encoding="utf-8")
        return [w.replace("CONFIG", str(file)).replace("TMP", str(tmp)) for w in words], file, None

    return case


def _model(folder: Path) -> None:
    from forethought.training.policy import Policy
    from forethought.training.tiny import ModelShape, build_tiny_llama

    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=64)
    Policy(model=build_tiny_llama(len(tokenizer), shape, seed=0), tokenizer=tokenizer).save(folder)


def run_file(
    name: str, text: str, line: int | None, *words: str, beside: dict[str, str] | None = None
) -> Case:
    """A verb that reads a file of a run."""

    def case(tmp: Path) -> tuple[list[str], Path, int | None]:
        run = _run(tmp / "run")
        for other, content in {**(beside or {}), name: text}.items():
            file = run / other
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
        return [w.replace("RUN", str(run)).replace("TMP", str(tmp)) for w in words], file, line

    return case


def corpus(words: list[str], tasks: str, pages: str, broken: str) -> Case:
    """A verb that reads tasks and a corpus, one of them malformed."""

    def case(tmp: Path) -> tuple[list[str], Path, int | None]:
        for name, good in (("tasks.jsonl", tasks), ("corpus.jsonl", pages)):
            text = f"{good}\n{BAD_LINE}\n" if name == broken else f"{good}\n"
            (tmp / name).write_text(text, encoding="utf-8")
        return [w.replace("TMP", str(tmp)) for w in words], tmp / broken, 2

    return case


TASK = '{"id":"1","question":"who","answers":["x"],"kind":"qa"}'
PAGE = '{"id":"p","title":"t","text":"x"}'
EVAL = ["eval", "demo/atlas", "--model", "planner", "--tasks", "TMP/tasks.jsonl"]
EVAL += ["--corpus", "TMP/corpus.jsonl", "--out", "TMP/out"]

CORPUS = ["corpus", "RUN", "--stage", "midtrain", "--out", "TMP/out"]
EXAMPLE = {"schema": "forethought.example/1", "update": 1, "task_id": "t", "question": "q",
           "group": [0, 1], "rollouts": [{"rollout": 0, "success": 1, "tokens": [
               {"text": "x", "span": "think", "turn": 0, "sampled": True, "pg_weight": 1.0,
                "advantage": 0.5, "number": False}]}]}  # fmt: skip
LABEL = {"value": 0.5, "source": "outcome", "s": 0, "k": 1, "prior": 0.5}
STEP = {"think": "t", "action": {"kind": "answer", "text": "x"}, "observation": "", "failed": False}
SUMMARY = json.dumps(
    {"schema": "forethought.summary/1", "num_tasks": 1, "num_rollouts": 1, "num_failed": 0,
     "seed": 0, "split": "val", "smoke": False, "model_sha256": "", "data_sha256": "",
     "metrics": {"turns": {"value": None, "lo": None, "hi": None, "n": 0}}}
).replace('"metrics": {', '\n"metrics": {\n')  # fmt: skip


def example(**changed: object) -> str:
    """The text of rl/example.json, keys on lines of their own."""
    return json.dumps({**EXAMPLE, **changed}, indent=1)


def stage(verb: str) -> list[str]:
    """The command of a stage that starts from a model of the run."""
    return [verb, "demo/atlas", "--out", "RUN", "--init", "RUN"]


def trajectory(**changed: object) -> str:
    """A line of trajectories.jsonl."""
    task = {"id": "a", "question": "q", "answers": ["x"], "kind": "qa", "split": "train"}
    row = {"schema": "forethought.trajectory/1", "source_policy": "p", "success": 1,
           "stop_reason": "answer", "task": {**task, "world_seed": None, "columns": {}},
           "steps": [STEP], "labels": [LABEL], "branches": []}  # fmt: skip
    return json.dumps({**row, **changed})


CASES: dict[str, Case] = {
    "parse": small_tool(["parse"], '{"id":"a","text":"x"}'),
    "grade": small_tool(["grade", "--kind", "qa"], '{"id":"a","prediction":"x","answers":["x"]}'),
    "leaks": small_tool(
        ["leaks"],
        '{"id":"a","state":"s","future":[],"answers":["x"],"block":{"roadmap":"r","keywords":[],'
        '"analysis":"a","q":0.5}}',
    ),
    "credit": run_file("e.jsonl", EPISODE, 1, "credit", "--profile", "causal", "RUN/e.jsonl"),
    "retrieve: queries": corpus(
        ["retrieve", "--corpus", "TMP/corpus.jsonl", "TMP/tasks.jsonl"],
        '{"id":"a","query":"x"}',
        PAGE,
        "tasks.jsonl",
    ),
    "retrieve: corpus": corpus(
        ["retrieve", "--corpus", "TMP/corpus.jsonl", "TMP/tasks.jsonl"],
        '{"id":"a","query":"x"}',
        PAGE,
        "corpus.jsonl",
    ),
    "tasks": small_tool(["tasks", "nq", "--out", "OUT", "--from"], '{"question":"q","answer":"a"}'),
    "decontaminate: train": corpus(
        ["decontaminate", "--train", "TMP/corpus.jsonl", "--test", "TMP/tasks.jsonl"],
        TASK, TASK, "corpus.jsonl",
    ),
    "decontaminate: test": corpus(
        ["decontaminate", "--train", "TMP/corpus.jsonl", "--test", "TMP/tasks.jsonl"],
        TASK, TASK, "tasks.jsonl",
    ),
    "eval: tasks": corpus(EVAL, TASK, PAGE, "tasks.jsonl"),
    "eval: corpus": corpus(EVAL, TASK, PAGE, "corpus.jsonl"),
    "eval: run": run_file(
        "resolved.json", '{\n"seed": }', 2,
        *("eval", "demo/atlas", "--model", "RUN/rl", "--out", "TMP/out"),
    ),
    "eval: estimate": run_file(
        "plain-grpo/rl/estimate.json", '{"schema": 1}', 1,
        *("eval", "demo/atlas", "--model", "RUN/plain-grpo/rl", "--out", "TMP/out"),
    ),
    "run: example.json": run_file(
        "rl/example.json", "{", 1, "run", "demo/atlas", "--out", "RUN", "--resume"
    ),
    "run: not TOML": config("name = [", "run", "CONFIG", "--out", "TMP/out"),
    "run: unknown key": config("[rl]\ngroups = 3\n", "run", "CONFIG", "--out", "TMP/out"),
    "prepare: value": config("[rl]\ngroup_size = 1\n", "prepare", "CONFIG", "--out", "TMP/out"),
    "check: config": config("seed = 'x'\n", "check", "CONFIG"),
    "run: resolved.json": run_file(
        "resolved.json", "[1]", 1, "run", "demo/atlas", "--out", "RUN", "--resume"
    ),
    "run: state.json": run_file(
        "state.json", "{\n\n", 3, "run", "demo/atlas", "--out", "RUN", "--resume"
    ),
    "report: summary": run_file("evals/rl/summary.json", "{", 1, "report", "RUN/evals/rl"),
    "report: run": run_file("summary.json", "nothing", 1, "report", "RUN"),
    "report: metrics": run_file("sft/metrics.jsonl", '{"step":1}\n{', 2, "report", "RUN"),
    "view": run_file("evals/rl/episodes.jsonl", EPISODE, 1, "view", "RUN"),
    "diff": run_file("resolved.json", "{]", 1, "diff", "RUN", "RUN"),
    "tokens: run": run_file("resolved.json", "{]", 1, "tokens", "RUN", "--episode", "x"),
    "tokens: episodes": run_file(
        "evals/rl/episodes.jsonl", EPISODE, 1, "tokens", "RUN", "--episode", "x"
    ),
    "sft: trajectories": run_file(
        "prepare/trajectories.jsonl", '{"schema":"forethought.trajectory/9"}', 1,
        *stage("sft"),
    ),
    "sft: no trajectory": run_file("prepare/trajectories.jsonl", "\n", None, *stage("sft")),
    "midtrain: no trajectory": run_file(
        "prepare/trajectories.jsonl", "", None, *stage("midtrain")
    ),
    "midtrain: labels": run_file(
        "prepare/trajectories.jsonl", trajectory(labels=[]), 1, *stage("midtrain")
    ),
    "midtrain: label": run_file(
        "prepare/trajectories.jsonl", trajectory(labels=[{**LABEL, "value": "x"}]), 1,
        *stage("midtrain"),
    ),
    "midtrain: step": run_file(
        "prepare/trajectories.jsonl", trajectory(steps=[{"think": "t"}]), 1, *stage("midtrain")
    ),
    "midtrain: cut off": run_file(
        "prepare/trajectories.jsonl", trajectory(), 1, *stage("midtrain"),
        beside={"prepare/report.json": '{"kept": 2}'},
    ),
    "corpus: no run": run_file("resolved.json", "{}", None, *CORPUS),
    "corpus: no trajectory": run_file("prepare/trajectories.jsonl", "", None, *CORPUS),
    "corpus: label": run_file(
        "prepare/trajectories.jsonl", f"{trajectory()}\n{trajectory(labels=[])}", 2, *CORPUS
    ),
    "corpus: cut off": run_file(
        "prepare/trajectories.jsonl", trajectory(), 1, *CORPUS,
        beside={"prepare/report.json": '{"kept": 2}'},
    ),
    "corpus: counts": run_file(
        "sft/labels.jsonl", '{"i":0,"t":0,"s":1,"k":2}', 1,
        *CORPUS, "--labels", "RUN/sft/labels.jsonl",
        beside={"prepare/trajectories.jsonl": trajectory()},
    ),
    "corpus: no counts": run_file(
        "prepare/trajectories.jsonl", trajectory(), None,
        *CORPUS, "--labels", "RUN/trajectories.jsonl",
    ),
    "corpus: journal": run_file(
        "out/progress.jsonl", '{"stage":"sft"}', None, *CORPUS[:-1], "RUN/out", "--resume",
        beside={"prepare/trajectories.jsonl": trajectory()},
    ),
    "corpus: corpus.json": run_file(
        "out/corpus.json", "{", 1, *CORPUS[:-1], "RUN/out", "--resume",
        beside={"prepare/trajectories.jsonl": trajectory()},
    ),
    "run: empty resolved.json": run_file(
        "resolved.json", "{}", None, "run", "demo/atlas", "--out", "RUN", "--resume"
    ),
    "eval: empty resolved.json": run_file(
        "resolved.json", "{}", None, "eval", "demo/atlas", "--model", "RUN/rl", "--out", "TMP/o"
    ),
    "tokens: empty resolved.json": run_file(
        "resolved.json", "{}", None, "tokens", "RUN", "--episode", "x"
    ),
    "report: empty resolved.json": run_file("resolved.json", "{}", 1, "report", "RUN"),
    "diff: empty resolved.json": run_file("resolved.json", "{}", 1, "diff", "RUN", "RUN"),
    "run: empty state.json": run_file(
        "state.json", "{}", 1, "run", "demo/atlas", "--out", "RUN", "--resume"
    ),
    "run: done": run_file(
        "state.json", '{\n"cpu_s": {},\n"done": 3}', 3,
        *("run", "demo/atlas", "--out", "RUN", "--resume"),
    ),
    "report: cpu": run_file("state.json", '{"done": [],\n"cpu_s": {"a": "x"}}', 2, "report", "RUN"),
    "report: empty run summary": run_file("summary.json", "{}", 1, "report", "RUN"),
    "report: empty summary": run_file("evals/rl/summary.json", "{}", 1, "report", "RUN"),
    "report: empty summary alone": run_file(
        "evals/rl/summary.json", "{}", 1, "report", "RUN/evals/rl"
    ),
    "report: schema": run_file(
        "evals/rl/summary.json", '{\n"schema": ["x"]}', 2, "report", "RUN/evals/rl", "--json"
    ),
    "diff: empty summary": run_file("evals/rl/summary.json", "{}", 1, "diff", "RUN", "RUN"),
    "report: cell": run_file(
        "evals/rl/summary.json", SUMMARY.replace('"n": 0', '"n": "x"'), 3, "report", "RUN"
    ),
    "report: half an interval": run_file(
        "evals/rl/summary.json", SUMMARY.replace('null, "lo": null', '1, "lo": 1'), 3,
        *("report", "RUN"),
    ),
    "report: environment": run_file("env.json", "{}", 1, "report", "RUN"),
    "report: episodes": run_file(
        "evals/rl/episodes.jsonl", "{}", 1, "report", "RUN",
        beside={"evals/rl/summary.json": SUMMARY},
    ),
    "report: text in metrics": run_file(
        "rl/metrics.jsonl", '{"step":1}\n{"step":2,"reward":"x"}', 2, "report", "RUN"
    ),
    "report: metrics without steps": run_file("rl/metrics.jsonl", "{}", 1, "report", "RUN"),
    "report: example": run_file("rl/example.json", "{", 1, "report", "RUN"),
    "report: empty example": run_file("rl/example.json", "{}", 1, "report", "RUN"),
    "report: schema of an example": run_file(
        "rl/example.json", example(schema="forethought.example/9"), 2, "report", "RUN"
    ),
    "report: outcome of an example": run_file(
        "rl/example.json", example(group=[0, 2]), 6, "report", "RUN"
    ),
    "report: example without a rollout": run_file(
        "rl/example.json", example(rollouts=[]), 10, "report", "RUN"
    ),
    "report: advantage of an example": run_file(
        "rl/example.json", example().replace('"advantage": 0.5', '"advantage": "x"'), 21,
        *("report", "RUN"),
    ),
    "report: example with NaN": run_file(
        "rl/example.json", example().replace('"advantage": 0.5', '"advantage": NaN'), None,
        *("report", "RUN"),
    ),
    "view: no episode": run_file("evals/rl/episodes.jsonl", "", None, "view", "RUN"),
    "credit: reward": run_file(
        "e.jsonl", '{"schema":"forethought.episode/1","reward":NaN}', 1, "credit", "RUN/e.jsonl"
    ),
    "credit: damaged archive": run_file("e.jsonl.gz", "nothing", 1, "credit", "RUN/e.jsonl.gz"),
    "credit: a folder": run_file("e.jsonl/x", "", None, "credit", "RUN/e.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_file_ends_with_2_and_a_message_that_names_file_and_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, file, line = CASES[name](tmp_path)
    if words[0] in ("sft", "midtrain"):
        _model(tmp_path / "run/model")
    code = main(words)
    said = capsys.readouterr().err
    assert code == 2, said
    assert file.name in said
    if line is not None:
        assert f"{file}:{line}" in said or f"{file.name}:{line}" in said, said
    assert "expected" in said and "Next:" in said
    assert "Traceback" not in said
