"""Stage 0 from recorded attempts of other systems: read, accounted for, labelled by outcome.

No model acts and nothing is executed, so no branch and no measured label comes of it. Beside
what `prepare` writes there are prepare/import.json (the account of every row of the file) and
prepare/imported.jsonl (what was imported, before blocks and leak filters).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from forethought.data.decontaminate import Asked, TestIndex
from forethought.domains import Domain
from forethought.envs import env_class
from forethought.envs.base import check_class
from forethought.errors import InputError, MissingError
from forethought.hindsight.importers.file import TestFile
from forethought.hindsight.importers.write import Source, write_import
from forethought.hindsight.teacher import TeacherWriter
from forethought.jsonl import read_json
from forethought.progress import say
from forethought.runlog import sha256_file
from forethought.stages import prepare
from forethought.stages.context import Context
from forethought.types import JsonRow

OWN_SPLITS = ("val", "test")
MAX_OWN = 100_000
"""Questions of each split of the configuration's own that imports are compared with."""


def run(context: Context, source: Source) -> JsonRow:
    """Stage 0 with a file in the place of rollouts; returns report.json.

    Raises:
        InputError: a synthetic world, a file that cannot be read, nothing that can be imported, or
            a stage that was finished with another file.
        GuardRail: the leak filters reject everything.
    """
    folder = context.stage_dir("prepare")
    if context.resume and (folder / "report.json").is_file():
        _require_same(folder / "import.json", source)
        return read_json(folder / "report.json")
    domain = context.domain
    if domain.text_format.spaced:
        raise InputError(
            "--import",
            got=f"data.source = {context.config.data.source}, whose words are its own",
            expected="a configuration of real text, such as maths/gsm8k-smollm2",
            next_step="name one, or add --only-import to read the file",
        )
    teacher = isinstance(domain.writer, TeacherWriter)
    options = replace(
        source.options,
        style=domain.text_format.style,
        tools=frozenset(check_class(env_class(domain.env_name))),
        can_tell=None if teacher else domain.writer.can_tell,
    )
    items, account = write_import(folder, replace(source, options=options), [*_own_tests(domain)])
    if not items:
        raise _nothing(source, account)
    told = ("file", "format", "sha256", "read", "imported", "left_out")
    prepare.write_corpus(context, items, {"import": {key: account[key] for key in told}})
    return read_json(folder / "report.json")


def _own_tests(domain: Domain) -> Iterator[TestFile]:
    """The questions that the configuration itself is evaluated on, where they are at hand."""
    for split in OWN_SPLITS:
        try:
            tasks = domain.tasks(split, MAX_OWN)
        except (InputError, MissingError) as error:
            say(f"the {split} questions of the configuration are not compared: {error}")
            continue
        index = TestIndex()
        for task in tasks:
            index.add(Asked(id=task.id, text=task.question, field="question"))
        yield TestFile(path=f"{split} of the configuration", index=index)


def _require_same(file: Path, source: Source) -> None:
    found = read_json(file).get("sha256") if file.is_file() else None
    if found != sha256_file(Path(source.file)):
        raise InputError(
            str(file),
            got="a stage that was finished with other rows",
            expected=f"one that read {source.file}",
            next_step="drop --resume to import anew, or choose another --out",
        )


def _nothing(source: Source, account: JsonRow) -> InputError:
    left_out: dict[str, int] = account["left_out"]
    if left_out.get("untold"):
        return InputError(
            "prepare.writer",
            got="rules, which have no words for the tools of these rows",
            expected="a writer that can tell them",
            next_step='set prepare.writer = "teacher" and teacher.model',
        )
    return InputError(
        source.file,
        got="; ".join(f"{number} {reason}" for reason, number in left_out.items()),
        expected=f"at least one row of --format {source.form} that can be imported",
        next_step="read prepare/import.json, where each reason has its lines",
    )
