"""A search world whose episodes have fixed lengths, whoever plays them.

Its policy is an ordinary Llama whose weights spell out a grammar: every word has one place in a
turn, the embedding of a word says which place that is, and the output embeddings of the words that
may come next read it, at some tens of nats. Which of them comes is left to the random weights. So
every turn has as many tokens, calls the tool or answers, and can be parsed; nothing is forced from
outside and nothing is masked, on either side.

    prompt      <bos> word .. word ?
    a search    <think> word .. word </think> <search> word .. word </search>
    its reply   <information> word .. word ; word .. word more          (the last one: `last`)
    the answer  <answer> word .. word </answer>
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sides import SHAPES

from forethought.envs.base import Observation
from forethought.envs.search_qa import SearchQA
from forethought.rollout.render import TextFormat
from forethought.tools.retrieval import BM25Retriever, Document, Retriever
from forethought.training.policy import Policy
from forethought.training.tiny import build_tiny_llama, build_word_tokenizer
from forethought.types import Task

TAGS = ("<think>", "</think>", "<search>", "</search>", "<answer>", "</answer>", "<information>")
MARKS = ("?", ";", "more", "last")
PLAIN_WORDS = 200  # of questions and pages; the other words are the policy's
PAGES, PAGE_WORDS, FOUND = 200, 20, 2
EMBEDDED, NATS = 4.0, 40.0  # how loud a place is in the embedding, and in the logits
CHAT_TEMPLATE = """\
{%- for m in messages -%}
{%- if not loop.first %} {% endif -%}
{%- if m.role == 'user' -%}{{ bos_token }} {{ m.content }}
{%- elif m.role == 'tool' -%}<information> {{ m.content }}
{%- else -%}{{ m.content }}{% for c in m.tool_calls or [] -%}
<search> {{ c.function.name }} {{ c.function.arguments | tojson }} </search>{% endfor %}
{%- endif -%}
{%- endfor -%}"""
RESPONSE_TEMPLATE = {  # how TRL reads a turn
    "defaults": {"role": "assistant"},
    "start_anchor": [" ?", " more", " last"],
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
        "tool_calls": {
            "open": "<search>",
            "close": "</search>",
            "repeats": True,
            "content": "text",
            "transform": {
                "type": "function",
                "function": {"name": "search", "arguments": {"query": "{content}"}},
            },
        },
        "content": {"open": "<answer>", "close": "</answer>", "content": "text"},
    },
}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words of each part of a turn."""

    thought: int = 24
    query: int = 4
    answer: int = 4
    question: int = 24

    def sampled(self, turns: int) -> int:
        """Tokens that the policy writes in an episode, tags included."""
        return (turns - 1) * (self.thought + self.query + 4) + self.answer + 2

    def forced(self, turns: int) -> int:
        """Tokens of the prompt and of the replies: tags, marks and `<bos>` included."""
        return self.question + 2 + (turns - 1) * (FOUND * (PAGE_WORDS + 1) + 1)


QUICK = Lengths(thought=4, query=2, answer=2, question=6)


@dataclass(frozen=True, slots=True)
class World:
    """A policy, the words of its episodes and how they look."""

    policy: Policy
    lengths: Lengths
    plain: tuple[str, ...]  # words of questions and pages


class Library(SearchQA):
    """Search among made-up pages; the reply says whether there is another search."""

    def __init__(self, pages: Retriever) -> None:
        """An environment for one rollout at a time."""
        super().__init__(lambda row: pages, top_k=FOUND)

    def search(self, query: str) -> Observation:
        """Searches the pages and shows the best.

        Args:
            query: Words to look for.

        Returns:
            The texts of the pages found.
        """
        found = super().search(query)
        mark = "last" if self.state.used == self.state.budget else "more"
        return Observation(f"{found} {mark}", info=found.info)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFormat(TextFormat):
    """Replies without a closing tag: the mark at their end says what comes next."""

    def wrap_observation(self, text: str) -> str:
        """The reply as it is appended after the sampled turn."""
        return f"<information> {text}"


FORMAT = OpenFormat(name="library", spaced=True, mode_flags=False)


