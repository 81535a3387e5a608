"""The public question sets: where they are, which splits they have, how their rows are read.

A set that measures only has no split `train`, whatever its publisher calls its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forethought.data.benchmark_rows import (
    Place,
    hotpotqa_task,
    musique_task,
    nq_task,
    plain_task,
    popqa_task,
    triviaqa_task,
)
from forethought.data.gsm8k_rows import HUB_NAME
from forethought.data.maths_rows import (
    aime_task,
    gsm8k_task,
    math_task,
    number_task,
    plain_maths_task,
    svamp_task,
)
from forethought.types import JsonRow, Task

RowReader = Callable[[JsonRow, Place], Task | None]
"""A row as a task; None = one without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One public set."""

    about: str
    hub_id: str | None  # None: local files only
    config: str | None
    splits: Mapping[str, str]  # ours -> the hub's; those without published answers are left out
    task_of: RowReader
    kind: str = "qa"  # "qa" | "maths"


# Where the columns were seen (2026-11): the sets' cards on the hub for hotpotqa/hotpot_qa,
# akariasai/PopQA (`possible_answers` is a text there: its discussion 1) and chiayewken/bamboogle;
# the loaders of lm-evaluation-harness (lm_eval/tasks/nq_open, triviaqa), TensorFlow Datasets
# (trivia_qa: `answer.value`, `answer.aliases`; "unfiltered" is its open-domain part, of which
# FlashRAG has as many rows) and public scripts that read framolfese/2WikiMultihopQA (HotpotQA's
# columns) and dgslibisey/MuSiQue (the published files, a row a line). FlashRAG's copies
# (RUC-NLPIR/FlashRAG_datasets: id, question, golden_answers, metadata; Search-R1 trains on them)
# are read from local files. A set whose hub copy is a script is not named: datasets 4 runs none.
_SEARCH: dict[str, Benchmark] = {
    "nq": Benchmark(
        about="Natural Questions, open (arXiv 1906.00300): real queries, short answers",
        hub_id="google-research-datasets/nq_open",
        config=None,
        splits={"train": "train", "val": "validation"},
        task_of=nq_task,
    ),
    "triviaqa": Benchmark(
        about="TriviaQA (arXiv 1705.03551): trivia with aliases",
        hub_id="mandarjoshi/trivia_qa",
        config="unfiltered.nocontext",
        splits={"train": "train", "val": "validation"},
        task_of=triviaqa_task,
    ),
    "popqa": Benchmark(
        about="PopQA (arXiv 2212.10511): one relation of one entity, by popularity; test only",
        hub_id="akariasai/PopQA",
        config=None,
        splits={"test": "test"},
        task_of=popqa_task,
    ),
    "hotpotqa": Benchmark(
        about="HotpotQA, distractor (arXiv 1809.09600): two hops, gold sentences",
        hub_id="hotpotqa/hotpot_qa",
        config="distractor",
        splits={"train": "train", "val": "validation"},
        task_of=hotpotqa_task,
    ),
    "2wiki": Benchmark(
        about="2WikiMultihopQA (arXiv 2011.01060): two to four hops, evidence triples",
        hub_id="framolfese/2WikiMultihopQA",
        config=None,
        splits={"train": "train", "val": "validation"},
        task_of=hotpotqa_task,
    ),
    "musique": Benchmark(
        about="MuSiQue, answerable (arXiv 2108.00573): two to four hops, sub-questions",
        hub_id="dgslibisey/MuSiQue",
        config=None,
        splits={"train": "train", "val": "validation"},
        task_of=musique_task,
    ),
    "bamboogle": Benchmark(
        about="Bamboogle (arXiv 2210.03350): two hops that a search engine gets wrong; test only",
        hub_id="chiayewken/bamboogle",
        config=None,
        splits={"test": "test"},
        task_of=plain_task,
    ),
    "plain": Benchmark(
        about="any file of rows with a question and its answers",
        hub_id=None,
        config=None,
        splits={"train": "train", "val": "val", "test": "test"},
        task_of=plain_task,
    ),
}

# Where the columns were seen (2026-11): the cards of HuggingFaceH4/aime_2024, math-ai/aime25 and
# MathArena/aime_2026 on the hub, the list of features of EleutherAI's and lighteval's copies of
# MATH (problem, level, type, solution) and of MATH-500 (problem, solution, answer, subject, level,
# unique_id), and public scripts that read math-ai/amc23 (question, answer), ChilleD/SVAMP (ID,
# Body, Question, Equation, Answer, Type, question_concat) and reasoning-machines/gsm-hard (input,
# code, target). Other copies of the AIME are read from files: Maxwell-Jia/AIME_2024 (ID, Problem,
# Solution, Answer), opencompass/AIME2025 (question, answer), yentinglin/aime_2025.
_MATHS: dict[str, Benchmark] = {
    "gsm8k": Benchmark(
        about="GSM8K (arXiv 2110.14168): word problems of grade school, annotated solutions",
        hub_id=HUB_NAME,
        config="main",
        splits={"train": "train", "test": "test"},
        task_of=gsm8k_task,
        kind="maths",
    ),
    "math": Benchmark(
        about="MATH (arXiv 2103.03874): competition problems in seven subjects and five levels",
        hub_id="DigitalLearningGmbH/MATH-lighteval",
        config=None,
        splits={"train": "train", "test": "test"},
        task_of=math_task,
        kind="maths",
    ),
    "math500": Benchmark(
        about="MATH-500 (arXiv 2305.20050): 500 of MATH's test problems; test only",
        hub_id="HuggingFaceH4/MATH-500",
        config=None,
        splits={"test": "test"},
        task_of=math_task,
        kind="maths",
    ),
    "aime24": Benchmark(
        about="AIME 2024, I and II: answers from 0 to 999; test only",
        hub_id="HuggingFaceH4/aime_2024",
        config=None,
        splits={"test": "train"},
        task_of=aime_task,
        kind="maths",
    ),
    "aime25": Benchmark(
        about="AIME 2025, I and II; test only",
        hub_id="math-ai/aime25",
        config=None,
        splits={"test": "test"},
        task_of=aime_task,
        kind="maths",
    ),
    "aime26": Benchmark(
        about="AIME 2026, I and II; test only",
        hub_id="MathArena/aime_2026",
        config=None,
        splits={"test": "train"},
        task_of=aime_task,
        kind="maths",
    ),
    "amc23": Benchmark(
        about="AMC 12 of 2023, problems whose answer is a number; test only",
        hub_id="math-ai/amc23",
        config=None,
        splits={"test": "test"},
        task_of=number_task,
        kind="maths",
    ),
    "svamp": Benchmark(
        about="SVAMP (arXiv 2103.07191): word problems of one step, by operation",
        hub_id="ChilleD/SVAMP",
        config=None,
        splits={"train": "train", "test": "test"},
        task_of=svamp_task,
        kind="maths",
    ),
    "gsm-hard": Benchmark(
        about="GSM-Hard (arXiv 2211.10435): GSM8K's test with large numbers; test only",
        hub_id="reasoning-machines/gsm-hard",
        config=None,
        splits={"test": "train"},
        task_of=number_task,
        kind="maths",
    ),
    "plain-maths": Benchmark(
        about="any file of rows with a problem and its answer",
        hub_id=None,
        config=None,
        splits={"train": "train", "val": "val", "test": "test"},
        task_of=plain_maths_task,
        kind="maths",
    ),
}
BENCHMARKS: dict[str, Benchmark] = {**_SEARCH, **_MATHS}
ABOUT: dict[str, str] = {name: benchmark.about for name, benchmark in BENCHMARKS.items()}
