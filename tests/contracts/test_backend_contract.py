"""What every back-end promises to the engine. A new back-end adds one case."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from forethought.errors import InputError  # noqa: E402
from forethought.rollout.backend import Backend, Completion, Request, Sampling  # noqa: E402
from forethought.rollout.hf.backend import HFBackend  # noqa: E402
from forethought.rollout.scripted import ScriptedBackend  # noqa: E402
from forethought.rollout.served import Pieces, ServedBackend  # noqa: E402
from forethought.training.tiny import build_word_tokenizer  # noqa: E402
from tests.chat_fakes import Body, FakeServer, Response, completion  # noqa: E402

TOKENIZER = build_word_tokenizer(["a", "b", "c", "end"])


@dataclass(frozen=True)
class Case:
    """A back-end, a prompt in its ids, and how its ids are read."""

    make: Callable[[], Backend]
    prompt: tuple[int, ...]
    text: Callable[[Sequence[int]], str]
    weights: Any = None  # what it can take; None = none


def _words(session: str, noise: tuple[int, ...], text: str) -> str:
    return " ".join("abc"[(noise[0] + n) % 3] for n in range(6))


def _served(body: Body) -> Response:
    words = [f"w{body['seed'] % 97}-{n}" for n in range(6)]
    kept = words[: body["max_tokens"]]
    finish = "length" if len(kept) < len(words) else "stop"
    return completion(" ".join(kept), finish, completion_tokens=len(kept))


def _model() -> Any:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    shape = LlamaConfig(
        **size, vocab_size=len(TOKENIZER), num_attention_heads=2, max_position_embeddings=64
    )
    return LlamaForCausalLM(shape).eval()


def _decode(ids: Sequence[int]) -> str:
    return str(TOKENIZER.decode(list(ids)))


PROMPT = tuple(TOKENIZER.encode("a b", add_special_tokens=False))
ASKED = tuple(Pieces().apply_chat_template([{"role": "user", "content": "a b"}]))
CASES = {
    "scripted": Case(lambda: ScriptedBackend(_words, TOKENIZER), PROMPT, _decode, {}),
    "hf": Case(
        lambda: HFBackend(_model(), tokenizer=TOKENIZER), PROMPT, _decode, _model().state_dict()
    ),
    "served": Case(
        lambda: ServedBackend(FakeServer(_served).client(parallel=3)), ASKED, Pieces().decode
    ),
}
every_backend = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def asked(case: Case, number: int, max_tokens: int = 12) -> Request:
    return Request(
        ids=case.prompt,
        session=f"s{number}",
        noise=(number, 0),
        sampling=Sampling(max_tokens=max_tokens),
    )


def generate(backend: Backend, requests: Sequence[Request]) -> list[Completion]:
    async def work() -> list[Completion]:
        return list(await asyncio.gather(*(backend.generate(one) for one in requests)))

    return asyncio.run(work())


@every_backend
def test_the_same_requests_give_the_same_turns_whatever_else_runs(case: Case) -> None:
    together = generate(case.make(), [asked(case, n) for n in range(5)])
    alone = [generate(case.make(), [asked(case, n)])[0] for n in range(5)]
    backwards = generate(case.make(), [asked(case, n) for n in reversed(range(5))])
    assert [c.ids for c in together] == [c.ids for c in alone]
    assert [c.ids for c in together] == [c.ids for c in reversed(backwards)]
    assert len({case.text(c.ids) for c in together}) > 1


@every_backend
def test_one_instance_serves_one_loop_after_another(case: Case) -> None:
    backend = case.make()
    first = generate(backend, [asked(case, 1)])
    assert [c.ids for c in generate(backend, [asked(case, 1)])] == [c.ids for c in first]


@every_backend
def test_a_bound_on_tokens_cuts_the_turn_and_says_so(case: Case) -> None:
    for completed in generate(case.make(), [asked(case, n, 3) for n in range(5)]):
        assert len(completed.ids) <= 3
        assert completed.stop in ("stop", "length")
        assert (len(completed.ids) == 3) or completed.stop == "stop"


@every_backend
def test_every_token_has_a_log_probability(case: Case) -> None:
    for completed in generate(case.make(), [asked(case, n) for n in range(3)]):
        assert len(completed.logprobs) == len(completed.ids)
        assert all(value <= 0.0 for value in completed.logprobs)


@every_backend
def test_a_session_that_is_not_known_may_be_released(case: Case) -> None:
    case.make().release("never opened")


@every_backend
def test_new_weights_are_taken_with_their_version_or_refused(case: Case) -> None:
    backend = case.make()
    if case.weights is None:
        with pytest.raises(InputError, match="weights"):
            asyncio.run(backend.load_weights({}, 3))
        return
    asyncio.run(backend.load_weights(case.weights, 3))
    assert generate(backend, [asked(case, 0)])[0].policy_version == 3


@every_backend
def test_closing_ends_what_waits(case: Case) -> None:
    backend = case.make()

    async def work() -> Completion:
        task = asyncio.ensure_future(backend.generate(asked(case, 0)))
        await asyncio.sleep(0)
        await backend.close()
        return await task

    assert asyncio.run(work()).stop in ("abort", "stop", "length")
