"""Episodes of a random-weight policy: schedules, branches and log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from rollout_builders import VOCAB, tiny_model
from rollout_toys import CONFIG, FORM, TOKENIZER, start

from forethought.rollout.backend import Completion, Request, Sampling
from forethought.rollout.engine import Start, run_rollouts_sync
from forethought.rollout.hf.backend import HFBackend
from forethought.rollout.render import TextFormat
from forethought.types import Rollout, Turn


def random_policy() -> Any:
    assert len(TOKENIZER) <= VOCAB
    model = tiny_model("llama-gqa", seed=3)
    with torch.no_grad():  # only words of the vocabulary, never the end token
        model.resize_token_embeddings(len(TOKENIZER))
    return model


def sampled(model: Any, starts: Sequence[Start], **options: Any) -> list[Rollout]:
    config = replace(CONFIG, sampling=Sampling(max_tokens=25, temperature=1.5), max_turns=4)
    config = replace(config, max_context_tokens=110)
    return run_rollouts_sync(starts, HFBackend(model, **options), FORM, TOKENIZER, config)


def test_the_same_keys_give_the_same_rollouts() -> None:
    model = random_policy()
    once = sampled(model, [start(n, index=n) for n in range(8)])
    again = sampled(model, [start(n, index=n) for n in range(8)])
    assert [replace(r, wall_s=0.0) for r in once] == [replace(r, wall_s=0.0) for r in again]
    assert len({r.turns[0].ids for r in once}) == 8
    assert any(len(r.turns) > 1 for r in once)
    other = [replace(start(n), noise=(n, 1)) for n in range(8)]
    assert [r.turns[0].ids for r in sampled(model, other)] != [r.turns[0].ids for r in once]


def test_a_branch_with_the_same_key_samples_what_the_trunk_sampled() -> None:
    model = random_policy()
    trunks = [r for r in sampled(model, [start(n) for n in range(12)]) if len(r.turns) > 1]
    assert trunks
    for trunk in trunks:
        number = int(trunk.task.id[1:])
        branch = start(number, turns=trunk.turns[:1], prompt_ids=trunk.prompt_ids)
        [again] = sampled(model, [branch])
        assert [t.ids for t in again.turns] == [t.ids for t in trunk.turns]


def test_turns_that_forget_are_sampled_behind_what_was_kept() -> None:
    model = random_policy()
    backend = HFBackend(model)
    asked: list[tuple[int, ...]] = []
    generate = backend.generate

    async def heard(request: Request) -> Completion:
        asked.append(request.ids[: len(request.ids) - request.begun])
        return await generate(request)

    backend.generate = heard  # type: ignore[method-assign]
    config = replace(CONFIG, sampling=Sampling(max_tokens=25, temperature=1.5), max_turns=3)
    form = Forgetful(name="toy", spaced=True)
    starts = [start(n) for n in range(6)]
    rollouts = run_rollouts_sync(starts, backend, form, TOKENIZER, config)
    wanted = set()
    for rollout in rollouts:
        past = rollout.prompt_ids
        for turn in rollout.turns:
            wanted.add(past)
            assert turn.kept_ids == turn.ids[-2:]
            with torch.inference_mode():
                logits = model(torch.tensor([past + turn.ids])).logits[0].float() / 1.5
            expected = logits.log_softmax(-1)
            for n, (token, logprob) in enumerate(zip(turn.ids, turn.logprobs, strict=True)):
                assert abs(float(expected[len(past) + n - 1, token]) - logprob) < 1e-4
            past += turn.ids[-2:] + turn.observation_ids
    assert set(asked) == wanted
    assert any(len(rollout.turns) > 1 for rollout in rollouts)


class Forgetful(TextFormat):
    """Later turns see the last two tokens of a turn, and the reply."""

    def build_turn(self, *args: Any) -> Turn:
        made = super().build_turn(*args)
        return replace(made, kept_ids=made.ids[-2:])


def test_log_probabilities_of_an_episode_are_those_of_one_forward_pass() -> None:
    model = random_policy()
    forced = tuple(TOKENIZER.encode("<think> x", add_special_tokens=False))
    for rollout in sampled(model, [start(n, prefix_ids=forced) for n in range(6)]):
        whole = list(rollout.prompt_ids)
        places, known = [], []
        for number, turn in enumerate(rollout.turns):
            skip = len(forced) if number == 0 else 0
            assert turn.logprobs[:skip] == (0.0,) * skip
            places += range(len(whole) + skip, len(whole) + len(turn.ids))
            known += turn.logprobs[skip:]
            whole += [*turn.ids, *turn.observation_ids]
        with torch.inference_mode():
            logits = model(torch.tensor([whole])).logits[0].float() / 1.5
        expected = logits.log_softmax(-1)
        for place, logprob in zip(places, known, strict=True):
            assert abs(expected[place - 1, whole[place]].item() - logprob) < 1e-3
