"""P(True): a policy that can be asked is asked whether its attempt succeeds (arXiv 2207.05221).

Behind what was really sampled stands one more question, and the estimate is the probability of the
word True against False. It needs a model that answers questions: one with a chat template, or one
that is prompted with instructions. The tiny models of the synthetic worlds have no words for the
question, and what they know of success they can say at the confidence slot alone; for them P(True)
is undefined, not something read off that slot again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from forethought.rollout.render import TextFormat, encode
from forethought.training.modules import evaluating
from forethought.training.policy import Policy
from forethought.types import Rollout

QUESTIONS = {
    "first": "Will this attempt end with the right answer? Reply with one word, True or False.",
    "last": "Is the answer of this attempt right? Reply with one word, True or False.",
}
"""Cut -> what is asked behind the turn of that cut, its observation not yet seen."""
NO_WORDS = "the policy cannot be asked: no chat template, and no instructions in its prompts"
NOT_TOLD = "the first tokens of True and False are the same"

_MARK = "forethought-mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A question as tokens, and the first tokens of its two replies."""

    tail: tuple[int, ...]
    yes: int
    no: int


def asking(text_format: TextFormat, tokenizer: Any, cut: str) -> Asking | str:
    """How a policy is asked; or why it cannot be."""
    question = QUESTIONS[cut]
    if getattr(tokenizer, "chat_template", None):
        talk = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": _MARK},
            {"role": "user", "content": question},
        ]
        whole = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        tail, replies = whole.split(_MARK, 1)[1], ("True", "False")
    elif text_format.prompt_style != "bare":
        tail, replies = f"\n\n{question}\nReply:", (" True", " False")
    else:
        return NO_WORDS
    ids = encode(tokenizer, tail)
    # The first token of a reply is looked for where it stands: behind the question.
    yes, no = (encode(tokenizer, tail + reply)[len(ids) :] for reply in replies)
    if not yes or not no or yes[0] == no[0]:
        return NOT_TOLD
    return Asking(tail=ids, yes=yes[0], no=no[0])


@torch.no_grad()
def p_true(
    policy: Policy,
    rollouts: Sequence[Rollout],
    cut: str,
    how: Asking,
    *,
    batch_tokens: int = 4096,
) -> list[float | None]:
    """P(True) / (P(True) + P(False)) of each rollout, at temperature 1.

    Args:
        policy: is asked.
        rollouts: with the ids that were sampled.
        cut: `first`, behind the first turn; `last`, behind the last.
        how: from `asking` with the same cut.
        batch_tokens: bound on the tokens of a forward pass, padding included (at least one rollout
            is always run).

    Returns:
        None: no turn, or more tokens than the model has positions.
    """
    longest = getattr(policy.model.config, "max_position_embeddings", None)
    rows = [_row(rollout, cut, how) for rollout in rollouts]
    found: list[float | None] = [None] * len(rows)
    order = [n for n, row in enumerate(rows) if row and (longest is None or len(row) <= longest)]
    order.sort(key=lambda n: -len(rows[n]))
    with evaluating(policy.model):
        while order:
            size = max(1, batch_tokens // len(rows[order[0]]))
            batch, order = order[:size], order[size:]
            width = len(rows[batch[0]])
            # Padding stands behind the last real token, where a causal model does not look.
            ids = torch.tensor([rows[n] + [0] * (width - len(rows[n])) for n in batch])
            features = policy.features(ids.to(policy.device))
            last = [len(rows[n]) - 1 for n in batch]
            logits = policy.project(features[list(range(len(batch))), last]).float()
            chance = torch.sigmoid(logits[:, how.yes] - logits[:, how.no])
            for n, value in zip(batch, chance.tolist(), strict=True):
                found[n] = value
    return found


def _row(rollout: Rollout, cut: str, how: Asking) -> list[int]:
    """What the policy reads: the prompt, the turns up to that of the cut, the question."""
    if not rollout.turns:
        return []
    before = () if cut == "first" else rollout.turns[:-1]
    turn = rollout.turns[0 if cut == "first" else -1]
    ids = [*rollout.prompt_ids, *(i for one in before for i in one.past_ids), *turn.ids]
    # A turn that ended with the token that the question begins with has said it already.
    tail = how.tail[1:] if ids[-1:] == list(how.tail[:1]) else how.tail
    return [*ids, *tail]
