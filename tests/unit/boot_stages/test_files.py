"""The one writer of files, and paths below a root: GA-W01 to GA-W04, GA-W06."""

import os
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from boot_stages import files
from boot_stages.errors import ActionFailed, UnsafePath
from boot_stages.files import write_whole
from boot_stages.paths import below, open_parent


def test_writes_whole_with_exact_mode_and_makes_parents(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        made: list[str] = []
        write_whole(str(tmp_path), "/a/b/c", b"x", 0o664, made=made)
    finally:
        os.umask(old)
    assert made == ["/a", "/a/b"]
    assert (tmp_path / "a/b/c").read_bytes() == b"x"
    assert stat.S_IMODE((tmp_path / "a/b/c").stat().st_mode) == 0o664
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    assert sorted(each.name for each in (tmp_path / "a/b").iterdir()) == ["c"]


def test_append_keeps_content_and_mode(tmp_path: Path) -> None:
    write_whole(str(tmp_path), "/f", b"one\n", 0o600)
    write_whole(str(tmp_path), "/f", b"two\n", 0o644, append=True)
    assert (tmp_path / "f").read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_ga_w01_a_secret_is_never_wider_than_its_mode(tmp_path: Path) -> None:
    seen, stop = set(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for each in tmp_path.iterdir():
                try:
                    seen.add(stat.S_IMODE(each.lstat().st_mode))
                except FileNotFoundError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    old = os.umask(0)
    try:
        for _ in range(200):
            write_whole(str(tmp_path), "/secret", b"s" * 10_000, 0o600)
    finally:
        os.umask(old)
        stop.set()
        watcher.join()
    assert seen == {0o600}


def test_ga_w02_root_made_links_are_followed_within_the_root(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    write_whole(str(tmp_path), "/var/run/x", b"1")
    (tmp_path / "run/last").symlink_to("../etc/final")
    write_whole(str(tmp_path), "/run/last", b"2")
    assert (tmp_path / "run/x").read_bytes() == b"1"
    assert (tmp_path / "etc/final").read_bytes() == b"2"
    assert (tmp_path / "run/last").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to make links that belong to another user")
def test_ga_w02_links_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "home/dir").symlink_to("/etc")
    os.lchown(tmp_path / "home/dir", 1000, 1000)
    with pytest.raises(UnsafePath, match="the link belongs to user 1000, not to root"):
        write_whole(str(tmp_path), "/home/dir/passwd", b"x")
    (tmp_path / "home/file").symlink_to("/etc/passwd")
    os.lchown(tmp_path / "home/file", 1000, 1000)
    with pytest.raises(UnsafePath, match="a link of user 1000 stands there"):
        write_whole(str(tmp_path), "/home/file", b"x")
    assert list((tmp_path / "etc").iterdir()) == []


def test_ga_w02_a_link_in_a_directory_for_everyone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open/link").symlink_to("/etc")
    with pytest.raises(UnsafePath, match="can be written by everyone"):
        write_whole(str(tmp_path), "/open/link/x", b"x")


def test_ga_w03_a_step_swapped_for_a_link_cannot_lead_outside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (root / "spool").mkdir(parents=True)
    stop = threading.Event()

    def attack() -> None:
        while not stop.is_set():
            try:
                (root / "spool").rename(root / "aside")
                (root / "spool").symlink_to(outside)
                (root / "spool").unlink()
                (root / "aside").rename(root / "spool")
            except OSError:
                continue

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        for _ in range(300):
            try:
                write_whole(str(root), "/spool/f", b"x")
            except (OSError, ActionFailed):
                continue
    finally:
        stop.set()
        attacker.join()
    assert list(outside.iterdir()) == []


def _fifo(path: Any) -> Any:
    os.mkfifo(path)


def _directory(path: Any) -> Any:
    path.mkdir()


def _socket(path: Any) -> Any:
    import socket

    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "kind"), [(_fifo, "a FIFO"), (_directory, "a directory"), (_socket, "a socket")]
)
def test_ga_w04_what_is_not_a_file_is_refused_at_once(tmp_path: Path, make: Any, kind: Any) -> None:
    make(tmp_path / "x")
    with pytest.raises(ActionFailed, match=f"{kind} stands there; remove it or choose another path"):
        write_whole(str(tmp_path), "/x", b"y")


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to make a device")
def test_ga_w04_a_device_is_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"devices cannot be made here: {error}")
    with pytest.raises(ActionFailed, match="a device stands there"):
        write_whole(str(tmp_path), "/null", b"y")


@pytest.mark.parametrize("path", ["", "relative", "/a/../b", "/a\0b", "/"])
def test_ga_w04_paths_that_are_none(tmp_path: Path, path: Any) -> None:
    with pytest.raises(UnsafePath, match="an absolute path without"):
        write_whole(str(tmp_path), path, b"x")


def test_ga_w04_a_name_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        write_whole(str(tmp_path), "/" + "n" * 300, b"x")


@pytest.mark.parametrize("call", ["write", "fchmod", "fsync", "rename"])
def test_ga_w06_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write_whole(str(tmp_path), "/f", b"old")

    def broken(*_arguments: Any, **_keywords: Any) -> Any:
        raise OSError(28, "No space left on device")

    # The operating system is what fails here, not our code.
    monkeypatch.setattr(os, call, broken)
    with pytest.raises(OSError, match="No space left"):
        write_whole(str(tmp_path), "/f", b"new")
    monkeypatch.undo()
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("f", b"old")]


def test_links_that_go_round_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UnsafePath, match="too many levels"):
        write_whole(str(tmp_path), "/a", b"x")
    with pytest.raises(OSError, match="too many levels"):
        below(str(tmp_path), "/a/x")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/in/x", "/real/x"),
        ("/up", "/etc"),
        ("/real/../in", "/real"),
        ("/../../x", "/x"),
        ("/missing/y", "/missing/y"),
    ],
)
def test_reading_never_leaves_the_root(tmp_path: Path, path: Any, found: Any) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "in").symlink_to("/real")
    (tmp_path / "up").symlink_to("../../../etc")
    assert below(str(tmp_path), path) == f"{tmp_path}{found}"


def test_open_parent_without_making(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_parent(str(tmp_path), "/a/b", make=False, made=[])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to become another user")
def test_ga_w05_as_user_has_only_that_users_rights() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # pytest's own is closed to other users
        place = Path(name)
        place.chmod(0o755)
        own = place / "own"
        own.mkdir()
        os.chown(own, 1000, 1000)
        files.as_user(str(place), 1000, 1000, lambda root: write_whole(root, "/own/f", b"x", 0o600))
        assert (own / "f").stat().st_uid == 1000
        with pytest.raises(ActionFailed, match="Permission denied"):
            files.as_user(str(place), 1000, 1000, lambda root: write_whole(root, "/g", b"x"))
