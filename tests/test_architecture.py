"""The rules of the house, checked on every file. AGENTS.md states them for readers."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import forethought
from forethought.cli import VERBS
from forethought.config import config_names, load_config

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "forethought"
SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]

# A module may import modules of its own layer and of earlier ones.
LAYERS = (
    ("types", "errors", "files", "keys", "jsonl"),
    ("foresight", "rewards", "algos", "stats"),
    (
        "runlog",
        "runlog_rows",
        "runfiles",
        "progress",
        "config",
        "schema",
        "data",
        "tools",
        "chat",
        "worlds",
    ),
    ("envs", "rollout", "training", "hindsight"),
    ("domains", "evals"),
    ("stages",),
    ("study",),
    ("report",),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
REPORT_READS = {*LAYERS[0], "stats", "runlog", "runlog_rows", "runfiles", "report"}
REPORT_READERS = {"forethought.stages.pipeline"}  # keeps the page of a running run up to date
NEVER = (("envs.base", "rollout"), ("rollout.modes", "hindsight"), ("rollout", "hindsight"))
PURE = (
    "types",
    "errors",
    "files",
    "keys",
    "jsonl",
    "foresight",
    "rewards",
    "algos",
    "stats",
    "worlds",
)
ENGINES = {"trl", "vllm", "verl", "accelerate", "peft", "datasets"}
ENGINES |= {"sentence_transformers", "faiss", "numba", "tantivy"}
# Split so that this file does not hold what it forbids.
FORBIDDEN = (
    "../sha" + "red",
    "/wo" + "rk/",
    "/fa" + "rm/",
    "/opt/whe" + "els",
    "DEVELOP" + "ERS.md",
)
PUBLIC = [
    "CreditConfig",
    "Episode",
    "Foresight",
    "ForethoughtError",
    "MathsPython",
    "Policy",
    "Rollout",
    "SearchQA",
    "Task",
    "Trainer",
    "TrainingSequence",
    "Turn",
    "credit_episodes",
    "grade",
    "load_config",
    "parse",
    "render",
    "run_rollouts",
    "summarise",
]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, top_only: bool = False) -> Iterator[str]:
    """Full names of what a file imports, imports for type checking left out."""
    waiting: list[ast.AST] = [tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path.name}:{node.lineno}: write the full module name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting += [] if inside and top_only else list(ast.iter_child_nodes(node))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def at(path: Path, node: ast.stmt) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}: {getattr(node, 'name', '')}"


def project_files() -> list[Path]:
    """Files that git tracks or would add; without git, everything outside hidden folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]
    found = (path for path in ROOT.rglob("*") if path.is_file())
    return [path for path in found if "__pycache__" not in path.parts and "/." not in str(path)]


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_imports_run_one_way(path: Path) -> None:
    name = module_name(path)
    own = name.split(".")[1] if "." in name else ""
    if own in ("", "__main__"):
        return
    for target in imports(path):
        if not target.startswith("forethought."):
            continue
        there = target.split(".")[1]
        if there not in RANK:  # a public name or __version__ of the package itself
            continue
        if there == "report" and name in REPORT_READERS:
            continue
        assert RANK[there] <= RANK[own], f"{name} imports {target}: {there} comes after {own}"
        if own == "report":
            assert there in REPORT_READS, f"{name} imports {target}: report reads files only"
        for here, other in NEVER:
            meets = name.startswith(f"forethought.{here}")
            assert not (meets and target.startswith(f"forethought.{other}.")), f"{name}: {target}"