def _places(lengths: Lengths) -> list[tuple[str, int]]:
    """The parts of both kinds of turn in order: a tag alone, or a part's name and its words."""
    search = [("<think>", 0), ("t", lengths.thought), ("</think>", 0)]
    search += [("<search>", 0), ("q", lengths.query), ("</search>", 0)]
    return [("more", 0), *search, ("last", 0), ("<answer>", 0), ("a", lengths.answer)]


def grammar(lengths: Lengths, vocabulary: int) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Pairs of words and of the words that may follow any of them."""
    free = vocabulary - 4 - len(TAGS) - len(MARKS) - PLAIN_WORDS
    choices = free // (lengths.thought + lengths.query + lengths.answer)
    places: list[tuple[str, ...]] = []
    for name, count in _places(lengths):
        if count:
            places += [tuple(f"{name}{n}x{k}" for k in range(choices)) for n in range(count)]
        else:
            places.append(("?", "more") if name == "more" else (name,))
    places.append(("</answer>",))
    return [(a, b) for a, b in itertools.pairwise(places) if a != ("</search>",)]


def build_world(size: str, lengths: Lengths, vocabulary: int = 2048) -> World:
    """The world at a size of `SHAPES`; its weights are a function of the arguments."""
    rules = grammar(lengths, vocabulary)
    spoken = [word for _, words in rules for word in words if "x" in word]
    plain = tuple(f"p{n}" for n in range(PLAIN_WORDS))
    words = [*MARKS, *plain, *spoken]
    words += [f"unused{n}" for n in range(vocabulary - 4 - len(TAGS) - len(words))]
    tokenizer = build_word_tokenizer(words, TAGS)
    tokenizer.chat_template = CHAT_TEMPLATE
    policy = Policy(build_tiny_llama(len(tokenizer), SHAPES[size], seed=0).eval(), tokenizer)
    policy.untie()
    _write(policy, rules)
    ends = tokenizer.convert_tokens_to_ids(["<eos>", "</search>", "</answer>"])
    policy.model.generation_config.eos_token_id = ends
    return World(policy, lengths, plain)


@torch.no_grad()
def _write(policy: Policy, rules: Sequence[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    """Puts the grammar into the embeddings: one dimension a place."""
    table = policy.model.get_input_embeddings().weight
    head = policy.model.get_output_embeddings().weight
    assert len(rules) <= table.shape[1] // 2, "fewer words in a turn, or a wider model"
    for dimension, (before, after) in enumerate(rules):
        table[policy.tokenizer.convert_tokens_to_ids(list(before)), dimension] += EMBEDDED
        gain = NATS / table.shape[1] ** 0.5
        head[policy.tokenizer.convert_tokens_to_ids(list(after)), dimension] += gain


def build_pages(world: World) -> BM25Retriever:
    """Pages in which every query finds at least two."""
    spoken = [w for w in world.policy.tokenizer.get_vocab() if w.startswith("q") and "x" in w]
    spoken.sort(key=world.policy.tokenizer.convert_tokens_to_ids)
    draw = random.Random(0)
    half = PAGE_WORDS // 2
    pages = [
        [spoken[(n * half + k) % len(spoken)] for k in range(half)]
        + draw.choices(world.plain, k=PAGE_WORDS - half)
        for n in range(PAGES)
    ]
    return BM25Retriever(
        [Document(id=str(n), title="", text=" ".join(words)) for n, words in enumerate(pages)]
    )


def make_tasks(world: World, count: int, turns: int) -> list[Task]:
    """Questions of made-up words; the last search of an episode is the one before its answer."""
    draw = random.Random(1)
    return [
        Task(
            id=f"task-{n}",
            question=" ".join([*draw.choices(world.plain, k=world.lengths.question), "?"]),
            answers=("nothing that the policy can say",),
            kind="qa",
            columns={"budget": turns - 1},
        )
        for n in range(count)
    ]


def drawn_reward(task: str, member: int, silent: bool) -> float:
    """What an attempt earns besides its answer: every second one 1; of silent tasks (even) none."""
    number = int(task.rpartition("-")[2])
    return 0.0 if silent and number % 2 == 0 else float((number + member) % 2)
