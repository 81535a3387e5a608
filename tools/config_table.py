"""Writes docs/configuration.md from the sections of forethought/schema.py and their comments."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from forethought.schema import RunConfig, Section

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/configuration.md"


def comments() -> dict[tuple[str, str], str]:
    """(class, field) -> the comment behind the field's line."""
    source = (ROOT / "forethought/schema.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(source).body:
        for item in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                _, _, text = lines[(item.end_lineno or 1) - 1].partition("  # ")
                found[node.name, item.target.id] = text  # type: ignore[union-attr]
    return found


def rows(section: Section, prefix: str, known: dict[tuple[str, str], str]) -> list[str]:
    """One line a key: name, default, meaning."""
    lines: list[str] = []
    for name in type(section).model_fields:
        value: Any = getattr(section, name)
        if isinstance(value, Section):
            lines += rows(value, f"{prefix}{name}.", known)
            continue
        owner = next(c for c in type(section).__mro__ if name in vars(c).get("__annotations__", {}))
        meaning = known.get((owner.__name__, name), "").replace("|", "or")
        lines.append(f"| `{prefix}{name}` | `{value!r}` | {meaning} |")
    return lines


def main() -> None:
    """Replaces the table; the text above it stays."""
    above = PAGE.read_text(encoding="utf-8").split("| key |")[0]
    table = ["| key | default | meaning |", "|---|---|---|", *rows(RunConfig(), "", comments())]
    PAGE.write_text(above + "\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
