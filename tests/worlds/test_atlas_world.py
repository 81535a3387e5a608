from __future__ import annotations

from collections import Counter
from time import process_time

import pytest

from forethought.errors import InputError
from forethought.tools.retrieval import BM25Retriever, Document
from forethought.types import Task
from forethought.worlds.atlas.law import law
from forethought.worlds.atlas.text import parse_page, parse_question
from forethought.worlds.atlas.tokens import NAMES, RELATIONS, vocabulary
from forethought.worlds.atlas.world import World, tasks_of, truth_of, world, worlds
from forethought.worlds.splits import split_of

SEEDS = range(100_000, 100_200)


def bytes_of(made: World) -> tuple[object, ...]:
    tasks = [(t.id, t.question, t.answers, t.split, dict(t.columns)) for t in made.tasks]
    return tasks, [(p.id, p.title, p.text) for p in made.pages], truth_of(made)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert bytes_of(World(law(100), 7)) == bytes_of(World(law(100), 7))
    assert bytes_of(next(worlds(100, [7]))) == bytes_of(world(law(100), 7))
    assert bytes_of(World(law(100), 7)) != bytes_of(World(law(100), 8))
    assert bytes_of(World(law(100), 7)) != bytes_of(World(law(101), 7))


def test_one_world_is_pinned() -> None:
    made = World(law(100), 12)
    assert made.tasks[0].id == "atlas-L100-W000012-0"
    question = "buzur of south : a guild owner b employer owner c home mayor ; 2"
    assert made.tasks[0].question == question
    assert made.pages[0].text == "mentor moor drum banok sumor east"


@pytest.mark.parametrize(
    ("seed", "split"),
    [
        (0, "train"),
        (99_999, "train"),
        (100_000, "val"),
        (199_999, "val"),
        (200_000, "test"),
        (299_999, "test"),
        (300_000, "acceptance"),
        (-1, "acceptance"),
    ],
)
def test_the_world_seed_decides_the_split(seed: int, split: str) -> None:
    assert split_of(seed) == split
    if split != "acceptance":  # those worlds are made nowhere in the tree
        assert {task.split for task in World(law(100), seed).tasks} == {split}


def test_five_tasks_and_about_45_pages_a_world() -> None:
    for made in worlds(100, SEEDS):
        assert len(tasks_of(made)) == 5
        assert 40 <= len(made.pages) <= 60
        assert len({page.id for page in made.pages}) == len(made.pages)
        assert [task.id for task in made.tasks] == [f"{made.tasks[0].id[:-1]}{i}" for i in range(5)]


def test_a_name_stands_for_one_entity_and_means_nothing() -> None:
    regions: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    for made in worlds(100, SEEDS):
        lies: dict[str, str] = {}
        for page in filter(None, (parse_page(page.text) for page in made.pages)):
            for name, region in (
                (page.subject, page.subject_region),
                (page.object, page.object_region),
            ):
                assert lies.setdefault(name, region) == region
        for name, region in lies.items():
            regions[name][region] += 1
    assert min(sum(seen.values()) for seen in regions.values()) > 100
    assert max(max(seen.values()) / sum(seen.values()) for seen in regions.values()) < 0.4


def test_questions_and_pages_show_nothing_but_what_they_may() -> None:
    words = set(vocabulary())
    states = {"stale", "burnt", "kept"}
    for made in worlds(101, SEEDS):
        named_at_start = [task.question.split()[0] for task in made.tasks]
        for task, truth in zip(made.tasks, truth_of(made).answers, strict=True):
            shown = set(task.question.split())
            assert shown <= words
            assert not shown & states
            assert shown & set(NAMES) == {named_at_start[int(task.id[-1])]}
            assert task.answers == (truth,)
            assert set(task.columns) == {"budget", "composed"}
            assert task.columns["budget"] == parse_question(task.question).budget
        for page in made.pages:
            facts = parse_page(page.text)
            assert facts is not None
            assert page.title == ""
            assert facts.sign == made.law.sign(facts.relation, facts.subject_region)
            assert not set(page.text.split()) & states


def test_the_order_of_pages_tells_nothing_of_what_is_wrong() -> None:
    places = []
    for made in worlds(102, SEEDS):
        order = [page.text.split() for page in made.pages]
        where = {(words[0], words[3]): index for index, words in enumerate(order)}
        wrong = [link for link in truth_of(made).links if link.wrong]
        places += [where[link.relation, link.subject] / len(order) for link in wrong]
    assert len(places) > 100
    assert sum(places) / len(places) == pytest.approx(0.5, abs=0.08)


