"""In-process sampling from any `transformers` causal language model.

Requests that arrive in the same turn of the event loop are decoded as one batch, in order of
submission. Keys and values live per session through an episode: a turn prefills only the ids that
are new, the last sampled token and the observation.
"""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from forethought.algos.prefixes import common_length
from forethought.errors import InputError, MissingError
from forethought.rollout.backend import Completion, Request
from forethought.rollout.hf.cache import KvLayout, probe_layout
from forethought.rollout.hf.lean import LeanLlama, lean_llama
from forethought.rollout.hf.sampler import StopRule
from forethought.rollout.hf.static import Capture, StaticSteps, cuda_capture, static_steps
from forethought.rollout.hf.wave import Row, Wave, WaveOptions
from forethought.training.modules import evaluating

if TYPE_CHECKING:
    from forethought.schema import RolloutConfig
    from forethought.training.policy import Policy


PREFILL_TOKENS = 2048
"""Ids of one prefill pass. Larger ones leave the cache of a core: 16,384 cost 17 % more CPU time
for whole rollouts of a model of a million parameters, with the same samples."""

GPU_PREFILL_TOKENS = 32_768
"""The same on a GPU, which has to be kept busy and has the memory."""


@dataclass(slots=True)
class BackendStats:
    """What a back-end has done so far, in tokens."""

    prefilled: int = 0  # ids run through the model as prompt or observation
    reused: int = 0  # ids of requests that were found in a cache or shared in a wave
    sampled: int = 0
    waves: int = 0


@dataclass(frozen=True, slots=True)
class _Session:
    ids: tuple[int, ...]  # those whose keys and values are in kv
    kv: torch.Tensor  # [2 * layers, K, len(ids), D]; never written to


@dataclass(slots=True)
class _Waiting:
    request: Request
    future: asyncio.Future[Completion]


