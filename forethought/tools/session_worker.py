"""The inside of a session: executes the programs that come in as lines of JSON.

Run by `forethought.tools.session` in a limited interpreter, in a folder that holds the named pipe
`requests`; it must not import forethought.
"""

from __future__ import annotations

import contextlib
import io
import json


def main() -> None:
    """Answers every request with one line: what was printed, and the error, if any."""
    with open("requests", encoding="utf-8") as requests:
        for line in requests:
            print(json.dumps(run(json.loads(line))), flush=True)


def run(source: str) -> dict[str, str]:
    """Executes one program in a namespace of its own."""
    out, error = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(source, "call.py", "exec", dont_inherit=True), {"__name__": "__main__"})
    except BaseException as problem:  # told to the caller
        error = f"{type(problem).__name__}: {problem}"
    return {"stdout": out.getvalue(), "error": error}


if __name__ == "__main__":
    main()
