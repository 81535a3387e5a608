"""The tokens of a recorded episode, as they were sampled and as the trainer would see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from forethought.algos.batching import SupervisedRule, reinforced, remembering, supervised
from forethought.algos.credit import credit_episodes
from forethought.config import read_resolved
from forethought.domains import make_domain
from forethought.errors import InputError
from forethought.rollout.spans import token_spans
from forethought.runfiles import read_tokens
from forethought.runlog import RunPaths, read_episodes
from forethought.schema import RunConfig
from forethought.training.credit import credit_config, reinforce_config
from forethought.training.policy import Policy
from forethought.types import Episode, JsonRow, Rollout, Span, Task, TrainingSequence, Turn

# The last stage in the name counts: an arm may be called after one, such as fe-sft-grpo.
_EVALUATION = re.compile(
    r"(?:(?P<arm>.+)-)?(?P<stage>base|midtrain|sft|rl)(?:-(?:greedy|imagine\d+))?"
)


def token_rows(run: Path, evaluation: str, name: str) -> Iterator[JsonRow]:
    """One row a token of an episode of RUN/evals/EVALUATION.

    Args:
        run: folder of a run.
        evaluation: name of the evaluation, such as "rl".
        name: task id, or "task id/rollout".

    Raises:
        InputError: no such run, evaluation or episode.
    """
    paths = RunPaths(run)
    config = read_resolved(paths.resolved)
    file = paths.eval_dir(evaluation) / "episodes.jsonl"
    episodes = read_episodes(file)
    index = _find(episodes, name, str(file))
    policy = Policy.load(str(_model_of(paths, evaluation)), dtype=config.model.dtype)
    tokens = _recorded(paths.eval_dir(evaluation) / "tokens.jsonl", episodes, index, policy)
    rollout = _rollout(episodes[index], tokens, config, policy)
    yield from _rows(rollout, episodes, index, config, policy)


def _find(episodes: Sequence[Episode], name: str, where: str) -> int:
    for index, episode in enumerate(episodes):
        if name in (episode.task_id, f"{episode.task_id}/{episode.rollout}"):
            return index
    known = ", ".join(e.task_id for e in episodes[:3])
    raise InputError(
        where,
        got=f"episode {name!r}",
        expected=f"a task id of this file, such as {known}",
        next_step="see `forethought view RUN`",
    )


def _recorded(file: Path, episodes: Sequence[Episode], index: int, policy: Policy) -> JsonRow:
    """The sampled ids of an episode, which must be of these episodes and of this model."""
    rows = read_tokens(file)
    if len(rows) != len(episodes):
        raise _other(
            file, len(rows), f"{len(rows)} rollouts", f"{len(episodes)}, as episodes.jsonl"
        )
    row, episode = rows[index], episodes[index]
    name = f"{row['task_id']}/{row['rollout']} with {len(row['turns'])} turns"
    wanted = f"{episode.task_id}/{episode.rollout} with {len(episode.turns)} turns"
    if name != wanted:
        raise _other(file, index + 1, name, wanted)
    parts = [turn[key] for turn in row["turns"] for key in ("ids", "observation_ids")]
    largest = max((max(ids, default=0) for ids in (row["prompt_ids"], *parts)), default=0)
    if largest >= len(policy.tokenizer):
        vocabulary = f"ids below {len(policy.tokenizer)}, the vocabulary of the model"
        raise _other(file, index + 1, f"id {largest}", vocabulary)
    return row


def _other(file: Path, line: int, got: str, expected: str) -> InputError:
    return InputError(
        str(file),
        line=line,
        got=got,
        expected=expected,
        next_step="restore the files of this evaluation, or evaluate again",
    )


def _model_of(paths: RunPaths, evaluation: str) -> Path:
    """The model that an evaluation such as `rl`, `sft-greedy` or `ARM-rl` was made with."""
    found = _EVALUATION.fullmatch(evaluation)
    if found is None:
        return paths.root / evaluation / "model"
    return paths.root / (found["arm"] or "") / found["stage"] / "model"


def _rollout(episode: Episode, tokens: JsonRow, config: RunConfig, policy: Policy) -> Rollout:
    """The rollout with the ids and log-probabilities that were recorded when it was sampled."""
    blocks = any(turn.foresight is not None for turn in episode.turns)
    text_format = make_domain(config).text_format
    turns = []
    for turn, recorded in zip(episode.turns, tokens["turns"], strict=True):
        parsed = text_format.parse(turn.text, "foresight" if blocks else "plain")
        ids = tuple(recorded["ids"])
        turns.append(
            Turn(
                ids=ids,
                logprobs=tuple(recorded["logprobs"]),
                text=turn.text,
                parsed=parsed,
                token_spans=tuple(token_spans(policy.tokenizer, ids, turn.text, parsed.spans)),
                observation=turn.observation,
                observation_ids=tuple(recorded["observation_ids"]),
            )
        )
    task = Task(id=episode.task_id, question=episode.question, answers=episode.answers, kind="qa")
    return Rollout(
        task=task,
        index=episode.rollout,
        env=episode.env,
        prompt_ids=tuple(tokens["prompt_ids"]),
        turns=tuple(turns),
        answer=episode.answer,
        stop_reason=episode.stop_reason,
        error=episode.error,
        wall_s=episode.wall_s,
    )


def _rows(
    rollout: Rollout,
    episodes: Sequence[Episode],
    index: int,
    config: RunConfig,
    policy: Policy,
) -> Iterator[JsonRow]:
    credits = credit_episodes(episodes, credit_config(config.rl))
    outcome = float(episodes[index].success or 0)
    rule = reinforce_config(
        config.rl,
        outcome=outcome,
        level_ids=policy.level_ids(),
        decision_ids=policy.word_ids(make_domain(config).writer.decisions),
    )
    yield from layout_rows(rollout, reinforced(rollout, credits[index], rule), policy.tokenizer)


def layout_rows(rollout: Rollout, earned: TrainingSequence, tokenizer: Any) -> Iterator[JsonRow]:
    """One row a token of a rollout, prompt and observations included.

    Args:
        rollout: with the ids that were sampled.
        earned: what stage 3 made of it, as one document (`algos.batching.in_order`).
        tokenizer: decodes each id by itself.
    """
    taught = supervised(remembering(rollout), SupervisedRule())
    for number, (span, turn, sampled) in enumerate(_layout(rollout)):
        yield {
            "index": number,
            "id": taught.ids[number],
            "text": tokenizer.decode([taught.ids[number]]),
            "span": span.value,
            "turn": turn,
            "sampled": sampled,
            "ce_weight": taught.ce_weight[number],
            "pg_weight": earned.pg_weight[number],
            "advantage": earned.advantage[number],
            "sampling_logprob": earned.sampling_logprobs[number] if sampled else None,
        }


def _layout(rollout: Rollout) -> list[tuple[Span, int | None, bool]]:
    layout: list[tuple[Span, int | None, bool]] = [
        (Span.PROMPT, None, False) for _ in rollout.prompt_ids
    ]
    for number, turn in enumerate(rollout.turns):
        layout += [(span, number, True) for span in turn.token_spans]
        layout += [(Span.OBSERVATION, number, False) for _ in turn.observation_ids]
    return layout
