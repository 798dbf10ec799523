"""The archive that the kernel unpacks: read back by cpio itself, the same bytes every time."""

import stat
import subprocess
from pathlib import Path

import pytest

from image_harness import cpio


def _listing(archive: bytes) -> list[str]:
    done = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"],
        input=archive, capture_output=True, check=True,
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return done.stdout.decode().splitlines()


def test_cpio_reads_modes_owners_and_targets() -> None:
    archive = cpio.archive(
        [
            cpio.file("etc/shadow", b"root:*::\n", 0o640, gid=42),
            cpio.symlink("bin", "usr/bin"),
            cpio.directory("tmp", 0o1777),
        ]
    )
    lines = [" ".join(line.split()) for line in _listing(archive)]
    assert lines == [
        "lrwxrwxrwx 1 0 0 7 Jan 1 2024 bin -> usr/bin",
        "drwxr-xr-x 2 0 0 0 Jan 1 2024 etc",
        "-rw-r----- 1 0 42 9 Jan 1 2024 etc/shadow",
        "drwxrwxrwt 2 0 0 0 Jan 1 2024 tmp",
    ]


def test_content_comes_out_as_it_went_in(tmp_path: Path) -> None:
    contents = {f"f{size}": bytes(range(256))[:size] for size in (0, 1, 2, 3, 4, 5, 255)}
    archive = cpio.archive(cpio.file(name, content) for name, content in contents.items())
    subprocess.run(["cpio", "--extract", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_order_of_entries_does_not_matter() -> None:
    entries = [cpio.file("a/b", b"1"), cpio.file("a-b", b"2"), cpio.directory("a", 0o700)]
    assert cpio.archive(entries) == cpio.archive(reversed(entries))


def test_parents_come_before_children_and_keep_a_given_mode() -> None:
    archive = cpio.archive([cpio.file("a/b/c", b""), cpio.directory("a", 0o700), cpio.file("a-b", b"")])
    names = [line.split()[-1] for line in _listing(archive)]
    assert names == ["a", "a/b", "a/b/c", "a-b"]
    assert _listing(archive)[0].startswith("drwx------")


def test_archives_may_be_concatenated() -> None:
    first, second = cpio.archive([cpio.file("x", b"1")]), cpio.archive([cpio.file("y", b"2")])
    assert len(first) % 512 == 0
    # cpio stops at the first trailer; the kernel goes on, and finds the next archive where the padding ends.
    assert (first + second)[len(first) :].startswith(b"070701")


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (cpio.file("f", b""), stat.S_ISREG),
        (cpio.directory("d"), stat.S_ISDIR),
        (cpio.symlink("l", "t"), stat.S_ISLNK),
    ],
)
def test_mode_holds_the_type(entry: cpio.Entry, kind: object) -> None:
    assert callable(kind)
    assert kind(entry.mode)
