"""The inside of the process that compares expressions: math-verify behind lines of JSON.

Run by `forethought.rewards.equality` in a fresh interpreter, with one end of a socket as standard
input; it must not import forethought. Its limits are the kernel's: a comparison that uses more
processor time than allowed ends the process (SIGPROF has no handler here), more memory than allowed
cannot be had. Whoever asked sees the closed socket.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import socket
import sys
from typing import Any

_MIB = 1 << 20
_NEAR = 0.02  # of a value: how far its approximation may be from it
_RELATIVE = 1e-4  # of a rounded number: without it, everything below 5e-7 would be one number


def main(cpu_s: float, memory_mb: int) -> None:
    """Answers each line `{"pairs": [[mine, gold], ..]}` with `{"equal": true | false | null}`.

    The first line that it writes is `{"ready": true}`, or `{"error": ..}` where the library does
    not load.
    """
    _limit_memory(memory_mb * _MIB)
    with socket.socket(fileno=0) as line, line.makefile("rw", encoding="utf-8") as stream:
        try:
            import math_verify

            # The grammar loads with the first question, for seconds where nothing is compiled yet.
            compare(math_verify, "$\\frac{1}{2}$", "$0.5$")
        except Exception as error:
            _tell(stream, {"error": f"{type(error).__name__}: {error}"})
            return
        # It warns that its own limits, alarms that work in the main thread only, are off.
        logging.disable(logging.CRITICAL)
        _tell(stream, {"ready": True})
        for text in stream:
            signal.setitimer(signal.ITIMER_PROF, cpu_s)
            equal = any(compare(math_verify, *pair) for pair in json.loads(text)["pairs"])
            signal.setitimer(signal.ITIMER_PROF, 0)
            # Half of it used: what a failed request for memory left half done is not used again.
            full = _peak_bytes() > memory_mb * _MIB / 2
            _tell(stream, {"equal": None if full and not equal else equal})
            if full:
                return


def compare(library: Any, mine: str, gold: str) -> bool:
    """Whether math-verify finds an answer equal to an accepted one, both in dollars."""
    left, right = read(library, mine), read(library, gold)
    if left is None or right is None or _is_untrue(left) or not _is_near(library, left, mine):
        return False
    # Of an interval and an inequality either may be the accepted one.
    equal = library.verify(right, left, allow_set_relation_comp=True, timeout_seconds=None)
    return equal and not _far_apart(left, right)


def read(library: Any, text: str) -> Any:
    """The expression as a whole: no part of it, no unit taken off, no box looked for; None: none.

    Of its letters i is the imaginary unit, and the others are real numbers.
    """
    from latex2sympy2_extended import NormalizationConfig
    from sympy import I, Symbol

    spelling = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
    whole = library.LatexExtractionConfig(boxed_match_priority=-1, normalization_config=spelling)
    found = library.parse(
        text,
        extraction_config=[whole],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,
    )
    if not found:
        return None
    names = {symbol: symbol.name for symbol in getattr(found[0], "free_symbols", ())}
    known = {s: I if name == "i" else Symbol(name, real=True) for s, name in names.items()}
    changed = {old: new for old, new in known.items() if old != new}
    return found[0].subs(changed) if changed else found[0]


def _is_untrue(found: Any) -> bool:
    """Whether it is an equation of numbers that does not hold: 6 = 7 is no way to write 7."""
    from sympy import Eq

    links = getattr(found, "_unsorted_args", (found,))  # of a chain: x = 3 = 4
    numbers = [link for link in links if isinstance(link, Eq) and not link.free_symbols]
    return any(link.lhs.equals(link.rhs) is not True for link in numbers)


def _is_near(library: Any, exact: Any, text: str) -> bool:
    r"""Whether what stands behind an `\approx` is near: 5 \approx 6 is two answers."""
    _, sign, rounded = text.strip("$").rpartition(r"\approx")
    if not sign:
        return True
    try:
        a, b = complex(exact), complex(read(library, f"${rounded}$"))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return True  # no numbers
    return abs(a - b) <= _NEAR * max(abs(a), abs(b))


def _far_apart(left: Any, right: Any) -> bool:
    """Whether two numbers, equal to six decimals, differ by more than a ten-thousandth of them."""
    try:
        a, b = complex(left), complex(right)
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return False  # no numbers
    return 0 < max(abs(a), abs(b)) < 1 and abs(a - b) > _RELATIVE * max(abs(a), abs(b))


def _peak_bytes() -> int:
    """The most memory that this process has had."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(row.split()[1]) for row in status if row.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):  # under Linux `ru_maxrss` would begin with the parent's
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _tell(stream: Any, reply: dict[str, Any]) -> None:
    stream.write(json.dumps(reply) + "\n")
    stream.flush()


def _limit_memory(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere an interpreter maps more than that before it begins
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
