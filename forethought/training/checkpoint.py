"""Checkpoints: everything that a training run needs to go on to the same bytes.

A checkpoint is a folder with a plain Hugging Face model, the optimiser's state, the state of
torch's random generators, and a JSON state with hashes. It is renamed into place when it is whole,
and the file `latest.json` names it afterwards, so a run killed at any point finds the last whole
one. The last two are kept.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from forethought.errors import InputError
from forethought.jsonl import need, read_json, write_json
from forethought.training.optim import Optimiser
from forethought.training.policy import Policy

_POINTER = "latest.json"
_HASHES = ("config", "data")


def save(
    folder: str | Path, policy: Policy, optimiser: Optimiser, state: Mapping[str, Any]
) -> Path:
    """Writes a checkpoint below `folder` and makes it the latest; returns its own folder.

    Args:
        folder: holds the checkpoints of one run and stage.
        policy: its weights and tokenizer are saved.
        optimiser: its state is saved.
        state: JSON values. `step` (optimiser steps done) is needed; `config` and `data` are hashes
            that `load` compares. The hash of the weights is added as `model`.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    last = latest(root)
    name = _free_name(root, int(state["step"]))
    fresh = root / f"tmp-{name}-{os.getpid()}"
    policy.save(fresh)
    torch.save({"optimiser": optimiser.state_dict(), "rng": _random_state()}, fresh / "training.pt")
    write_json(fresh / "state.json", {**state, "model": policy.sha256()})
    fresh.rename(root / name)
    write_json(root / _POINTER, {"latest": name})
    kept = {name} if last is None else {name, last.name}
    for old in sorted(root.iterdir()):
        if old.name.startswith(("step-", "tmp-", ".tmp-")) and old.name not in kept:
            shutil.rmtree(old, ignore_errors=True)
    return root / name


def latest(folder: str | Path) -> Path | None:
    """The folder of the newest whole checkpoint below `folder`, if there is one.

    Raises:
        InputError: the pointer file is damaged or names a checkpoint that is gone.
    """
    pointer = Path(folder) / _POINTER
    if not pointer.is_file():
        return None
    row = read_json(pointer, "the name of a checkpoint")
    name: str = need(row, "latest", str, str(pointer), 1)
    found = pointer.parent / name
    if not (found / "state.json").is_file():
        raise _damaged(pointer, f"the name of a checkpoint that is not there ({found.name})")
    return found


def load(
    folder: str | Path,
    policy: Policy,
    optimiser: Optimiser,
    guard: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Puts the latest checkpoint into `policy`, `optimiser` and torch's random generators.

    Args:
        folder: what `save` was given.
        policy: of the same architecture; changed in place.
        optimiser: of the same parameters; changed in place.
        guard: hashes `config` and `data` of the run that goes on; they must be those of the
            checkpoint.

    Returns:
        The JSON state.

    Raises:
        InputError: no checkpoint, one of another config or other data, or a damaged one.
    """
    found = latest(folder)
    if found is None:
        raise InputError(
            str(folder),
            got="no checkpoint",
            expected="a folder that holds one",
            next_step="start the run without --resume",
        )
    state = read_json(found / "state.json", "the state of a checkpoint")
    if need(state, "step", int, str(found / "state.json"), 1) < 0:
        raise _damaged(found / "state.json", f"step = {state['step']}")
    try:
        training = torch.load(found / "training.pt", map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise _damaged(found, f"files that cannot be read ({error})") from error
    if not isinstance(training, dict) or not {"optimiser", "rng"} <= set(training):
        raise _damaged(found / "training.pt", "no state of an optimiser")
    _compare(found, state, guard or {})
    saved = Policy.load(found, dtype=policy.dtype, device=policy.device)
    if saved.sha256() != state.get("model"):
        raise _damaged(found, "weights that do not have the hash in state.json")
    try:
        policy.model.load_state_dict(saved.model.state_dict())
    except RuntimeError as error:
        raise InputError(
            str(found),
            got=f"weights of another model ({str(error).splitlines()[0]})",
            expected=f"those of this {type(policy.model).__name__}",
            next_step="resume with the model that wrote the checkpoint",
        ) from error
    optimiser.load_state_dict(training["optimiser"])
    _set_random_state(training["rng"])
    return state


def _free_name(root: Path, step: int) -> str:
    """`step-N`, or `step-N-r1` and so on where an earlier run has left that name."""
    name = f"step-{step:08d}"
    names = (name, *(f"{name}-r{number}" for number in range(1, 1000)))
    return next(candidate for candidate in names if not (root / candidate).exists())


def _compare(found: Path, state: Mapping[str, Any], guard: Mapping[str, str]) -> None:
    """Refuses to go on with another config or other data than the checkpoint was made with."""
    for name in _HASHES:
        if name in guard and state.get(name) != guard[name]:
            raise InputError(
                str(found),
                got=f"a checkpoint of {name} {str(state.get(name))[:12]}",
                expected=f"{name} {guard[name][:12]}, that of this run",
                next_step=f"resume with the {name} that the run began with, or start a new run "
                "in another folder",
            )


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _damaged(path: Path, got: str) -> InputError:
    return InputError(
        str(path),
        got=got,
        expected="a whole checkpoint",
        next_step="restore the folder, or remove it and start again without --resume",
    )