def test_every_module_has_a_layer() -> None:
    found = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    modules = found - {"__init__", "__main__", "__pycache__", "configs", "py", "recordings"}
    assert modules <= set(RANK), modules - set(RANK)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_pure_modules_do_not_import_torch_and_nothing_imports_an_engine_at_the_top(
    path: Path,
) -> None:
    roots = {name.split(".")[0] for name in imports(path, top_only=True)}
    assert not roots & ENGINES, roots & ENGINES
    own = (module_name(path) + ".").split(".")[1]
    if own in PURE and path != PACKAGE / "algos" / "losses.py":
        everywhere = {name.split(".")[0] for name in imports(path)}
        assert not everywhere & {"torch", "transformers"}


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400
    for function in functions(path):
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < 80, at(path, function)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_functions_take_at_most_six_parameters(path: Path) -> None:
    for function in functions(path):
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        taken = [argument.arg for argument in named if argument.arg not in ("self", "cls")]
        assert len(taken) <= 6, at(path, function)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_every_function_is_fully_annotated(path: Path) -> None:
    for function in functions(path):
        arguments = function.args
        extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra):
            known = argument.annotation is not None or argument.arg in ("self", "cls")
            assert known, f"{at(path, function)}({argument.arg})"
        assert function.returns is not None, at(path, function)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_modules_and_public_things_have_docstrings(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{path.name} has no module docstring"

    def check(body: list[ast.stmt]) -> None:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if not node.name.startswith("_"):
                assert ast.get_docstring(node), at(path, node)
                if isinstance(node, ast.ClassDef):
                    check(node.body)

    check(tree(path).body)


ALLOWED_AT_TOP = (
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)
WORK = re.compile(
    r"\b(open|print|exec|eval|import_module|read_text|read_bytes|mkdir|urlopen|getLogger|seed)\("
    r"|\b(subprocess|random|time|torch|requests)\.\w+\(|os\.environ|\bgetenv\b"
)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_nothing_happens_at_import(path: Path) -> None:
    for node in tree(path).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), at(path, node)
        elif isinstance(node, ast.If):
            test = ast.unparse(node.test)
            assert test in ("TYPE_CHECKING", "__name__ == '__main__'"), at(path, node)
        else:
            assert isinstance(node, ALLOWED_AT_TOP), at(path, node)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            assert not WORK.search(ast.unparse(node)), at(path, node)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_no_handler_swallows_everything(path: Path) -> None:
    """A broad handler must raise, or hand its error on (the boundary to foreign code)."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        inside = [inner for statement in node.body for inner in ast.walk(statement)]
        hands_on = any(isinstance(inner, ast.Raise) for inner in inside) or any(
            isinstance(inner, ast.Name) and inner.id == node.name for inner in inside
        )
        caught = "" if node.type is None else ast.unparse(node.type)
        broad = caught in ("", "Exception", "BaseException")
        assert hands_on or not broad, f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_zip_is_strict(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
            keywords = [keyword.arg for keyword in node.keywords]
            assert "strict" in keywords, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_text_is_plain_ascii() -> None:
    for path in project_files():
        if path.suffix in (".py", ".toml", ".md", ".txt", ".cff", ".html", ".j2", ".css", ".js"):
            text = path.read_bytes()
            bad = next((i for i, byte in enumerate(text) if byte > 127), None)
            line = 0 if bad is None else text[:bad].count(b"\n") + 1
            assert bad is None, f"{path.relative_to(ROOT)}:{line}"


def test_no_file_speaks_of_more_than_the_product() -> None:
    for path in project_files():
        if path.suffix == ".gz":
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        for word in FORBIDDEN:
            assert word not in text, f"{path.relative_to(ROOT)}: {word}"


def test_files_are_at_most_a_megabyte() -> None:
    for path in project_files():
        assert path.stat().st_size <= 1 << 20, path.relative_to(ROOT)


def test_the_public_api_is_pinned_and_every_name_loads() -> None:
    assert sorted(forethought.__all__) == PUBLIC
    assert len(PUBLIC) <= 20
    for name in PUBLIC:
        assert getattr(forethought, name) is not None
    assert set(dir(forethought)) == {*PUBLIC, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = forethought.nothing


@pytest.mark.parametrize("name", config_names())
def test_every_configuration_that_ships_loads(name: str) -> None:
    load_config(name)


def test_every_toml_file_parses() -> None:
    for path in project_files():
        if path.suffix == ".toml":
            tomllib.loads(path.read_text("utf-8"))


def documented_commands() -> list[str]:
    """Lines inside code fences of README and docs that begin with `make` or `forethought`."""
    found = []
    for path in (ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(
            r"```(?:sh|bash|console)?\n(.*?)```", path.read_text("utf-8"), re.S
        ):
            lines = (line.removeprefix("$ ").strip() for line in block.splitlines())
            found += [line for line in lines if re.match(r"(make|forethought) [a-z]", line)]
    return found


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_exist(command: str) -> None:
    program, word, *_ = command.split()
    if program == "forethought":
        assert word in VERBS, command
    else:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
        assert word in targets, command


def test_documented_configurations_exist() -> None:
    for command in documented_commands():
        for name in re.findall(r"\b(?:demo|search|maths)/[\w-]+", command):
            assert name in config_names(), command


def test_every_package_folder_has_an_init_file() -> None:
    for path in SOURCES:
        assert (path.parent / "__init__.py").is_file(), path


def test_no_two_test_files_share_a_name() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names)), "pytest imports test files by their name alone"