def test_pages_exist_and_mislead_as_often_as_the_law_says() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for made in worlds(103, SEEDS):
        printed = {(p.text.split()[0], p.text.split()[3]) for p in made.pages}
        for link in truth_of(made).links:
            state = made.law.state(link.relation, link.region)
            assert link.exists == ((link.relation, link.subject) in printed)
            assert link.stale == (state == "stale")
            counts[state, "all"] += 1
            counts[state, "exists"] += link.exists
            if link.on_path and link.exists:
                counts[state, "shown"] += 1
                counts[state, "wrong"] += link.wrong
    for state, chance in (("kept", 0.97), ("stale", 0.97), ("burnt", 0.10)):
        assert counts[state, "exists"] / counts[state, "all"] == pytest.approx(chance, abs=0.02)
    assert counts["stale", "wrong"] / counts["stale", "shown"] == pytest.approx(0.65, abs=0.04)
    assert counts["kept", "wrong"] == counts["burnt", "wrong"] == 0


def test_every_route_ends_in_the_answer_or_after_a_wrong_turn_in_the_decoy() -> None:
    ends: Counter[str] = Counter()
    for made in worlds(104, SEEDS):
        truth = truth_of(made)
        pages = {(p.text.split()[0], p.text.split()[3]): p.text.split() for p in made.pages}
        wrong = {(k.relation, k.subject) for k in truth.links if k.wrong}
        for number, task in enumerate(made.tasks):
            for _, route in parse_question(task.question).routes:
                entity, misled = task.question.split()[0], False
                for relation in route:
                    page = pages.get((relation, entity))
                    if page is None:
                        break
                    misled = misled or (relation, entity) in wrong
                    entity = page[4]
                else:
                    assert entity == (truth.decoys if misled else truth.answers)[number]
                    ends["decoy" if misled else "answer"] += 1
    assert ends["answer"] > ends["decoy"] > 100


def test_held_out_triples_are_never_listed_in_training_worlds() -> None:
    held_out = law(105).held_out

    def listed(task: Task) -> bool:
        facts = parse_question(task.question)
        return any((r[0], facts.region, r[1]) in held_out for _, r in facts.routes)

    training = [task for seed in range(0, 100_000, 250) for task in World(law(105), seed).tasks]
    assert not any(map(listed, training))
    assert not any(task.columns["composed"] for task in training)
    test = [task for seed in range(200_000, 200_200) for task in World(law(105), seed).tasks]
    assert any(map(listed, test))
    assert all(task.columns["composed"] == listed(task) for task in test)


def test_one_link_tasks_and_namesakes_are_switches() -> None:
    for task in World(law(100), 3, one_link=True).tasks:
        ((_, route),) = parse_question(task.question).routes
        assert len(route) == 1
    shared = total = 0
    for seed in SEEDS:
        lies: dict[str, set[str]] = {}
        for page in World(law(100), seed, namesakes=True).pages:
            words = page.text.split()
            lies.setdefault(words[3], set()).add(words[1])
            lies.setdefault(words[4], set()).add(words[5])
        shared += sum(len(regions) > 1 for regions in lies.values())
        total += len(lies)
    assert shared / total == pytest.approx(0.20, abs=0.04)


def test_more_tasks_than_the_names_suffice_for_are_refused() -> None:
    with pytest.raises(InputError, match="num_tasks = 12"):
        World(law(100), 3, num_tasks=12)


def test_the_page_asked_for_is_among_the_first_two_of_the_real_retriever() -> None:
    for made in worlds(100, range(100_000, 100_020)):
        documents = [Document(id=p.id, title=p.title, text=p.text) for p in made.pages]
        retriever = BM25Retriever(documents)
        for link in truth_of(made).links:
            hits = retriever.search(f"{link.relation} {link.subject}", 2)
            found = [tuple(hit.text.split()[i] for i in (0, 3)) for hit in hits]
            assert ((link.relation, link.subject) in found) == link.exists


def test_relations_join_the_types_they_name() -> None:
    for made in worlds(100, range(100_000, 100_020)):
        kinds: dict[str, str] = {}
        for page in made.pages:
            words = page.text.split()
            subject_kind, object_kind = RELATIONS[words[0]]
            assert kinds.setdefault(words[3], subject_kind) == subject_kind
            assert kinds.setdefault(words[4], object_kind) == object_kind


def test_worlds_are_made_quickly() -> None:
    drawn = law(100)
    begin = process_time()
    for seed in range(100_000, 100_200):
        World(drawn, seed)
    assert 200 / (process_time() - begin) >= 300
