"""A wave hands back the few turns that are not over, and they go on as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")

from rollout_builders import generate, prompts, request, tiny_model
from rollout_toys import CONFIG, FORM, TOKENIZER, start

from forethought.rollout.backend import Completion, Request, Sampling
from forethought.rollout.engine import run_rollouts_sync
from forethought.rollout.hf.backend import HFBackend


def finish(backend: HFBackend, requests: list[Request]) -> tuple[list[Completion], int]:
    """Whole turns in the order of the requests, and the number of pauses."""
    ids: list[tuple[int, ...]] = [() for _ in requests]
    logprobs: list[tuple[float, ...]] = [() for _ in requests]
    done: dict[int, Completion] = {}
    pauses = 0
    while len(done) < len(requests):
        open_ones = [n for n in range(len(requests)) if n not in done]
        asked = [
            replace(
                requests[n],
                ids=(*requests[n].ids, *ids[n]),
                begun=len(ids[n]),
                sampling=replace(
                    requests[n].sampling,
                    max_tokens=requests[n].sampling.max_tokens - len(ids[n]),
                ),
                may_pause=True,
            )
            for n in open_ones
        ]
        for n, part in zip(open_ones, generate(backend, asked), strict=True):
            ids[n] += part.ids
            logprobs[n] += part.logprobs
            if part.stop == "pause":
                pauses += 1
            else:
                done[n] = replace(part, ids=ids[n], logprobs=logprobs[n])
    return [done[n] for n in range(len(requests))], pauses


def uneven(temperature: float, num: int = 9) -> list[Request]:
    return [
        request(ids, str(n), n, max_tokens=2 + 5 * n, temperature=temperature)
        for n, ids in enumerate(prompts(num))
    ]


@pytest.mark.parametrize("kind", ["llama", "neox", "qwen3"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_turns_with_pauses_are_those_without(kind: str, temperature: float) -> None:
    model = tiny_model(kind)
    whole = generate(HFBackend(model), uneven(temperature))
    parts, pauses = finish(HFBackend(model, pause_below=0.5), uneven(temperature))
    assert pauses > 0
    assert [(c.ids, c.stop) for c in parts] == [(c.ids, c.stop) for c in whole]
    for a, b in zip(parts, whole, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_nothing_pauses_that_may_not_and_a_zero_switches_pauses_off() -> None:
    model = tiny_model("llama")
    mixed = [replace(one, may_pause=n != 3) for n, one in enumerate(uneven(1.0))]
    assert all(c.stop != "pause" for c in generate(HFBackend(model, pause_below=0.5), mixed))
    _, pauses = finish(HFBackend(model), uneven(1.0))
    assert pauses == 0


def test_at_least_as_many_rows_end_as_the_share_says() -> None:
    model = tiny_model("llama")
    asked = [replace(one, may_pause=True) for one in uneven(1.0)]
    kinds = Counter(c.stop for c in generate(HFBackend(model, pause_below=0.5), asked))
    assert kinds["pause"] == 4 and kinds["length"] == 5


def test_a_rest_reads_only_the_token_that_was_sampled_last() -> None:
    backend = HFBackend(tiny_model("llama"), pause_below=0.5)
    asked = uneven(1.0)
    _, pauses = finish(backend, asked)
    assert backend.stats.prefilled == sum(len(one.ids) for one in asked) + pauses


class Letters:
    """A tokenizer whose every id is a letter."""

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return "".join(chr(ord("a") + n % 26) for n in ids)


def test_a_stop_string_may_begin_before_the_pause() -> None:
    model, ids = tiny_model("llama"), (3, 4, 5)
    free = generate(HFBackend(model), [request(ids, "a", 1, max_tokens=6)])[0].ids
    stop = Letters().decode(free[1:4])
    assert Letters().decode(free).find(stop) == 1
    backend = HFBackend(model, tokenizer=Letters())
    bounds: dict[str, Any] = {"max_tokens": 4, "stop_strings": (stop,)}
    begun = replace(request((*ids, *free[:2]), "b", 1, **bounds), begun=2)
    rest, unaware = generate(backend, [begun, replace(begun, begun=0, session="c")])
    assert (rest.ids, rest.stop) == (free[2:4], "stop")
    assert unaware.ids != rest.ids


def test_episodes_do_not_know_of_pauses_and_waves_get_fuller() -> None:
    model = tiny_model("qwen3", seed=3)  # its steps call `forward`, which is counted
    model.resize_token_embeddings(len(TOKENIZER))
    config = replace(CONFIG, sampling=Sampling(max_tokens=25, temperature=1.5), max_turns=4)
    rows: dict[float, list[int]] = {}
    rollouts = {}
    for share in (0.0, 0.5):
        backend = HFBackend(model, pause_below=share)
        forward, seen = model.forward, rows.setdefault(share, [])

        def counted(
            *args: Any, forward: Any = forward, seen: list[int] = seen, **options: Any
        ) -> Any:
            seen.append(len(options["input_ids"]))
            return forward(*args, **options)

        model.forward = counted
        starts = [start(n) for n in range(24)]
        found = run_rollouts_sync(starts, backend, FORM, TOKENIZER, config)
        model.forward = forward
        rollouts[share] = [replace(one, wall_s=0.0) for one in found]
    assert [[t.ids for t in r.turns] for r in rollouts[0.5]] == [
        [t.ids for t in r.turns] for r in rollouts[0.0]
    ]
    assert [r.stop_reason for r in rollouts[0.5]] == [r.stop_reason for r in rollouts[0.0]]
    assert len(rows[0.5]) < len(rows[0.0])
    assert len({len(r.turns) for r in rollouts[0.5]}) > 1
