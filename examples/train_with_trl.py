"""Training with TRL on a corpus of ours, with its loss weights.

    forethought corpus RUN --stage sft --format trl --out corpus
    python examples/train_with_trl.py corpus RUN/midtrain/model out

A row has `input_ids`, `labels` (-100 where nothing trains) and `loss_weights`. Where all weights
are 0 or 1, which they are but for `midtrain.lambda_obs`, a plain `SFTTrainer` takes the rows as
well and has the same loss; it ignores the weights. docs/corpus.md has the columns.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch

IGNORED = -100


def collate(rows: list[dict[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Rows as tensors [B, L], padded on the right."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(values: list[list[Any]], filler: float) -> torch.Tensor:
        return torch.tensor([[*row, *[filler] * (width - len(row))] for row in values])

    return {
        "input_ids": padded([row["input_ids"] for row in rows], pad_id),
        "attention_mask": padded([[1] * len(row["input_ids"]) for row in rows], 0),
        "labels": padded([row["labels"] for row in rows], IGNORED),
        "loss_weights": padded([row["loss_weights"] for row in rows], 0.0),
    }


def weighted_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> Any:
    """Sum of weight times cross-entropy; the logits of a position predict the next token."""
    each = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2),
        labels[:, 1:],
        ignore_index=IGNORED,
        reduction="none",
    )
    return (each * weights[:, 1:]).sum()


def weighted(trainer: type[Any]) -> type[Any]:
    """A class of `trainer` (TRL's SFTTrainer, or transformers' Trainer) whose tokens have weights.

    An optimiser step divides by the sum of its weights over all accumulated batches and processes,
    as our trainer does.
    """

    class WeightedTrainer(trainer):  # type: ignore[misc]
        def get_batch_samples(self, *args: Any) -> tuple[list[Any], Any]:
            batches, _ = super().get_batch_samples(*args)
            total = sum(batch["loss_weights"].sum() for batch in batches)
            return batches, self.accelerator.gather(total.to(self.args.device)).sum()

        def compute_loss(
            self,
            model: Any,
            inputs: Any,
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            labels, weights = inputs.pop("labels"), inputs.pop("loss_weights")
            outputs = model(**inputs, use_cache=False)
            loss = weighted_loss(outputs.logits, labels, weights)
            if num_items_in_batch is None:
                loss = loss / weights.sum()
            else:  # gradients are averaged over processes
                loss = loss * self.accelerator.num_processes / num_items_in_batch
            return (loss, outputs) if return_outputs else loss

    return WeightedTrainer


def train(corpus: str, model: str, out: str, **settings: Any) -> Any:
    """Trains and saves a model; returns the trainer. `settings` are of SFTConfig."""
    try:
        from datasets import load_dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import SFTConfig, SFTTrainer
    except ImportError as error:
        raise SystemExit(f"{error}. Next: pip install 'forethought[trl,datasets]'") from error
    tokenizer = AutoTokenizer.from_pretrained(model)
    config = SFTConfig(
        output_dir=out,
        max_length=None,  # nothing is cut off
        dataset_kwargs={"skip_prepare_dataset": True},  # rows are ready
        remove_unused_columns=False,  # loss_weights is no input of the model
        **settings,
    )
    trainer = weighted(SFTTrainer)(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=config,
        train_dataset=load_dataset("json", data_files=f"{corpus}/shard-*.jsonl", split="train"),
        data_collator=partial(collate, pad_id=tokenizer.pad_token_id or 0),
        processing_class=tokenizer,
    )
    trainer.loss_is_scaled_for_ga = True  # by the sum of the weights of all accumulated batches
    trainer.train()
    trainer.save_model(out)
    return trainer


def main() -> None:
    """Trains from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", help="folder that `forethought corpus --format trl` wrote")
    parser.add_argument("model", help="model to start from, with the tokenizer of the corpus")
    parser.add_argument("out", help="folder for the model")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=8, help="rows a device and forward pass")
    args = parser.parse_args()
    train(
        args.corpus,
        args.model,
        args.out,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch,
    )


if __name__ == "__main__":
    main()
