#!/usr/bin/env python3
"""Runs the code cells of notebooks in order and prints or stores what they print.

    python tools/run_notebook.py notebooks/*.ipynb           # exit 1 where a stored output differs
    python tools/run_notebook.py --write notebooks/*.ipynb   # store the outputs

Standard library only. Cells of one notebook share a namespace, in which the last expression of a
cell is not shown: cells print.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def run(notebook: dict[str, Any], name: str) -> list[list[dict[str, Any]]]:
    """The outputs of every code cell, in the notebook format (version 4)."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs: list[list[dict[str, Any]]] = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"{name}[{number}]", "exec"), namespace)
        lines = printed.getvalue().splitlines(keepends=True)
        stream = {"name": "stdout", "output_type": "stream", "text": lines}
        outputs.append([stream] if lines else [])
    return outputs


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 where a stored output is not what the cell prints now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="store the outputs")
    options = parser.parse_args(arguments)
    differ = 0
    for path in options.notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        made = run(notebook, path.name)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, (cell, outputs) in enumerate(zip(cells, made, strict=True)):
            if options.write:
                cell["outputs"], cell["execution_count"] = outputs, number + 1
            elif cell["outputs"] != outputs:
                differ += 1
                print(f"{path}: code cell {number + 1} prints something else than is stored")
        if options.write:
            text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
