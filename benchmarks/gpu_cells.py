"""What the parts of a GPU record share: files that grow cell by cell, models, clocks, ceilings."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from measured import machine

from forethought.rollout.hf.backend import HFBackend
from forethought.rollout.hf.static import again

SCHEMA = "forethought.gpu/1"
LEFT = 75  # exit code of a part that stopped before its last cell, as BSD's EX_TEMPFAIL
Cell = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a part runs and how large its cells are."""

    device: torch.device
    quick: bool

    @property
    def on_gpu(self) -> bool:
        """Whether there is something to wait for."""
        return self.device.type == "cuda"

    def seconds(self, run: Callable[[], Any]) -> float:
        """Wall time of a call and of all that it left to the device."""
        self.wait()
        begin = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - begin

    def median(self, run: Callable[[], Any], rounds: int) -> float:
        """Median of so many calls, after one that is not counted."""
        run()
        return statistics.median(self.seconds(run) for _ in range(rounds))

    def wait(self) -> None:
        """Until the device is idle."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def describe(self) -> Cell:
        """What the figures depend on."""
        names = ("torch", "transformers", "tokenizers", "numpy")
        found = {
            **machine(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in names},
            "device": str(self.device),
        }
        if self.on_gpu:
            card = torch.cuda.get_device_properties(self.device)
            found |= {"gpu": card.name, "gpu_gib": round(card.total_memory / 2**30, 1)}
            found["cuda"] = torch.version.cuda
        return found


class Part:
    """One part of the record as a file; what is in it already is not measured again."""

    def __init__(self, name: str, folder: Path, on: Machine, minutes: float) -> None:
        """Opens or begins `folder`/`name`.json.

        Raises:
            SystemExit: the file is of another device or size.
        """
        self.path = folder / f"{name}.json"
        self.on, self._end = on, time.monotonic() + 60 * minutes
        self.left: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        where = {"device": on.describe().get("gpu", "cpu"), "quick": on.quick}
        self._document: Cell = {"schema": SCHEMA, "part": name, **where, "cells": {}}
        if self.path.is_file():
            found = json.loads(self.path.read_text(encoding="utf-8"))
            other = {key: found.get(key) for key in where}
            if other != where:
                raise SystemExit(f"{self.path} is of {other}, not of {where}: choose another --out")
            self._document = found
        self._document["machine"] = on.describe()

    @property
    def cells(self) -> dict[str, Cell]:
        """What was measured so far."""
        cells: dict[str, Cell] = self._document["cells"]
        return cells

    def do(self, name: str, measure: Callable[[], Cell]) -> None:
        """Measures a cell, unless it is there or the time is up; an error is a cell, too.

        One that failed is tried again by the next run: the session may have been the reason.
        """
        if "error" not in self.cells.get(name, {"error": "none yet"}):
            return
        if time.monotonic() > self._end:
            self.left.append(name)
            return
        begin = time.monotonic()
        try:
            found = measure()
        except Exception as error:  # the file hands it on, and the other cells are worth their time
            traceback.print_exc()
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            found = {"ok": False, "error": f"{type(error).__name__}: {error} ({where})"[:600]}
        self.cells[name] = {**found, "seconds": round(time.monotonic() - begin, 1)}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self._document, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self.path)
        print(f"{name}: {json.dumps(self.cells[name])}", file=sys.stderr, flush=True)

    def end(self) -> int:
        """0; 1 where a cell is not as it should be; `LEFT` where cells are left."""
        if self.left:
            print(f"the time is up before {', '.join(self.left)}: run it again", file=sys.stderr)
            return LEFT
        return 0 if all(cell.get("ok", True) for cell in self.cells.values()) else 1


def models(quick: bool) -> tuple[str, ...]:
    """Names that `build` knows."""
    return ("tiny-llama", "tiny-qwen") if quick else ("smollm2-135m", "qwen2.5-0.5b")


def build(name: str, on: Machine) -> Any:
    """A model of the published sizes with random weights, made on the device, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    common: Cell = {"tie_word_embeddings": True, "attn_implementation": "sdpa"}
    size = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    heads = ("num_attention_heads", "num_key_value_heads", "max_position_embeddings")
    numbers = {
        "smollm2-135m": (49152, 576, 1536, 30, 9, 3, 8192),
        "qwen2.5-0.5b": (151936, 896, 4864, 24, 14, 2, 32768),
        "tiny-llama": (331, 32, 48, 2, 4, 2, 512),
        "tiny-qwen": (331, 48, 64, 2, 6, 2, 512),
    }[name]
    # Sharper than models are initialised: attention has to tell one position from another, or no
    # check sees what goes wrong there.
    common["initializer_range"] = numbers[1] ** -0.5
    shape: Any = {**dict(zip(size + heads, numbers, strict=True)), **common}
    qwen = "qwen" in name
    config: Any = (
        Qwen2Config(**shape, rms_norm_eps=1e-6, rope_theta=1e6)
        if qwen
        else LlamaConfig(**shape, rms_norm_eps=1e-5, rope_theta=1e5)
    )
    with torch.random.fork_rng(enabled=not on.on_gpu), torch.device(on.device):
        torch.manual_seed(0)
        model: Any = Qwen2ForCausalLM(config) if qwen else LlamaForCausalLM(config)
    return model.eval()


MODES = ("recorded", "growing", "again")
"""How a back-end decodes: recorded and replayed; with tensors that grow; with the buffers of the
first and no recording. Without a GPU the first is the third."""


def backend(model: Any, mode: str, dtype: torch.dtype | None = None) -> HFBackend:
    """A back-end of one of the `MODES`."""
    made = HFBackend(model, dtype=dtype)
    if mode == "growing":
        made.capturing = None
    elif mode == "again" or made.capturing is None:
        made.capturing = lambda: again
    return made


def recordings(made: HFBackend) -> int:
    """How many steps a back-end has recorded so far."""
    return 0 if made._static is None else made._static.captures


def ceilings(on: Machine) -> Cell:
    """What the card does at most: copies within its memory, and a matrix product in bfloat16."""
    size, side = (1 << 22, 256) if on.quick else (1 << 30, 8192)
    source = torch.zeros(size, dtype=torch.uint8, device=on.device)
    target = torch.empty_like(source)
    copy = on.median(lambda: target.copy_(source), 10)
    a, b = (torch.randn(side, side, device=on.device, dtype=torch.bfloat16) for _ in range(2))
    product = on.median(lambda: a @ b, 10)
    return {
        "copy_gb_s": round(2 * size / copy / 1e9, 2),  # bytes read and bytes written
        "matmul_tflop_s": round(2 * side**3 / product / 1e12, 3),
    }


def hidden_weights(model: Any) -> int:
    """Weights of the layers, without the embeddings that are the head as well."""
    total = sum(p.numel() for p in model.parameters())
    return total - int(model.get_input_embeddings().weight.numel())


def keep_deterministic_workspaces() -> None:
    """What cuBLAS must be told before its first call if algorithms are to be deterministic."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def largest(values: Sequence[float]) -> float:
    """The largest of them, short enough to read."""
    return float(f"{max(values, default=0.0):.3g}")
