"""The likelihood filter: how much likelier does a block make the right answer?

A reference model reads state and block and scores the answer; so much more than from the state
alone, and the block carries the answer in a form that the other filters do not see. The gain is the
information gain of IGPO (a published step reward) used as a filter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forethought.errors import MissingError
from forethought.types import Foresight

CODE = "likelihood"
"""The reason code of this filter."""

Score = Callable[[str, str], float]
"""(context, continuation) -> log p(continuation | context) in nats, summed over its tokens."""


def gain(state: str, block: Foresight, answer: str, score: Score) -> float:
    """Gain log p(answer | state, block) - log p(answer | state) of a reference model, in nats."""
    told = "\n".join((block.roadmap, ", ".join(block.keywords), block.analysis))
    ending = "\nAnswer:"
    continuation = f" {answer.strip()}"
    with_block = score(f"{state}\n{told}{ending}", continuation)
    return with_block - score(f"{state}{ending}", continuation)


def load_scorer(name: str) -> Score:
    """A scorer on a Hugging Face causal language model (folder or name), on the CPU.

    Raises:
        MissingError: the model cannot be loaded.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name)
        model: Any = AutoModelForCausalLM.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise MissingError(
            f"model {name!r} ({str(error).splitlines()[0]})",
            next_step="pass a folder with a model, or fetch one with `forethought fetch`",
        ) from error
    model.eval()
    return lambda context, continuation: _log_probability(model, tokenizer, context, continuation)


def _log_probability(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    """Sum of the log-probabilities of the continuation's tokens, temperature 1."""
    import torch

    head = tokenizer(context)["input_ids"]
    tail = tokenizer(continuation, add_special_tokens=False)["input_ids"]
    if not head or not tail:
        return 0.0
    ids = torch.tensor([head + tail])  # [1, L]
    with torch.no_grad():
        logits = model(ids).logits[0, len(head) - 1 : -1]  # [len(tail), vocabulary]
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    return float(logprobs.gather(1, ids[0, len(head) :, None]).sum())
