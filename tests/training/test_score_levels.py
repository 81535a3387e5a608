from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_builders import byte_policy, rollout, turn, word_policy

from forethought.errors import InputError
from forethought.training.levels import score_levels
from forethought.training.policy import Policy
from forethought.types import Rollout


def word_rollouts(policy: Policy) -> list[Rollout]:
    def one(numeral: str, before: str, after: str) -> object:
        stated = f"<confidence> {numeral} % </confidence>"
        text = f"<think> {before} </think> {stated} <answer> {after} </answer>"
        return turn(policy, text, stated, int(numeral) / 100, "a b c")

    return [
        rollout(
            policy, "a b ;", [one("65", "a", "b"), one("5", "c d e", "f"), one("100", "g", "h")]
        ),  # type: ignore[list-item]
        rollout(policy, "c ; d e f g", [one("0", "b b b b", "a")]),  # type: ignore[list-item]
    ]


def byte_rollouts(policy: Policy) -> list[Rollout]:
    def one(stated: str, q: float, before: str = "") -> object:
        return turn(policy, f"{before}<think>x</think>{stated}<answer>b</answer>", stated, q, "ok")

    return [
        rollout(
            policy,
            "who?",
            [
                one("<confidence>65%</confidence>", 0.65),  # type: ignore[list-item]
                one("<confidence> 10 %</confidence>", 0.1, "hm, "),  # type: ignore[list-item]
                one("**Confidence**\n100%\n", 1.0),  # type: ignore[list-item]
            ],
        ),
        rollout(policy, "a longer question?", [one("<confidence>5%</confidence>", 0.05)]),  # type: ignore[list-item]
    ]


def contexts(item: Rollout) -> list[list[int]]:
    """The ids before each turn."""
    ids, found = list(item.prompt_ids), []
    for each in item.turns:
        found.append(list(ids))
        ids += each.past_ids
    return found


def forgetful(item: Rollout) -> Rollout:
    """The rollout where later turns see only the last three tokens of the first."""
    first, *rest = item.turns
    return replace(item, turns=(replace(first, kept_ids=first.ids[-3:]), *rest))


def enumerated(
    policy: Policy, context: list[int], strings: list[list[int]], t: float
) -> list[float]:
    """One forward pass a level: the naive way."""
    sums = []
    for string in strings:
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([context + string])).logits[0]
        logprobs = (logits / t).log_softmax(-1)
        begin = len(context) - 1
        sums.append(sum(float(logprobs[begin + n, token]) for n, token in enumerate(string)))
    return torch.tensor(sums, dtype=torch.float64).softmax(-1).tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_levels_of_one_token_equal_naive_enumeration(temperature: float, batch_tokens: int) -> None:
    policy = word_policy(2)
    items = word_rollouts(policy)
    items += [forgetful(items[0])]
    scored = score_levels(policy, items, temperature=temperature, batch_tokens=batch_tokens)
    ids = policy.level_ids()
    assert ids is not None
    for item, levels in zip(items, scored, strict=True):
        for each, before, got in zip(item.turns, contexts(item), levels, strict=True):
            slot = next(n for n, token in enumerate(each.ids) if token in ids)
            context = before + list(each.ids[:slot])
            wanted = enumerated(policy, context, [[token] for token in ids], temperature)
            assert got == pytest.approx(wanted, abs=1e-6)
            assert sum(got or ()) == pytest.approx(1.0)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_levels_of_several_tokens_equal_naive_enumeration(
    temperature: float, batch_tokens: int
) -> None:
    policy = byte_policy(3)
    items = byte_rollouts(policy)
    items += [forgetful(items[0])]
    scored = score_levels(policy, items, temperature=temperature, batch_tokens=batch_tokens)
    gaps = {"<confidence> 10 %</confidence>": " "}
    for item, levels in zip(items, scored, strict=True):
        for each, before, got in zip(item.turns, contexts(item), levels, strict=True):
            assert each.parsed.foresight is not None
            stated = each.parsed.foresight.q_text
            digit = next(n for n, char in enumerate(stated) if char.isdigit())
            # One token a byte up to the number, so characters count tokens.
            slot = each.text.index(stated) + digit
            context = before + list(each.ids[:slot])
            strings = [
                policy.tokenizer.encode(f"{5 * n}{gaps.get(stated, '')}%", add_special_tokens=False)
                for n in range(21)
            ]
            assert len({len(string) for string in strings}) > 1
            wanted = enumerated(policy, context, strings, temperature)
            assert got == pytest.approx(wanted, abs=1e-6)


def test_the_number_that_was_written_does_not_change_its_own_score() -> None:
    for policy, make in ((word_policy(2), word_rollouts), (byte_policy(3), byte_rollouts)):
        item = make(policy)[0]
        first = item.turns[0]
        assert first.parsed.foresight is not None
        written = first.parsed.foresight.q_text
        other = turn(policy, first.text.replace("65", "20"), written.replace("65", "20"), 0.2)
        changed = replace(item, turns=(other,))
        assert score_levels(policy, [item])[0][0] == pytest.approx(
            score_levels(policy, [changed])[0][0], abs=1e-6
        )


def test_a_turn_without_a_readable_number_is_not_scored() -> None:
    policy = word_policy()
    item = word_rollouts(policy)[0]
    first, second, third = item.turns
    unread = turn(policy, "<confidence> a </confidence> b", "<confidence> a </confidence>", None)
    plain = replace(second, parsed=replace(second.parsed, foresight=None))
    mixed = replace(item, turns=(unread, plain, third))
    scored = score_levels(policy, [mixed, replace(item, turns=())])
    assert scored[0][:2] == [None, None]
    assert scored[0][2] is not None
    assert scored[1] == []
    assert score_levels(policy, [replace(item, turns=(first,))])[0][0] is not None


def test_scoring_leaves_the_model_as_it_was_and_refuses_temperature_0() -> None:
    policy = word_policy()
    items = word_rollouts(policy)
    policy.model.train()
    before = policy.sha256()
    score_levels(policy, items)
    assert policy.model.training
    assert policy.sha256() == before
    with pytest.raises(InputError, match="temperature"):
        score_levels(policy, items, temperature=0.0)
