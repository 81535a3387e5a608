"""How much does a token of training cost beside TRL's SFTTrainer, and beside a padded pass?

    python benchmarks/training.py [--quick] --json FILE [--sizes 1m,3m,32k] [--model FOLDER]

Supervised steps. Ours is `Trainer.step` on plain sequences, which it packs. The peer is
`SFTTrainer.train()` as it is, one optimiser step at a time, with `packing` (`bfd`) into rows of the
same length; its own packed rows say which sequences make a step, and ours is given the same ones.
Same weights, AdamW, rate and clip, in float32 and under bfloat16 autocast, on the CPU, without
gradient checkpointing and logging. One row is one micro-batch of the peer: it lays the rows of a
micro-batch end to end, and longer ones pay for a longer mask (`--micro N` tries more). The losses
of the first step must be equal to 1e-5 in float32; in bfloat16 `loss_diff` is told: the peer also
rounds its logits, ours does not.

Grouped rows (`rows` "grouped"): a group of 8 attempts with one prompt of 200 tokens, each with 200
of its own of which half carry a weight, at vocabularies of 4k, 32k and 152k, a step of the policy
gradient with `Trainer.step`. The peer is a plain pass of transformers over the whole sequences,
logits of every place, and a masked loss. Loss and gradient must be equal to 1e-5.

Costs are CPU microseconds a token that is not padding, AdamW included. The limit is the time of the
model's own arithmetic at the speed of one large square matrix product in that number format,
measured in the same rounds: 6 FLOPs for each weight and token, without the embedding table and with
the output embeddings at the tokens that have a loss alone; 12 for each layer, width of attention
and pair of tokens that see each other; a shared prompt counts once. `share` is limit / ours.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import grouped
import supervised
from arithmetic import MATRIX
from measured import write
from sides import PAIRS, shapes
from trl_side import require_trl

from forethought.errors import ForethoughtError

SIZES = ("1m", "3m", "32k")
VOCABULARIES = (4_000, 32_000, 152_000)


def parsed(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a toy model, few short sequences")
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--sizes", help=f"of models from scratch; default {','.join(SIZES)}")
    parser.add_argument("--model", metavar="M", help="a model folder, or a name of the hub, too")
    parser.add_argument("--vocabularies", help="of the grouped rows; default 4000,32000,152000")
    parser.add_argument("--rows", type=int, help="of a supervised step; default 16, 4 with --quick")
    parser.add_argument("--micro", type=int, default=1, help="rows of a micro-batch of the peer")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"{PAIRS} (default) or more")
    args = parser.parse_args(words)
    if args.pairs < PAIRS:
        parser.error(f"--pairs {args.pairs}: fewer than {PAIRS} say too little")
    return args


def listed(text: str | None, default: tuple[Any, ...]) -> list[Any]:
    """Names or numbers between commas; none in an empty text."""
    if text is None:
        return list(default)
    kind = type(default[0])
    return [kind(word) for word in text.split(",") if word]


def main(words: list[str]) -> int:
    """Trains at every size and writes the figures."""
    args = parsed(words)
    quick, matrix = args.quick, 256 if args.quick else MATRIX
    sizes = listed(args.sizes, ("toy",) if quick else SIZES) + ([args.model] if args.model else [])
    found: list[dict[str, Any]] = []

    def save(rows: list[dict[str, Any]]) -> None:
        """Adds rows to the file: a run takes long, and what it has found is not lost."""
        found.extend(rows)
        write(
            args.json,
            (__doc__ or "").splitlines()[0],
            found,
            pairs=args.pairs,
            models=shapes(found),
        )

    try:
        if sizes:
            require_trl()
        for name in sizes:
            for bf16 in (False, True):
                print(f"{name}, {'bfloat16' if bf16 else 'float32'}", file=sys.stderr)
                plan = supervised.Plan(
                    rows=args.rows or (4 if quick else 16),
                    row_length=64 if quick else 256,
                    shortest=8 if quick else 32,
                    updates=args.pairs + 1,
                    bf16=bf16,
                    micro=args.micro,
                    matrix=matrix,
                )
                save(supervised.rows(name, plan, args.pairs))
    except ForethoughtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for vocabulary in listed(args.vocabularies, (500,) if quick else VOCABULARIES):
        print(f"grouped, vocabulary {vocabulary}", file=sys.stderr)
        group = grouped.Group(members=3, prompt=12, suffix=12) if quick else grouped.Group()
        save(grouped.rows("toy" if quick else "1m", vocabulary, group, args.pairs, matrix))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
