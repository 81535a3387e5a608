"""What a model knows of the future before any format is taught: linear probes on atlas.

    python studies/probes.py RUN [RUN/STAGE ...] --json FILE

Reads the hidden state of each layer at the last question token, and at the end of the first query,
where the way is chosen and nothing of it is seen yet. A linear classifier is fitted there for what
the first search will bring (sign and region of the page, whether the page is gone) and for the
success of the episode, on trajectories of the scripted wanderer: training worlds fit, validation
worlds test. Without models named: base and midtrain of the run. The lines `words` are the same
classifier on the words up to that place, which is what a probe must beat.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forethought.config import read_resolved
from forethought.domains.atlas import AtlasDomain
from forethought.hindsight.corpus import CorpusBuilder
from forethought.hindsight.trajectory import Trajectory
from forethought.runlog import RunPaths
from forethought.stats.metrics import auroc
from forethought.training.policy import Policy
from forethought.worlds.atlas.text import parse_pages, parse_query

FIT, TEST = 4000, 2000  # trajectories
RIDGE = 1e-3
STEPS = 60
PLACES = ("question", "query")
TARGETS = ("sign", "region", "gone", "success")


def targets(trajectory: Trajectory) -> dict[str, str]:
    """What came of the first search, as class names; without a page no sign and no region."""
    first = trajectory.steps[0]
    query = parse_query(first.action.text)
    pages = [p for p in parse_pages(first.observation) if (p.relation, p.subject) == query]
    found = {"gone": str(not pages), "success": str(trajectory.success)}
    if pages:
        found |= {"sign": pages[0].sign, "region": pages[0].object_region}
    return found


@torch.inference_mode()
def hidden_states(policy: Policy, texts: Sequence[Sequence[int]]) -> Tensor:
    """[layers + 1, N, D] of the last token of each text."""
    rows: list[Tensor] = []
    for ids in texts:
        output = policy.model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
        rows.append(torch.stack([state[0, -1] for state in output.hidden_states]))
    return torch.stack(rows, dim=1)


def text_until(
    domain: AtlasDomain, tokenizer: Any, trajectory: Trajectory, place: str
) -> list[int]:
    """The ids of an episode without blocks up to the end of the question or of the first query."""
    first = replace(trajectory.steps[0], observation="")
    builder = CorpusBuilder(
        text_format=domain.text_format, tokenizer=tokenizer, writer=domain.writer
    )
    sequence = builder.imitation(replace(trajectory, steps=(first,))).sequence
    end = next(n for n, weight in enumerate(sequence.ce_weight) if weight)
    return list(sequence.ids if place == "query" else sequence.ids[:end])


def bag_of_words(texts: Sequence[Sequence[int]], vocabulary: int) -> Tensor:
    """[N, V] how often each word stands in a text."""
    bags = torch.zeros(len(texts), vocabulary)
    for number, ids in enumerate(texts):
        for token in ids:
            bags[number, token] += 1
    return bags


def linear_probe(x_fit: Tensor, y_fit: Tensor, x_test: Tensor, classes: int) -> Tensor:
    """Class probabilities [N, C] of a regularised softmax regression fitted by L-BFGS."""
    mean, scale = x_fit.mean(0), x_fit.std(0) + 1e-6
    x_fit, x_test = (x_fit - mean) / scale, (x_test - mean) / scale
    weights = torch.zeros(x_fit.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, bias], max_iter=STEPS, line_search_fn="strong_wolfe", history_size=20
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(x_fit @ weights + bias, y_fit)
        value = value + RIDGE * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return (x_test @ weights + bias).softmax(1).detach()


def score(probabilities: Tensor, y: Tensor) -> dict[str, float]:
    """Nats below the entropy of the test classes, and accuracy or, of two classes, AUROC."""
    picked = probabilities[torch.arange(len(y)), y].clamp(min=1e-9).log()
    share = torch.bincount(y, minlength=probabilities.shape[1]) / len(y)
    entropy = -(share[share > 0] * share[share > 0].log()).sum()
    found = {"nats_gained": float(picked.mean() + entropy)}
    if probabilities.shape[1] == 2:
        one = np.ones((1, len(y)))
        q, outcome = probabilities[:, 1].double().numpy(), y.double().numpy()
        return {**found, "auroc": float(auroc(q, outcome, one)[0])}
    return {**found, "accuracy": float((probabilities.argmax(1) == y).double().mean())}


def probe(x: Tensor, rows: Sequence[dict[str, str]], target: str) -> dict[str, float]:
    """Fits on the first `FIT` rows and scores on the rest, rows without the target left out."""
    names = sorted({row[target] for row in rows if target in row})
    kept = [n for n, row in enumerate(rows) if target in row]
    y = torch.tensor([names.index(rows[n][target]) for n in kept])
    fit = torch.tensor([n < FIT for n in kept])
    chosen = x[torch.tensor(kept)]
    found = linear_probe(chosen[fit], y[fit], chosen[~fit], len(names))
    return {**score(found, y[~fit]), "n": int((~fit).sum())}


def main() -> None:
    """Prints a line a model and layer, and writes all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("stages", nargs="*", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    domain = AtlasDomain.from_config(read_resolved(RunPaths(args.run).resolved))
    policies = {
        str(stage): Policy.load(str(stage / "model"))
        for stage in args.stages or [args.run / "base", args.run / "midtrain"]
    }
    tokenizer = next(iter(policies.values())).tokenizer
    found = [
        *domain.trajectories(FIT, tokenizer),
        *domain.trajectories(TEST, tokenizer, split="val"),
    ]
    rows = [targets(trajectory) for trajectory in found]
    lines: list[dict[str, object]] = []
    for place in PLACES:
        texts = [text_until(domain, tokenizer, trajectory, place) for trajectory in found]
        lines += _lines(f"{place}: words", 0, bag_of_words(texts, len(tokenizer)), rows)
        for name, policy in policies.items():
            for layer, states in enumerate(hidden_states(policy, texts)):
                lines += _lines(f"{place}: {name}", layer, states, rows)
    if args.json:
        args.json.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")


def _lines(
    name: str, layer: int, x: Tensor, rows: Sequence[dict[str, str]]
) -> list[dict[str, object]]:
    found = {target: probe(x, rows, target) for target in TARGETS}
    shown = "  ".join(
        f"{target} " + " ".join(f"{key} {value:.3f}" for key, value in cells.items() if key != "n")
        for target, cells in found.items()
    )
    print(f"{name} layer {layer}: {shown}", flush=True)
    return [{"model": name, "layer": layer, "target": t, **cells} for t, cells in found.items()]


if __name__ == "__main__":
    main()
