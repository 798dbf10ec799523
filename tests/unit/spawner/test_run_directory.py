"""The private directory of a guest: ours alone, short, and gone when its maker is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spawner.compute.qemu.run_directory import RunDirectory, is_held, run_root, sweep
from spawner.compute.qemu.user import User
from spawner.errors import FileRefused, RunDirectoryUnusable

NOBODY = User(65534, 65534)


def test_sp_04_a_directory_is_private_and_no_two_are_the_same(public: Path) -> None:
    made = [RunDirectory.create(public / "run") for _ in range(100)]
    assert len({directory.path for directory in made}) == 100
    assert {oct(directory.path.stat().st_mode & 0o777) for directory in made} == {"0o700"}
    for directory in made:
        directory.remove()
        directory.remove()
    assert list((public / "run").iterdir()) == []


def test_sp_04_a_path_too_long_for_a_socket_is_refused_and_removed(public: Path) -> None:
    root = public / ("x" * 80)
    with pytest.raises(RunDirectoryUnusable, match="a socket path in it would pass 107 bytes") as caught:
        RunDirectory.create(root)
    assert "Set GUESTLING_RUN_DIR" in str(caught.value)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("length", [106, 107, 108])
def test_sp_04_the_bound_is_107_bytes(public: Path, length: int) -> None:
    tail = len("/gXXXXXXXX/metadata.sock")
    root = public / ("x" * (length - tail - len(os.fspath(public)) - 1))
    if length > 107:
        with pytest.raises(RunDirectoryUnusable):
            RunDirectory.create(root)
        return
    directory = RunDirectory.create(root)
    directory.metadata_socket.with_name("metadata.sock")
    directory.listen("metadata.sock").close()
    directory.remove()


def test_sp_13_a_root_that_others_may_write_to_is_refused(public: Path) -> None:
    root = public / "run"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(RunDirectoryUnusable, match=r"others may write to it \(mode 0777\)"):
        RunDirectory.create(root)


def test_sp_13_a_root_that_is_a_link_is_refused(public: Path) -> None:
    (public / "elsewhere").mkdir()
    (public / "run").symlink_to(public / "elsewhere")
    with pytest.raises(RunDirectoryUnusable, match="it is not a directory of ours"):
        RunDirectory.create(public / "run")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory that belongs to somebody else")
def test_sp_13_a_root_of_another_user_is_refused(public: Path) -> None:
    (public / "run").mkdir()
    os.chown(public / "run", 65534, 65534)
    with pytest.raises(RunDirectoryUnusable, match="it is not a directory of ours"):
        RunDirectory.create(public / "run")


def test_where_directories_lie(tmp_path: Path) -> None:
    assert run_root({"GUESTLING_RUN_DIR": "/x"}, 1) == Path("/x")
    assert run_root({"XDG_RUNTIME_DIR": str(tmp_path)}, 1) == tmp_path / "guestling"
    assert run_root({"XDG_RUNTIME_DIR": "/missing"}, 1) == Path("/tmp/guestling-1")


def test_sp_06_sweep_removes_what_a_killed_maker_left_and_nothing_else(public: Path) -> None:
    root = public / "run"
    program = (
        "import sys; from pathlib import Path; from spawner.compute.qemu.run_directory import RunDirectory;"
        "made = RunDirectory.create(Path(sys.argv[1])); (made.path / 'qmp.sock').touch();"
        "print(made.path, flush=True); sys.stdin.read()"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", program, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with maker:
        assert maker.stdout is not None
        left = Path(maker.stdout.readline().strip())
        ours = RunDirectory.create(root)
        assert sweep(root) == []  # both makers live
        maker.kill()
    assert sweep(root) == [left]
    assert list(root.iterdir()) == [ours.path]
    ours.remove()


def test_sp_06_sweep_sees_no_directory_between_its_making_and_its_lock(public: Path) -> None:
    root = public / "run"
    RunDirectory.create(root).remove()
    stop = threading.Event()
    swept: list[Path] = []

    def sweeper() -> None:
        while not stop.is_set():
            swept.extend(sweep(root))

    thread = threading.Thread(target=sweeper)
    thread.start()
    made = [RunDirectory.create(root) for _ in range(200)]
    stop.set()
    thread.join()
    assert swept == []
    for directory in made:
        directory.remove()


def test_sp_06_a_directory_is_live_as_long_as_anybody_has_its_lock(public: Path) -> None:
    ours = RunDirectory.create(public / "run")
    keeper = subprocess.Popen(["sleep", "60"], pass_fds=[ours.lock])
    os.close(ours.lock)
    assert is_held(ours.path)
    assert sweep(public / "run") == []
    keeper.kill()
    keeper.wait()
    assert not is_held(ours.path)
    assert sweep(public / "run") == [ours.path]


@pytest.mark.parametrize("is_swept", [False, True], ids=["kept", "swept"])
def test_sp_06_a_directory_whose_holder_ended_is_held_again(public: Path, is_swept: bool) -> None:
    made = RunDirectory.create(public / "run")
    other = RunDirectory.reopen(made.path)
    with pytest.raises(BlockingIOError):
        other.take()
    made.release()
    if is_swept:
        assert sweep(public / "run") == [made.path]
    assert other.take() is is_swept
    assert (is_held(made.path), sweep(public / "run")) == (True, [])
    other.remove()


def test_sp_06_what_has_no_lock_is_removed_at_once(public: Path) -> None:
    root = public / "run"
    RunDirectory.create(root).remove()
    (root / "gfresh").mkdir()
    assert sweep(root) == [root / "gfresh"]


def test_sp_06_sweep_without_a_directory_does_nothing(public: Path) -> None:
    assert sweep(public / "never-made") == []


def test_a_file_that_is_readable_is_used_in_place(run: RunDirectory, public: Path) -> None:
    kernel = public / "vmlinuz"
    kernel.write_bytes(b"kernel")
    kernel.chmod(0o644)
    assert run.stage(kernel, NOBODY) == kernel
    assert run.stage(kernel, None) == kernel


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_file_in_a_closed_place_is_staged(run: RunDirectory, tmp_path: Path, mode: int) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    kernel = closed / "vmlinuz"
    kernel.write_bytes(b"kernel")
    kernel.chmod(mode)
    somebody = User(4242, 4242)
    staged = run.stage(kernel, somebody)
    assert staged.parent == run.path
    assert staged.read_bytes() == b"kernel"
    assert staged.stat().st_mode & 0o004


def test_a_missing_file_says_so(run: RunDirectory) -> None:
    with pytest.raises(FileRefused, match="/no/such: there is no such file"):
        run.stage(Path("/no/such"), None)


def test_a_user_reads_what_its_mode_bits_allow(public: Path) -> None:
    file = public / "file"
    file.touch()
    owner = User(os.geteuid(), os.getegid())
    stranger = User(4242, 4242)
    fellow = User(4242, 4243, (os.getegid(),))
    for mode, readers in (
        (0o600, [owner]),
        (0o640, [owner, fellow]),
        (0o604, [owner, stranger]),
        (0o000, []),
    ):
        file.chmod(mode)
        assert [user for user in (owner, stranger, fellow) if user.may_read(file)] == readers
    assert not stranger.may_read(public / "missing")
