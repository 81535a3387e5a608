"""The bound on processes that does not depend on how fast we look, and what is left of it."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forethought.tools.sandbox import SandboxLimits, bubblewrap, group, open_sandbox, tree, watch

LIMITS = SandboxLimits(timeout_s=4.0, memory_mb=128, processes=4)
COUNT = """
import os, time
made = 0
for _ in range(150):
    try:
        if os.fork() == 0: time.sleep(5); os._exit(0)
        made += 1
    except OSError: pass
print(made, flush=True)
"""
LEVELS = ("limits", "landlock", "bwrap")

needs_a_group = pytest.mark.skipif(
    "control group" not in group.bound().split(":")[0], reason=f"processes are {group.bound()}"
)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks: as on a machine where the watcher gets no time."""
    for kind in (watch.Watch, bubblewrap.BubblewrapWatch):
        monkeypatch.setattr(kind, "look", lambda self: None)


@needs_a_group
@pytest.mark.parametrize("level", LEVELS)
def test_the_kernel_bounds_a_bomb_that_nobody_looks_at(level: str, blind: None) -> None:
    """In a program and in a session."""
    result = open_sandbox(level).run(COUNT, LIMITS)
    made = int(result.stdout)
    assert LIMITS.processes < made <= LIMITS.tasks + 8, result
    assert result.killed == "processes", "the bound that it met is told, although nobody looked"
    session = open_sandbox(level).session(LIMITS)
    assert session.run("print(1)").stdout == "1\n"
    assert int(session.run(COUNT).stdout) == pytest.approx(made, abs=3)
    session.close()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="others have RLIMIT_NPROC")
@pytest.mark.parametrize("level", LEVELS)
def test_without_a_group_root_has_only_our_looks(
    level: str, blind: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: all 150 are made, and the program still runs and is ended."""
    for module in (bubblewrap, tree):
        monkeypatch.setattr(module, "make", lambda tasks: None)
    assert open_sandbox(level).run(COUNT, LIMITS).stdout == "150\n"


@needs_a_group
@pytest.mark.parametrize("level", LEVELS)
def test_a_group_goes_with_its_program(level: str) -> None:
    own = group._own_folder()
    assert own is not None
    before = set(os.listdir(own))
    during = open_sandbox(level).run("import time; time.sleep(0.1); print(1)", LIMITS)
    assert during.stdout == "1\n" and set(os.listdir(own)) <= before


@needs_a_group
def test_only_the_thread_that_starts_a_program_goes_into_its_group() -> None:
    """And it comes back: what others start meanwhile, and it later, is outside."""
    own, made = group._own_folder(), group.make(4)
    assert made is not None
    with group.around(made):
        assert group._own_folder() == made.folder
        with subprocess.Popen(("cat",), stdin=subprocess.PIPE) as born:
            assert made.holds(born.pid)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(group._own_folder).result() == own  # its thread starts here
        with group.around(made):
            assert pool.submit(group._own_folder).result() == own
    assert group._own_folder() == own
    made.remove()
    assert not os.path.exists(made.folder)


def test_a_thread_that_may_not_move_stays_and_starts_what_it_must(tmp_path: Path) -> None:
    with group.around(group.Group(str(tmp_path / "none"))):
        started = True
    assert started and not list(tmp_path.iterdir())


def test_a_process_that_is_not_bubblewraps_is_left_alone() -> None:
    """As where the process that it made has ended, and its number is another's."""
    other = subprocess.Popen(("sleep", "30"))
    control, end = os.pipe()
    ours = subprocess.Popen(
        ("sleep", "30"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    bubblewrap.BubblewrapWatch(ours, control, LIMITS, other.pid, None).close()
    os.close(end)
    assert ours.poll() is not None and other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize("name", ["tasks", "cgroup.threads"])
def test_a_thread_moves_itself_by_the_file_of_either_version(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / name).touch()
    with group.around(group.Group(str(folder))):
        assert (folder / name).read_text() == "0" and not (tmp_path / name).read_text()
    assert (tmp_path / name).read_text() == "0"


@pytest.mark.parametrize(
    ("groups", "mounts", "expected"),
    [
        ("8:pids:/a/b\n0::/x\n", "pids", "{}/pids/a/b"),
        ("3:cpu,pids:/\n", "pids", "{}/pids"),
        ("0::/user/one\n", "two", "{}/two/user/one"),
        ("8:pids:/docker/7/c\n", "inside", "{}/pids/c"),
        ("8:pids:/elsewhere\n", "inside", None),
        ("0::/\n", "none", None),
    ],
)
def test_our_own_group_is_found_in_both_versions(
    groups: str,
    mounts: str,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = {
        "pids": {"pids": ("/", f"{tmp_path}/pids")},
        "two": {"": ("/", f"{tmp_path}/two")},
        "inside": {"pids": ("/docker/7", f"{tmp_path}/pids")},
        "none": {},
    }
    told = tmp_path / "cgroup"
    told.write_text(groups)
    monkeypatch.setattr(group, "_OWN", str(told))
    monkeypatch.setattr(group, "_mounts", lambda: tables[mounts])
    assert group._own_folder() == (expected and expected.format(tmp_path))


def test_where_none_can_be_made_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder without the files of the kernel, as with no `pids` in cgroup.subtree_control."""
    monkeypatch.setattr(group, "_own_folder", lambda: str(tmp_path))
    assert group.make(8) is None and not list(tmp_path.iterdir())
    monkeypatch.setattr(group, "_own_folder", lambda: None)
    assert group.make(8) is None and "control group" not in group.bound().split(":")[0]
    assert open_sandbox("bwrap").run("print(1)", LIMITS).stdout == "1\n"


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [("domain invalid\n", "threaded"), ("domain\n", "threaded"), ("threaded\n", "threaded\n")],
)
def test_a_group_below_one_with_processes_is_threaded_in_version_2(
    kind: str, becomes: str, tmp_path: Path
) -> None:
    """cgroup-v2.rst: a group of another kind takes no thread in."""
    (tmp_path / "cgroup.type").write_text(kind)
    group.Group(str(tmp_path))._join_threads()
    assert (tmp_path / "cgroup.type").read_text() == becomes
    (tmp_path / "cgroup.type").unlink()  # version 1
    group.Group(str(tmp_path))._join_threads()
    assert not list(tmp_path.iterdir())


def test_mounts_are_read_whatever_else_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a part that is mounted once more the first counts; a name may be empty."""
    told = tmp_path / "mountinfo"
    told.write_text(
        "1 0 0:5 / / rw shared:1 - 9p  rw,trans=virtio\n"
        "2 1 0:6 / /cg rw - cgroup2 cgroup2 rw,nsdelegate\n"
        "3 1 0:6 /part /elsewhere rw - cgroup2 cgroup2 rw\n"
        "4 1 0:7 / /old/pids rw - cgroup cgroup rw,pids\n"
    )
    monkeypatch.setattr(group, "_MOUNTS", str(told))
    assert group._mounts.__wrapped__() == {"": ("/", "/cg"), "pids": ("/", "/old/pids")}
