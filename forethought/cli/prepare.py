"""`forethought prepare CONFIG --out RUN`: stage 0, from trajectories to blocks."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from forethought.cli._args import finite
from forethought.cli._stage import (
    add_stage_arguments,
    configured,
    open_context,
    open_stage,
    print_outcome,
)
from forethought.errors import InputError

if TYPE_CHECKING:
    from forethought.hindsight.importers.write import Source
    from forethought.schema import RunConfig

HELP = "stage 0: trajectories, executed branches, measured labels, blocks"
OVERRIDES = True
_ONLY_WITH_IMPORT = (
    "format",
    "decontaminate",
    "tool",
    "kind",
    "success_at",
    "need_thoughts",
    "only_import",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from forethought.hindsight.importers import FORMATS

    add_stage_arguments(parser)
    group = parser.add_argument_group("recorded attempts of other systems (docs/import.md)")
    group.add_argument(
        "--import", dest="file", metavar="FILE", help="take these; JSON lines, plain or .gz"
    )
    group.add_argument(
        "--format",
        choices=list(FORMATS),
        help="; ".join(f"{name}: {form.about}" for name, form in FORMATS.items()),
    )
    group.add_argument(
        "--decontaminate",
        action="append",
        metavar="TESTS",
        help="leave out what asks a question of this file (repeatable)",
    )
    group.add_argument(
        "--tool",
        action="append",
        metavar="THEIRS=OURS",
        help="another name for a recorded tool, or `answer` (repeatable)",
    )
    group.add_argument("--kind", choices=["qa", "maths"], help="grader (default: configuration's)")
    group.add_argument(
        "--success-at", type=finite, metavar="R", help="least reward of a success (default: 1)"
    )
    group.add_argument(
        "--need-thoughts", action="store_true", help="leave out rows with a turn without a thought"
    )
    group.add_argument(
        "--only-import",
        action="store_true",
        help="write prepare/import.json and imported.jsonl, no blocks: no model, any tool",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the stage."""
    if args.file is None:
        _refuse_import_flags(args)
        return _collected(args)
    return _imported(args)


def _collected(args: argparse.Namespace) -> int:
    from forethought.jsonl import read_json
    from forethought.stages import prepare

    context, policy = open_stage(args, "prepare")
    prepare.run(context, policy)
    print_outcome(args, read_json(context.stage_dir("prepare") / "report.json"))
    return 0


def _imported(args: argparse.Namespace) -> int:
    from forethought.files import make_folder
    from forethought.hindsight.importers.file import told
    from forethought.hindsight.importers.write import write_import
    from forethought.jsonl import read_json

    source = _source(args)
    if args.only_import:
        folder = make_folder(args.out, "--out") / "prepare"
        _, account = write_import(folder, source)
        outcome = account
    else:
        from forethought.stages import imported

        context = open_context(args)
        outcome = imported.run(context, source)
        account = read_json(context.stage_dir("prepare") / "import.json")
    if args.json:
        print(json.dumps(outcome))
        return 0
    for line in told(account):
        print(line)
    return 0


def _source(args: argparse.Namespace) -> Source:
    from forethought.hindsight.importers.build import ImportOptions
    from forethought.hindsight.importers.write import Source

    if args.format is None:
        raise InputError(
            "--import",
            got="no --format",
            expected="the form of the file",
            next_step="add --format (`forethought prepare --help`)",
        )
    options = ImportOptions(
        kind=args.kind or _kind_of(configured(args)),
        rename=dict(_pair(text) for text in args.tool or ()),
        success_at=args.success_at,
        need_thoughts=args.need_thoughts,
    )
    tests = tuple(args.decontaminate or ())
    return Source(file=args.file, form=args.format, tests=tests, options=options)


def _kind_of(config: RunConfig) -> str:
    return "maths" if config.data.source in ("gsm8k", "maths", "workbook") else "qa"


def _pair(text: str) -> tuple[str, str]:
    theirs, _, ours = text.partition("=")
    if not theirs.strip() or not ours.strip():
        raise InputError(
            "--tool",
            got=repr(text[:60]),
            expected="THEIRS=OURS, such as search_pages=search",
            next_step="name both",
        )
    return theirs.strip(), ours.strip()


def _refuse_import_flags(args: argparse.Namespace) -> None:
    named = {name: getattr(args, name) for name in _ONLY_WITH_IMPORT}
    given = next((name for name, v in named.items() if v is not None and v is not False), None)
    if given is not None:
        raise InputError(
            f"--{given.replace('_', '-')}",
            got="no --import",
            expected="a file of recorded attempts",
            next_step="add --import FILE, or drop the flag",
        )
