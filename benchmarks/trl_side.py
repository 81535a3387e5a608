"""TRL as the other side: whether it is here, and its trainers one optimiser step at a time."""

from __future__ import annotations

import os
import threading
from importlib import metadata, util
from typing import Any

from forethought.errors import MissingError

VERSION = "1.16.0"  # the one that both scripts were written against
PLAIN = {  # of any TRL configuration: the CPU, no files, nothing recomputed, nothing told
    "use_cpu": True,
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
}


def require_trl() -> str:
    """The version of TRL.

    Raises:
        MissingError: TRL or the data sets that it trains on are not installed.
    """
    for name in ("trl", "datasets"):
        if util.find_spec(name) is None:
            raise MissingError(
                f"the Python package {name}, the other side of this benchmark",
                next_step=f"pip install 'trl=={VERSION}' datasets",
            )
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # a thread of its own, and nobody's training
    import datasets

    datasets.disable_progress_bars()
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return metadata.version("trl")


class _Left(Exception):
    """Ends a training run whose remaining steps nobody wants."""


class Stepper:
    """Runs `trainer.train()` as it is, one optimiser step a call of `step`.

    The run has a thread of its own, which waits in a callback before each step; so what lies
    between two steps (the next batch, its callbacks) is part of one, as in any run.
    """

    def __init__(self, trainer: Any) -> None:
        """Begins the run and waits until it is ready for its first step."""
        from transformers import PrinterCallback, TrainerCallback

        stepper = self

        class Gate(TrainerCallback):  # type: ignore[misc]
            """Waits before each step."""

            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                """Tells that the last step is over, and waits for leave to begin the next."""
                stepper._ready.release()
                stepper._go.acquire()
                if stepper._closed:
                    raise _Left

        self.trainer = trainer
        self._go, self._ready = threading.Semaphore(0), threading.Semaphore(0)
        self._closed = False
        self._error: BaseException | None = None
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Gate())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._wait()

    def step(self) -> None:
        """One optimiser step.

        Raises:
            RuntimeError: the run has no further step.
        """
        if not self._thread.is_alive():
            raise RuntimeError("the training run of the other side is over")
        self._go.release()
        self._wait()

    def close(self) -> None:
        """Ends the run."""
        self._closed = True
        self._go.release()
        self._thread.join()

    def _wait(self) -> None:
        self._ready.acquire()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self.trainer.train()
        except _Left:
            pass
        except BaseException as error:  # handed to whoever waits for the step
            self._error = error
        finally:
            self._ready.release()
