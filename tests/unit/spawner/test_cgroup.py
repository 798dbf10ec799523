"""A control group for each guest: what is written to it, and that the kernel has QEMU in it (SP-20)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from spawner.compute.driver import VmSpec
from spawner.compute.qemu import cgroup
from spawner.compute.qemu.cgroup import Groups, found, limits, mount_of
from spawner.compute.qemu.confinement import Confinement, launcher_argv
from spawner.compute.qemu.run_directory import RunDirectory, sweep

ROOT = Path(__file__).parents[3]
FORKS = """
import json, os, sys
from spawner.compute.qemu import launch
arguments = ["parent=1", f"cgroup={sys.argv[1]}", "--", "cgroup=no option"]
pid = launch.fork(arguments)
if pid == 0:
    own = open("/proc/self/cgroup").read()
    print(json.dumps([arguments, own, os.getppid()]), flush=True)
    os._exit(7)
print(json.dumps([arguments, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.getpid()]))
"""
SPEC = VmSpec("web", UUID(int=1), kernel=Path("/kernel"), memory_mib=512, vcpus=2)
MOUNTS = """\
25 30 0:23 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:24 / {mount} rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
28 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
"""


def _tree(root: Path, controllers: str, *below: str) -> Path:
    """Directories that look like cgroup v2."""
    for path in (root, *(root / each for each in below)):
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.controllers").write_text(controllers)
        (path / "cgroup.subtree_control").touch()
        (path / "cgroup.procs").touch()
    return root


def test_sp_20_limits_follow_the_flavor_with_room_for_qemu_itself() -> None:
    assert limits(SPEC) == {
        "memory.max": str((512 + 2048) << 20),
        "pids.max": "514",
        "cpu.weight": "200",
    }


def test_the_mount_is_version_2s_wherever_it_is() -> None:
    assert mount_of(MOUNTS.format(mount="/sys/fs/cgroup/unified")) == Path("/sys/fs/cgroup/unified")
    assert mount_of(MOUNTS.replace("cgroup2", "cgroup")) is None


def test_root_has_a_slice_of_its_own_with_the_controllers_that_there_are(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "cg", "cpuset cpu io memory pids", "guestling.slice")
    groups = found(MOUNTS.format(mount=tree), "0::/system.slice/x.service\n", is_root=True)
    assert groups == Groups(tree / "guestling.slice", frozenset({"cpu", "memory", "pids"}))
    group = groups.make("run1", SPEC)
    assert group == tree / "guestling.slice/guest-run1"
    assert {path.name: path.read_text() for path in group.iterdir()} == dict(limits(SPEC))


def test_a_user_has_groups_beside_its_own_where_those_are_delegated(tmp_path: Path) -> None:
    tree = _tree(tmp_path / "cg", "memory pids", "app.slice", "app.slice/guestling.slice")
    groups = found(MOUNTS.format(mount=tree), "1:name=x:/\n0::/app.slice/shell.scope\n", is_root=False)
    assert groups.base == tree / "app.slice/guestling.slice"
    assert groups.why_not == "cgroup v2 lacks cpu here"
    made = groups.make("run1", SPEC)
    assert made is not None
    assert sorted(path.name for path in made.iterdir()) == ["memory.max", "pids.max"]


def test_where_there_are_none_it_says_why() -> None:
    assert found("", "0::/\n", is_root=True) == Groups(None, why_not="cgroup v2 is not mounted")
    groups = found(MOUNTS.format(mount="/nowhere"), "0::/a/b\n", is_root=False)
    assert groups.why_not == "/nowhere/a was not delegated to this user"
    assert groups.make("run1", SPEC) is None


@pytest.fixture
def groups() -> Iterator[Groups]:
    """Real groups, in a group of the test's own."""
    real = cgroup.here()
    if real.base is None:
        pytest.skip(f"no control groups here: {real.why_not}")
    base = real.base / f"test-{uuid4()}"
    base.mkdir()
    with suppress(OSError):
        (base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in real.controllers))
    yield replace(real, base=base)
    base.rmdir()


def _is_gone(pid: int) -> bool:
    """A zombie whose parent does not look after it is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_sp_20_a_program_and_its_children_run_in_their_group_until_it_is_removed(
    groups: Groups,
) -> None:
    """The kernel's own word; what a program leaves behind ends with the group."""
    group = groups.make("run1", SPEC)
    assert group is not None
    program = ["/bin/sh", "-c", "sleep 1000 & echo ready; wait"]
    command = launcher_argv(program, Confinement(cgroup=group), os.getpid())
    running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert running.stdout is not None
    assert await running.stdout.readline() == b"ready\n"
    inside = {int(line) for line in (group / "cgroup.procs").read_text().split()}
    assert running.pid in inside
    assert len(inside) == 2
    groups.sweep(time.time() + 3600)
    assert group.is_dir()  # a group that is in use is left alone
    await groups.remove("run1")
    assert not group.exists()
    await running.wait()
    assert [pid for pid in inside if not _is_gone(pid)] == []
    await groups.remove("run1")


def _forked(group: Path) -> tuple[list[str], str]:
    """What a child of `launch.fork` is given, and the text of its /proc/self/cgroup."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(group)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    (arguments, own, parent), (left, status, pid) = map(json.loads, done.stdout.splitlines())
    assert (left, status, pid) == (arguments, 7, parent)
    return arguments, own


def test_sp_20_a_child_begins_in_its_group_so_that_nobody_has_to_move_it(groups: Groups) -> None:
    group = groups.make("run1", SPEC)
    assert group is not None
    arguments, own = _forked(group)
    group.rmdir()
    if "cgroup" in arguments[1]:
        pytest.skip("this kernel, or a filter of system calls, begins no process in a group")
    assert arguments == ["parent=1", "--", "cgroup=no option"]
    assert f"/{group.name}\n" in own


def test_sp_20_a_child_that_cannot_begin_in_its_group_is_left_to_be_moved(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        arguments, _ = _forked(path)
        assert arguments == ["parent=1", f"cgroup={path}", "--", "cgroup=no option"]


def test_sp_06_empty_groups_of_a_killed_spawner_are_swept_new_ones_are_not(groups: Groups) -> None:
    group = groups.make("run1", SPEC)
    assert group is not None
    groups.sweep(time.time())
    assert group.is_dir()
    groups.sweep(group.stat().st_mtime + cgroup.LEFT_OVER_S + 1)
    assert not group.exists()


def test_sp_20_the_kernel_took_the_limits(groups: Groups) -> None:
    if "memory" not in groups.controllers:
        pytest.skip(f"no limit of memory can be set: {groups.why_not}")
    group = groups.make("run1", SPEC)
    assert group is not None
    try:
        assert (group / "memory.max").read_text().strip() == limits(SPEC)["memory.max"]
    finally:
        group.rmdir()


def test_sp_06_the_group_goes_with_a_run_directory_that_nobody_holds(tmp_path: Path) -> None:
    real = cgroup.here()
    if real.base is None:
        pytest.skip(f"no control groups here: {real.why_not}")
    run = RunDirectory.create(tmp_path / "run")
    group = real.make(run.path.name, SPEC)
    assert group is not None
    assert sweep(tmp_path / "run") == []
    assert group.is_dir()
    run.release()
    assert sweep(tmp_path / "run") == [run.path]
    assert not group.exists()
