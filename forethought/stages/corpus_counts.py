"""What corpus.json counts: sequences, tokens read and trained, and passes to an equal dose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from forethought.hindsight.corpus import Written
from forethought.types import JsonRow


@dataclass(slots=True)
class Counts:
    """Sums over sequences."""

    sequences: int = 0
    trained_tokens: int = 0  # with a weight
    trained_weight: float = 0.0  # the denominator of the loss, were all of them one batch
    reply_tokens: int = 0  # of observations, which have a denominator of their own
    block_tokens: int = 0
    forwarded_as_episodes: int = 0  # tokens that a pass reads, one sequence an episode
    forwarded_as_turns: int = 0  # the same, one row a turn with its history

    def add(self, written: Written, turns: Iterable[Written]) -> None:
        """Counts a sequence, and its single turns. What has no weight is read in neither form."""
        weights, replies = written.sequence.ce_weight, written.sequence.obs_weight
        trained, told = (sum(weight != 0 for weight in each) for each in (weights, replies))
        self.sequences += 1
        self.trained_tokens += trained
        self.trained_weight += sum(weights)
        self.reply_tokens += told
        self.block_tokens += written.block_tokens
        self.forwarded_as_episodes += len(weights) if trained or told else 0
        self.forwarded_as_turns += sum(len(turn.sequence.ids) for turn in turns)

    def as_row(self) -> JsonRow:
        """The counts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def corpus_document(
    head: JsonRow, sections: dict[str, Any], shards: Sequence[dict[str, JsonRow]]
) -> JsonRow:
    """What stands in corpus.json.

    Args:
        head: what the corpus was made of.
        sections: settings of the stage for each set; the first set is the one it trains on.
        shards: what was counted of each shard, by set.
    """
    names = [field.name for field in fields(Counts)]
    totals = {
        name: {count: sum(shard[name][count] for shard in shards) for count in names}
        for name in sections
    }
    main, epochs = next(iter(sections)), next(iter(sections.values())).epochs
    sets = {
        name: {
            "blocks": section.corpus if getattr(section, "blocks", True) else "none",
            **totals[name],
            "passes": {
                count: _passes(totals[main][count] * epochs, totals[name][count])
                for count in ("trained_tokens", "block_tokens")
            },
            "shards": [
                {key: shard[name][key] for key in ("file", "lines", "bytes", "sha256")}
                for shard in shards
                if shard[name]["file"] is not None
            ],
        }
        for name, section in sections.items()
    }
    return {**head, "epochs": epochs, "sets": sets}


def _passes(dose: float, one_pass: int) -> float | None:
    """Passes over a set until it has had the dose; None where it never has."""
    return round(dose / one_pass, 4) if one_pass else None
