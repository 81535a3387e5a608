"""A policy: one causal language model with its tokenizer, in a plain Hugging Face folder.

Training and scoring run the model in two halves, `features` over whole rows and `project` over the
few positions that have a loss, because the vocabulary is the most expensive layer of a small model.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forethought.data.models import locate_model
from forethought.errors import InputError, MissingError
from forethought.rollout.level_tokens import level_ids
from forethought.training.modules import evaluating, hooked

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MASKED_LAYERS = frozenset({"full_attention", "sliding_attention"})


@dataclass(slots=True, eq=False)
class Policy:
    """A model that writes tokens. Its weights change in place while it trains."""

    model: Any  # a `transformers` causal language model
    tokenizer: Any
    _direct: bool | None = field(default=None, init=False, repr=False)  # see `_is_direct`
    _levels: tuple[tuple[int, ...] | None] | None = field(default=None, init=False, repr=False)

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        *,
        dtype: str | torch.dtype = "float32",
        device: str | torch.device | None = None,
    ) -> Policy:
        """Loads a local Hugging Face folder, or a model of the hub by name.

        Args:
            path_or_name: a folder, or a name such as `HuggingFaceTB/SmolLM2-135M-Instruct`.
            dtype: number format of the weights.
            device: where they go; None: FORETHOUGHT_DEVICE, else a GPU if there is one.

        Raises:
            InputError: no such folder, a folder without a whole model, an unknown dtype or device.
            MissingError: a hub model that is neither in the cache nor within reach.
        """
        where, local_only = locate_model(str(path_or_name))
        kind = _dtype(dtype)
        target = choose_device(device)
        with _Quiet():
            model, info = _from_pretrained(
                lambda auto: auto.AutoModelForCausalLM.from_pretrained(
                    where,
                    dtype=kind,
                    attn_implementation="sdpa",
                    local_files_only=local_only,
                    output_loading_info=True,
                ),
                where,
                local_only,
            )
        tokenizer = load_tokenizer(path_or_name)
        if info["missing_keys"]:
            absent = sorted(info["missing_keys"])
            raise InputError(
                where,
                got=f"weights without {absent[0]} ({len(absent)} parameters absent)",
                expected="all parameters of the model",
                next_step="download or save the model again",
            )
        model.to(target)
        model.eval()
        return cls(model, tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    def num_parameters(self) -> int:
        """Number of weights, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def copy(self) -> Policy:
        """The same weights in a model of its own, which does not learn."""
        model = copy.deepcopy(self.model).requires_grad_(False)
        return Policy(model=model.eval(), tokenizer=self.tokenizer)

    def train_last(self, layers: int) -> None:
        """Lets only the last `layers` decoder layers learn; 0: every weight.

        What lies below them needs no gradient, so a step costs a third of its forward and backward
        pass plus the share of layers that learn.

        Raises:
            InputError: the model has fewer layers.
        """
        stacks = [list(m) for m in self.model.modules() if isinstance(m, torch.nn.ModuleList)]
        stack = max(stacks, key=len, default=[])
        if layers > len(stack):
            raise InputError(
                "model.train_last_layers",
                got=str(layers),
                expected=f"0 (all weights) to {len(stack)}, the layers of this model",
                next_step="lower model.train_last_layers",
            )
        self.model.requires_grad_(layers == 0)
        for layer in stack[len(stack) - layers :]:
            layer.requires_grad_(True)

    def untie(self) -> None:
        """Gives the output embeddings weights of their own, equal to the shared ones for now.

        What trains the readout of a number would else change how that number is read later on.
        """
        head, table = self.model.get_output_embeddings(), self.model.get_input_embeddings()
        if head.weight is table.weight:
            head.weight = torch.nn.Parameter(table.weight.detach().clone())
            self.model.config.tie_word_embeddings = False
            self.model.all_tied_weights_keys = {}  # what `save_pretrained` would leave out

    def sha256(self) -> str:
        """Hash of all weights with their names, shapes and number formats.

        The same before `save` and after `load`, on any device and whatever the files look like.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(raw.numpy().data)
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes a plain Hugging Face folder: a reader sees the old one or the whole new one.

        Raises:
            InputError: `path` is a file, or a folder that holds something else than a model.
        """
        folder = Path(path)
        _refuse_foreign(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f".{folder.name}.new-{os.getpid()}")
        old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
        for left_over in (fresh, old):
            shutil.rmtree(left_over, ignore_errors=True)
        with _Quiet():
            self.model.save_pretrained(fresh)
            self.tokenizer.save_pretrained(fresh)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)

    def word_ids(self, words: Sequence[str]) -> frozenset[int]:
        """Ids of words that are one token each."""
        return frozenset(self.tokenizer.convert_tokens_to_ids(list(words)))

    def level_ids(self) -> tuple[int, ...] | None:
        """The token ids of the 21 levels, see `forethought.rollout.level_tokens`."""
        if self._levels is None:
            self._levels = (level_ids(self.tokenizer),)
        return self._levels[0]

    def features(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """What `project` turns into logits: the hidden states [B, L, D] of every position.

        A model that does more behind its last layer than one projection (a soft cap, a scale) is
        run as a whole, and the features are its logits [B, L, V].

        Args:
            ids: [B, L].
            mask: [B, L, K + L] bool, who may see whom; None: every position sees those before it.
            positions: [B, L] position ids; None: 0, 1, ..
            cache: a `transformers` cache of K tokens that stand before; takes in these ones. None:
                K = 0, and nothing is kept.
        """
        direct = self._projects()
        module = self.model.base_model if direct else self.model
        output = module(
            input_ids=ids,
            attention_mask=None if mask is None else self._attention_mask(mask),
            position_ids=positions,
            **({"use_cache": False} if cache is None else {"past_key_values": cache}),
        )
        features: Tensor = output.last_hidden_state if direct else output.logits
        return features

    def project(self, features: Tensor) -> Tensor:
        """Logits [n, V] of gathered features [n, *]."""
        if not self._projects():
            return features
        logits: Tensor = self.model.get_output_embeddings()(features)
        return logits

    def plain_head(self) -> Tensor | None:
        """The output embeddings [V, D]; None where `project` is not just their products."""
        head = self.model.get_output_embeddings()
        plain = self._projects() and type(head) is torch.nn.Linear and head.bias is None
        return head.weight if plain and not hooked(head) else None

    def _projects(self) -> bool:
        if self._direct is None:
            self._direct = self._is_direct()
        return self._direct

    @torch.no_grad()
    def _is_direct(self) -> bool:
        """Whether the logits are just the output embeddings of the last hidden states."""
        head = self.model.get_output_embeddings()
        if head is None or self.model.base_model is self.model:
            return False
        ids = torch.arange(4, device=self.device).unsqueeze(0) % self.model.config.vocab_size
        with evaluating(self.model):
            hidden = self.model.base_model(input_ids=ids, use_cache=False)
            whole = self.model(input_ids=ids, use_cache=False).logits
        last = getattr(hidden, "last_hidden_state", None)
        return last is not None and torch.equal(head(last), whole)

    def mask_problem(self, columns: float) -> str:
        """Why the model cannot take a mask of that many columns; empty where it can."""
        config = self.model.config
        kinds = getattr(config, "layer_types", None) or ()
        sliding = not kinds or "sliding_attention" in kinds
        window = getattr(config, "sliding_window", None) if sliding else None
        if not _MASKED_LAYERS.issuperset(kinds):
            return "its layers are not all attention"
        if window is not None and columns > window:
            return f"{columns} tokens are more than its sliding window of {window}"
        if config._attn_implementation not in ("sdpa", "eager"):
            return f"attention of the kind {config._attn_implementation}"
        return ""

    def _attention_mask(self, mask: Tensor) -> Tensor:
        """A mask [B, L, K + L] in the form that the model's attention takes.

        Raises:
            MissingError: the model cannot keep documents of a row apart.
        """
        if problem := self.mask_problem(mask.shape[-1]):
            raise MissingError(
                f"a mask by documents for {type(self.model).__name__}: {problem}",
                next_step="load the model with SDPA attention, train with share_rows off, or "
                "lower rollout.max_context_tokens",
            )
        if self.model.config._attn_implementation == "sdpa":
            return mask.unsqueeze(1)
        hidden = torch.zeros(mask.shape, dtype=self.dtype, device=mask.device)
        return hidden.masked_fill_(~mask, torch.finfo(self.dtype).min).unsqueeze(1)


def load_tokenizer(path_or_name: str | Path) -> Any:
    """The tokenizer of a model folder or hub model; errors as `Policy.load`."""
    where, local_only = locate_model(str(path_or_name))
    with _Quiet():
        return _from_pretrained(
            lambda auto: auto.AutoTokenizer.from_pretrained(where, local_files_only=local_only),
            where,
            local_only,
        )


def _from_pretrained(load: Callable[[Any], Any], where: str, local_only: bool) -> Any:
    """Runs a loader of `transformers` and names what went wrong in our words."""
    import transformers

    try:
        return load(transformers)
    except OSError as error:
        if Path(where).is_dir():
            raise _unusable(where, error) from error
        step = "switch HF_HUB_OFFLINE and FORETHOUGHT_OFFLINE off, or name a local folder"
        raise MissingError(
            f"model {where} ({_first_line(error)})",
            next_step=step if local_only else "check the name and the network, or use a folder",
        ) from error
    except Exception as error:  # foreign code says in many ways that it cannot use the files
        raise _unusable(where, error) from error


def _unusable(where: str, error: Exception) -> InputError:
    return InputError(
        where,
        got=f"a model that does not load ({_first_line(error)})",
        expected="a causal language model with safetensors weights and a tokenizer",
        next_step="download or save the model again",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise InputError(
            "model.dtype",
            got=repr(dtype),
            expected=" | ".join(_DTYPES),
            next_step="choose one of these",
        )
    return _DTYPES[dtype]


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device that a model goes to: the one named, else FORETHOUGHT_DEVICE, else the best.

    Raises:
        InputError: no name of a device.
        MissingError: a device that is not here.
    """
    name = device or os.environ.get("FORETHOUGHT_DEVICE")
    if not name:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        target = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            "FORETHOUGHT_DEVICE",
            got=repr(name),
            expected="a device such as cpu, cuda or cuda:1",
            next_step="correct it",
        ) from error
    try:
        torch.zeros(1, device=target).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's ways to say no
        step = "set FORETHOUGHT_DEVICE=cpu"
        raise MissingError(f"device {target} ({_first_line(error)})", next_step=step) from error
    return target


def _refuse_foreign(folder: Path) -> None:
    """A save replaces a whole folder, so it must be one of ours or empty."""
    foreign = folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").is_file()
    )
    if foreign:
        raise InputError(
            str(folder),
            got="a file" if folder.is_file() else "a folder with other things in it",
            expected="a new name, an empty folder, or a model folder to replace",
            next_step="save somewhere else",
        )


class _Quiet:
    """Keeps the progress bars of `transformers` off standard error."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *exception: object) -> None:
        from transformers.utils import logging

        if self._shown:
            logging.enable_progress_bar()
