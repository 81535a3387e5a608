"""What every benchmark writes: medians with their units, the machine, one schema."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np


def spread(values: Sequence[float], unit: str) -> dict[str, Any]:
    """Median, least and largest."""
    numbers = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {**{name: round(value, 4) for name, value in numbers.items()}, "unit": unit}


def ratio(theirs: Sequence[float], mine: Sequence[float]) -> dict[str, float]:
    """Peer / ours of the medians; above 1 ours takes less. The bounds are of the extremes."""
    found = {
        "value": statistics.median(theirs) / statistics.median(mine),
        "lo": min(theirs) / max(mine),
        "hi": max(theirs) / min(mine),
    }
    return {key: round(value, 4) for key, value in found.items()}


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """Slope of log y over log x; None for fewer than two different x."""
    if len({x for x, _ in points}) < 2:
        return None
    x, y = (np.log([point[i] for point in points]) for i in (0, 1))
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def memory_mb(line: str) -> float | None:
    """A line of /proc/self/status; None where the system has no such file."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(line)), None)


def peak_mb() -> float | None:
    """Peak resident memory. Not `ru_maxrss`, which a child begins with its parent's of."""
    return memory_mb("VmHWM")


def private_mb() -> float | None:
    """Memory that no file backs."""
    return memory_mb("RssAnon")


def machine() -> dict[str, Any]:
    """Where it was measured; the load is that of the whole machine at the end."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next(
        (x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor()
    )
    torch = metadata.version("torch") if util.find_spec("torch") else None
    threads = os.environ.get("OMP_NUM_THREADS")
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else math.nan
    return {"cpu": model, "cores": os.cpu_count(), "threads": threads, "torch": torch, "load": load}


def write(path: str, question: str, rows: Sequence[dict[str, Any]], **more: Any) -> None:
    """The document of a benchmark."""
    document = {
        "schema": "forethought.bench/1",
        "question": question,
        "rows": list(rows),
        **more,
        "machine": machine(),
    }
    Path(path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
