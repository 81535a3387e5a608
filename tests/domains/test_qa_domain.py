"""Real questions as the stages see them: splits, and attempts that the environment bears out."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from forethought.cli import main
from forethought.config import load_config
from forethought.data.benchmarks import read_benchmark
from forethought.data.hops import hops_of
from forethought.domains import make_domain
from forethought.domains.qa import QaDomain
from forethought.domains.qa_play import NOTHING, VARIANTS, Bounds, name_of, play, query_of
from forethought.envs.base import call_tool, check_class, row_of
from forethought.errors import InputError
from forethought.foresight.grounding import contains
from forethought.hindsight.trajectory import Trajectory
from forethought.rewards.grading import grade, squad_normalise
from forethought.tools.search_server import SearchServer
from forethought.types import StopReason
from tests.domains.qa_builders import ENTRIES, overrides, qa_domain
from tests.tools.search_builders import running
from tests.training.training_builders import byte_tokenizer

ALL = 10**6


@pytest.fixture(scope="module")
def domain() -> QaDomain:
    return qa_domain(data__page_chars="0")


@pytest.fixture(scope="module")
def attempts(domain: QaDomain) -> list[Trajectory]:
    return domain.trajectories(ALL, None)


def published(split: str) -> set[str]:
    found = set()
    for entry in ENTRIES:
        name, _, file = entry.partition(":")
        found |= {task.id for task in read_benchmark(name, path=file) if task.split == split}
    return found


def test_training_rows_alone_train(domain: QaDomain, attempts: list[Trajectory]) -> None:
    trained = {task.id for task in domain.tasks("train", 100)}
    trained |= {each.task.id for each in attempts}
    assert trained == published("train")
    assert {each.task.split for each in attempts} == {"train"}


def test_development_rows_are_dealt_out_and_none_twice(domain: QaDomain) -> None:
    val, test = ({t.id for t in domain.tasks(split, ALL)} for split in ("val", "test"))
    assert val and test and not val & test
    assert val | test == published("val") and abs(len(val) - len(test)) <= 1
    assert [t.split for t in domain.tasks("val", 2)] == ["val"] * 2


def test_the_deal_is_a_function_of_the_seed(domain: QaDomain) -> None:
    again, other = qa_domain(data__page_chars="0"), qa_domain(seed="7")
    for split in ("train", "val", "test"):
        mine = [task.id for task in domain.tasks(split, 15)]
        assert mine == [task.id for task in again.tasks(split, 15)]
        assert mine != [task.id for task in other.tasks(split, 15)]


def test_tasks_behind_an_offset_are_others_and_training_begins_again(domain: QaDomain) -> None:
    first, later = domain.tasks("test", 6), domain.tasks("test", 4, offset=6)
    assert not {t.id for t in first} & {t.id for t in later} and len(later) == 4
    assert domain.tasks("train", 2, offset=30) == domain.tasks("train", 2)
    assert domain.tasks("test", 5, offset=13) == domain.tasks("test", 2, offset=13)


def test_a_question_of_a_held_out_row_trains_nothing_whoever_calls_it_train(
    tmp_path: Path,
) -> None:
    row = {"question": "Who was it?", "answer": "A"}
    told = {**row, "question": "who WAS it", "split": "train"}
    held = {**row, "split": "val"}
    other = {**row, "question": "Who else?", "split": "train"}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in (told, held, other)), "utf-8")
    made = qa_domain(f"plain:{file}")
    assert [task.question for task in made.tasks("train", 1)] == ["Who else?"]
    assert {squad_normalise(t.question) for t in made.tasks("train", 9)} == {"who else"}


def test_rows_of_a_file_for_testing_only_test(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"question": "Who?", "answer": "A"}) + "\n", "utf-8")
    made = qa_domain(f"bamboogle:{file}")
    assert [task.split for task in made.tasks("test", 9)] == ["test"]
    with pytest.raises(InputError, match=r"data\.benchmarks \(train\)"):
        made.tasks("train", 1)
    with pytest.raises(InputError, match="gold facts"):
        made.trajectories(1, None, split="test")


def test_sets_are_found_by_name_and_a_bound_reads_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORETHOUGHT_DATA", str(tmp_path))
    packed = Path(ENTRIES[0].partition(":")[2]).read_bytes()
    for split in ("train", "val"):
        (tmp_path / f"2wiki_{split}.jsonl.gz").write_bytes(packed)
    by_name, by_file = qa_domain("2wiki"), qa_domain(ENTRIES[0])
    for split in ("train", "val", "test"):
        assert by_name.tasks(split, 5) == by_file.tasks(split, 5)
    assert by_name.trajectories(20, None) == by_file.trajectories(20, None)
    rows = gzip.decompress(packed).splitlines(keepends=True)
    (tmp_path / "2wiki_train.jsonl.gz").unlink()
    (tmp_path / "2wiki_train.jsonl").write_bytes(b"".join(rows[:2]) + b"no JSON\n")
    short = qa_domain("2wiki", data__max_rows="2")
    assert len({task.id for task in short.tasks("train", 9)}) == 2


def test_a_file_that_tasks_wrote_is_as_good(tmp_path: Path) -> None:
    name, _, file = ENTRIES[2].partition(":")
    assert main(["tasks", name, "--from", file, "--out", str(tmp_path)]) == 0
    written, published = qa_domain(f"plain:{tmp_path / 'tasks.jsonl'}"), qa_domain(ENTRIES[2])
    assert written.tasks("train", 10) == published.tasks("train", 10)
    assert written.trajectories(10, None) == published.trajectories(10, None)


def test_the_bound_on_rows_is_one_of_each_set_and_split() -> None:
    made = qa_domain(data__max_rows="3")
    assert len({task.id for task in made.tasks("train", ALL // 1000)}) == 9
    assert len(made.tasks("val", ALL)) + len(made.tasks("test", ALL)) == 9
    groups = {str(task.columns["group"]).split()[0] for task in made.tasks("train", 9)}
    assert groups == {"2wiki", "hotpotqa", "musique"}


def test_replies_are_those_of_the_environment(domain: QaDomain, attempts: list[Trajectory]) -> None:
    for made in attempts:
        env = domain.make_env()
        env.reset(**row_of(made.task))
        for step in made.steps:
            if step.action.kind != "answer":
                reply = call_tool(env, step.action.kind, step.action.text)
                assert (str(reply), reply.failed) == (step.observation, step.failed)


def test_a_success_is_borne_out_by_replies_and_a_failure_is_not(
    attempts: list[Trajectory],
) -> None:
    for made in attempts:
        replies = [step.observation for step in made.steps]
        shown = all(any(hop.came(reply) for reply in replies) for hop in hops_of(made.task))
        answer = made.steps[-1].action
        assert made.success == shown and made.stop_reason is StopReason.ANSWER
        assert made.success == grade("qa", answer.text, list(made.task.answers)).correct
    outcomes = Counter(made.success for made in attempts)
    assert min(outcomes.values()) > 0.25 * len(attempts)
    given_up = {made.steps[-1].action.text for made in attempts if not made.success}
    assert NOTHING in given_up and len(given_up) > 3


def test_nothing_is_named_before_it_was_shown(attempts: list[Trajectory]) -> None:
    """Capitals and numbers of a query stand in the question or in an earlier reply."""
    for made in attempts:
        for number, step in enumerate(made.steps):
            seen = [made.task.question, *(s.observation for s in made.steps[:number])]
            written = step.think + " " + (step.action.text if step.action.kind != "answer" else "")
            words = [w for w in written.split() if w != w.lower() or w[0].isdecimal()]
            own = {"I", "First", "The", "Next", "Now", "Open", "Found", "That", "Not", "Every", "A"}
            own |= {"What", "Which", "Who", "In"}
            for word in words:
                assert word.strip('":') in own or contains(word, "\n".join(seen)), (
                    word,
                    made.task.id,
                )


def test_a_name_that_was_not_shown_is_not_asked_for(attempts: list[Trajectory]) -> None:
    hops = hops_of(next(a.task for a in attempts if "Prairie King" in a.task.question))
    question = "Which film has the director died first, The Prairie King or another?"
    assert name_of(hops[2], question) == "" and name_of(hops[0], question) == "The Prairie King"
    query = query_of(hops, 2, "name", question, question)
    assert "Eason" not in query and query.endswith("date of death")
    shown = f"{question} It was directed by B. Reeves Eason."
    assert query_of(hops, 2, "name", question, shown) == "B. Reeves Eason"


def test_attempts_are_a_function_of_the_seed_and_ask_in_several_words(
    domain: QaDomain, attempts: list[Trajectory]
) -> None:
    assert qa_domain(data__page_chars="0").trajectories(20, None) == attempts[:20]
    task = attempts[0].task
    same = [play(task, domain.make_env(), seed="s", bounds=Bounds(max_turns=6)) for _ in range(2)]
    assert same[0] == same[1]
    told: dict[str, set[str]] = {}
    for made in attempts:
        told.setdefault(made.task.id, set()).add(made.steps[0].action.text)
    assert sum(len(queries) > 1 for queries in told.values()) > len(told) // 2
    assert max(Counter(made.task.id for made in attempts).values()) <= VARIANTS


@pytest.mark.parametrize("max_turns", [1, 2, 3])
def test_no_attempt_is_longer_than_an_episode(domain: QaDomain, max_turns: int) -> None:
    for task in domain.tasks("train", 30):
        made = play(task, domain.make_env(), seed="s", bounds=Bounds(max_turns=max_turns))
        assert 1 <= len(made.steps) <= max_turns and made.steps[-1].action.kind == "answer"


def test_an_attempt_that_has_no_room_is_left_out() -> None:
    tokenizer = byte_tokenizer()
    made = qa_domain(rollout__max_context_tokens="3000").trajectories(20, tokenizer)
    free = qa_domain(rollout__max_context_tokens="100000").trajectories(20, tokenizer)
    long = max(len("".join(s.observation for s in each.steps)) for each in free)
    assert long > 3000 and len(made) == len(free) == 20
    assert all(sum(len(s.observation) for s in each.steps) < 3000 for each in made)


def test_a_page_that_is_cut_before_its_fact_does_not_count(attempts: list[Trajectory]) -> None:
    cut = qa_domain(data__page_chars="80").trajectories(ALL, None)
    assert sum(made.success for made in cut) < sum(made.success for made in attempts)
    assert max(len(s.observation) for made in cut for s in made.steps) < 2 * 80 + 200


def test_replies_are_cut_as_the_engine_cuts_them() -> None:
    tokenizer, bound = byte_tokenizer(), 300
    more = {"rollout__max_observation_tokens": str(bound), "rollout__max_context_tokens": "9999"}
    domain = qa_domain(**more)
    for made in domain.trajectories(10, tokenizer):
        env = domain.make_env()
        env.reset(**row_of(made.task))
        for step in made.steps[:-1]:
            whole = str(call_tool(env, "search", step.action.text))
            shown = domain.text_format.cut_observation(tokenizer, whole, bound)
            assert step.observation == shown and len(shown) < bound
        replies = [step.observation for step in made.steps]
        assert made.success == all(any(h.came(r) for r in replies) for h in hops_of(made.task))


def test_a_corpus_of_ones_own_is_searched_instead(tmp_path: Path) -> None:
    page = {"id": "p", "title": "Nothing", "text": "There is nothing about a film here."}
    file = tmp_path / "corpus.jsonl"
    file.write_text(json.dumps(page) + "\n", "utf-8")
    made = qa_domain(data__corpus=json.dumps(str(file))).trajectories(20, None)
    assert not any(each.success for each in made)
    shown = {s.observation for each in made for s in each.steps if s.observation}
    assert "Doc 1 (Title: Nothing) There is nothing about a film here." in shown


def test_over_a_server_the_attempts_are_the_same_and_searches_are_awaited() -> None:
    local = qa_domain(ENTRIES[0])
    with running(SearchServer(local.retriever, "127.0.0.1", 0)) as url:
        remote = qa_domain(ENTRIES[0], data__retriever=url)
        assert remote.trajectories(8, None) == local.trajectories(8, None)
    tools = [check_class(type(made.make_env()))["search"] for made in (local, remote)]
    assert [tool.is_async for tool in tools] == [False, True]
    assert tools[0].description == tools[1].description


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without data\.benchmarks"):
        load_config("search/multihop-smollm2", {"data.benchmarks": "[]"})
    with pytest.raises(InputError, match=r"without data\.corpus"):
        load_config("search/multihop-smollm2", {"data.retriever": "dense"})
    with pytest.raises(InputError, match="nosuch"):
        qa_domain(data__corpus="c.jsonl", data__retriever="nosuch").retriever  # noqa: B018
    with pytest.raises(InputError, match="in two of"):
        qa_domain(ENTRIES[0], ENTRIES[0]).tasks("train", 1)
    with pytest.raises(InputError, match="benchmark"):
        qa_domain("nosuch").tasks("train", 1)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "Who?", "answer": "A", "split": "train"}\n', "utf-8")
    with pytest.raises(InputError, match=r"data\.corpus"):
        qa_domain(f"plain:{file}").retriever  # noqa: B018


def test_the_configuration_names_the_domain() -> None:
    made = make_domain(load_config("search/multihop-smollm2", overrides()))
    assert isinstance(made, QaDomain) and made.env_name == "search_qa"
    assert made.imitate_failures is False and made.entities() == ()
    with pytest.raises(InputError, match="world"):
        made.tasks_of_worlds(range(2), None)
