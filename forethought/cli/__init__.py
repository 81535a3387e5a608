"""The command line: `forethought VERB`. One file a verb; `dispatch` calls them.

Nothing but names is defined here: a loaded verb such as `list` becomes an attribute of this package
and would hide a builtin from any code in this file.
"""

from __future__ import annotations

from forethought.cli.dispatch import VERBS, main

__all__ = ["VERBS", "main"]