class HFBackend:
    """Samples with a model of this process.

    Without `dtype` the given module itself is run, so a trainer that updates it in place shares its
    weights; call `load_weights` after each update all the same: it drops what was cached.
    """

    def __init__(
        self,
        model: Any,
        *,
        tokenizer: Any | None = None,
        max_batch: int = 256,
        dtype: torch.dtype | None = None,
        pause_below: float = 0.0,
        on_token: Callable[[Request, int], None] | None = None,
    ) -> None:
        """Takes a model.

        Args:
            model: a `transformers` causal language model.
            tokenizer: needed only for stop strings.
            max_batch: most requests decoded at a time; the rest wait, in order.
            dtype: decode with a copy whose matrices have this type, under autocast, as a trainer
                with autocast computes: `torch.bfloat16`.
            pause_below: a wave ends when fewer than this share of its rows go on; they pause, where
                all requests of the wave allow it. 0 = never.
            on_token: called with the request and the id of every token as it is sampled.

        Raises:
            InputError: `max_batch` < 1.
        """
        if max_batch < 1:
            raise InputError(
                "HFBackend",
                got=f"max_batch = {max_batch}",
                expected="a number from 1 on",
                next_step="correct rollout.max_batch",
            )
        self._model = model if dtype is None else _narrowed(model, dtype)
        self._dtype = dtype
        self._stop_rule = StopRule(tokenizer)
        self._max_batch = max_batch
        self._pause_below = pause_below
        self._on_token = on_token
        self._layout: KvLayout | None = None
        self._sessions: dict[str, _Session] = {}
        self._waiting: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._version = 0
        device = self._model.device
        on_gpu = device.type == "cuda"
        # Most ids, padding included, of one prefill pass.
        self.prefill_tokens = GPU_PREFILL_TOKENS if on_gpu else PREFILL_TOKENS
        # How decode steps are recorded; None: they are not. A graph is of the current device.
        self.capturing: Callable[[], Capture] | None = None
        if on_gpu and device.index in (None, torch.cuda.current_device()):
            self.capturing = cuda_capture
        self._static: StaticSteps | None = None
        self._lean: LeanLlama | None = None
        self.stats = BackendStats()

    async def generate(self, request: Request) -> Completion:
        """Samples one turn, together with all requests made in the same turn of the loop.

        Raises:
            InputError: an empty sequence, one that fills the model's context already, or stop
                strings without a tokenizer.
        """
        self._stop_rule.check(request.sampling)
        self._budget(request)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # requests of a loop that is gone have nobody to answer to
            self._loop, self._waiting = loop, []
        waiting = _Waiting(request, loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            loop.call_soon(self._gather, 0)
        return await waiting.future

    def release(self, session: str) -> None:
        """Forgets a session's keys and values."""
        self._sessions.pop(session, None)

    async def load_weights(self, weights: Any, version: int) -> None:
        """Takes the weights of a module, of a policy (its `model`), or of a state dict.

        Raises:
            InputError: names or shapes do not fit the model.
        """
        module = weights if isinstance(weights, torch.nn.Module) else None
        if module is None and not isinstance(weights, Mapping):
            module = weights.model
        if module is not self._model:
            state = weights if module is None else module.state_dict()
            try:
                self._model.load_state_dict(state)
            except RuntimeError as error:
                raise InputError(
                    "weights",
                    got=str(error).splitlines()[0],
                    expected=f"the parameters of this {type(self._model).__name__}",
                    next_step="load weights of the same architecture",
                ) from error
        self._sessions.clear()
        self._version = version

    async def close(self) -> None:
        """Drops all sessions; requests that wait end as `abort`."""
        self._sessions.clear()
        if self._static is not None:
            self._static.close()
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            if not item.future.done():
                item.future.set_result(Completion(ids=(), logprobs=(), stop="abort"))

    def _budget(self, request: Request) -> int:
        """Most tokens that a request may sample: its own bound and the model's positions."""
        positions = getattr(self._model.config, "max_position_embeddings", None)
        left = request.sampling.max_tokens
        if positions is not None:
            left = min(left, positions - len(request.ids))
        if not request.ids or left < 1:
            raise InputError(
                f"request of session {request.session}",
                got=f"{len(request.ids)} ids",
                expected=f"1 to {positions - 1 if positions else 'any number of'} ids",
                next_step="lower rollout.max_context_tokens or take a model with more positions",
            )
        return left

    def _gather(self, seen: int) -> None:
        """Waits until a turn of the loop brings no new request, then runs what is there."""
        if len(self._waiting) > seen:
            asyncio.get_running_loop().call_soon(self._gather, len(self._waiting))
            return
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), self._max_batch):
            batch = [w for w in waiting[first : first + self._max_batch] if not w.future.done()]
            if not batch:
                continue
            try:
                completions = self._run([item.request for item in batch])
            except Exception as error:  # handed to every caller that waits, not swallowed
                for item in waiting[first:]:
                    if not item.future.done():
                        item.future.set_exception(error)
                return
            for item, completion in zip(batch, completions, strict=True):
                if not item.future.done():  # cancelled meanwhile: the run is being interrupted
                    item.future.set_result(completion)

    def _run(self, requests: list[Request]) -> list[Completion]:
        kind, narrow = self._model.device.type, self._dtype is not None
        with evaluating(self._model), torch.autocast(kind, dtype=self._dtype, enabled=narrow):
            rows, prefilled = self._wave(requests)
        self._count(rows, prefilled)
        return [self._completion(row) for row in rows]

    def _wave(self, requests: list[Request]) -> tuple[list[Row], int]:
        if self._layout is None:
            self._layout = probe_layout(self._model)
            if self.capturing is not None:
                self._static = static_steps(self._model, self._layout, self.capturing)
            self._lean = lean_llama(self._model, self._layout)
        rows = [self._row(request) for request in requests]
        self._check_window(rows, self._layout)
        options = WaveOptions(
            model=self._model,
            layout=self._layout,
            stop_rule=self._stop_rule,
            static=self._static,
            lean=self._lean,
            prefill_tokens=self.prefill_tokens,
            pause_below=self._pause_below,
            on_token=self._on_token,
            on_end=self._keep,
        )
        wave = Wave(rows, options)
        wave.run()
        return rows, wave.prefilled

    def _completion(self, row: Row) -> Completion:
        assert row.stop is not None
        return Completion(
            ids=tuple(row.sampled),
            logprobs=tuple(row.logprobs),
            stop=row.stop,
            policy_version=self._version,
        )

    def _row(self, request: Request) -> Row:
        """A row with the longest cached beginning, of its own session or else its parent's."""
        best = 0
        kv: torch.Tensor | None = None
        for name in (request.session, request.parent):
            session = self._sessions.get(name) if name is not None else None
            if session is None:
                continue
            # The last id is always run: its logits are what is sampled from.
            common = min(common_length(session.ids, request.ids), len(request.ids) - 1)
            if common > best:
                best, kv = common, session.kv[:, :, :common]
        return Row(request=request, budget=self._budget(request), cached=best, kv=kv)

    def _keep(self, row: Row, kv: torch.Tensor) -> None:
        ids = (*row.request.ids, *row.sampled[:-1])
        self._sessions[row.request.session] = _Session(ids=ids, kv=kv)

    def _count(self, rows: list[Row], prefilled: int) -> None:
        self.stats.prefilled += prefilled
        self.stats.reused += sum(len(row.request.ids) for row in rows) - prefilled
        self.stats.sampled += sum(len(row.logprobs) for row in rows)
        self.stats.waves += 1

    def _check_window(self, rows: list[Row], layout: KvLayout) -> None:
        longest = max(len(row.request.ids) + row.budget for row in rows)
        if layout.slides == "unknown" and layout.window is not None and longest > layout.window:
            raise MissingError(
                f"batched decoding of {longest} tokens with windows of {layout.window} and more "
                "that are not all the same sliding window",
                next_step="lower rollout.max_context_tokens to the window, or use another back-end",
            )


def _narrowed(model: Any, dtype: torch.dtype) -> Any:
    """A copy of the model with its matrices in `dtype`; norms, sums, embeddings, logits stay wide.

    That is what the trainer computes under autocast, without casting the weights at every token, so
    both sides give the same log-probabilities but for rounding. A model that is narrow as a whole
    adds up its layers in `dtype`, and logits of 16 in bfloat16 are 0.125 apart.
    """
    narrow = copy.deepcopy(model)
    head = narrow.get_output_embeddings()
    for module in narrow.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            weight = module.weight.detach().to(dtype)
            module.weight = torch.nn.Parameter(weight, requires_grad=False)
    head.forward = functools.partial(_wide, head)
    return narrow


def _wide(head: Any, features: torch.Tensor) -> torch.Tensor:
    """The logits in the number format of the head's own weights, autocast or not."""
    with torch.autocast(features.device.type, enabled=False):
        return torch.nn.functional.linear(features.to(head.weight.dtype), head.weight, head.bias)


def backend_for(
    policy: Policy,
    bounds: RolloutConfig,
    on_token: Callable[[Request, int], None] | None = None,
) -> HFBackend:
    """The back-end that a run samples a policy with; `on_token` hears every token."""
    return HFBackend(
        policy.model,
        tokenizer=policy.tokenizer,
        max_batch=bounds.max_batch,
        pause_below=bounds.pause_below,
        dtype=torch.bfloat16 if bounds.bf16 else None,
        on_token=on_token,
    )
