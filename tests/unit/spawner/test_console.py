"""The console ring: bounded, and honest about what it forgot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.compute.qemu.console import ConsoleRing, printable, read_record, read_since


def ring(directory: Path, *chunks: bytes, head: int = 10, size: int = 100) -> ConsoleRing:
    made = ConsoleRing(directory, head_bytes=head, ring_bytes=size)
    for chunk in chunks:
        made.write(chunk)
    return made


@pytest.mark.parametrize("length", [1, 99, 100, 101, 199, 200])
def test_sp_15_everything_is_kept_up_to_the_bound(tmp_path: Path, length: int) -> None:
    text = bytes(index % 251 for index in range(length))
    assert ring(tmp_path, *(text[start : start + 7] for start in range(0, length, 7))).read() == text


def test_sp_15_beyond_the_bound_the_beginning_and_the_end_are_kept(tmp_path: Path) -> None:
    made = ring(tmp_path, b"beginning.", *[b"x" * 50] * 10, b"the end")
    assert made.read() == (
        b"beginning.\n[... %d bytes of console output left out ...]\n" % 390 + b"x" * 110 + b"the end"
    )
    assert made.total == 517


def test_sp_15_a_chunk_larger_than_the_ring_is_no_exception(tmp_path: Path) -> None:
    made = ring(tmp_path, b"a" * 1000)
    assert made.read().startswith(b"a" * 10 + b"\n[... ")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 210 + 16


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_sp_15_no_byte_is_kept_twice_or_out_of_order(chunks: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        kept = ring(Path(directory), *chunks).read()
        assert read_record(Path(directory)) == (kept, sum(map(len, chunks)))
    everything = b"".join(chunks)
    if kept == everything:
        return
    head, mark, rest = kept[:10], kept[10:16], kept[16:]
    assert mark == b"\n[... "
    forgotten, _, tail = rest.partition(b" bytes of console output left out ...]\n")
    assert everything.startswith(head)
    assert everything.endswith(tail)
    assert len(head) + int(forgotten) + len(tail) == len(everything)


def test_sp_06_another_process_reads_the_record_while_it_is_written(tmp_path: Path) -> None:
    """The writer runs as fast as it can; what the reader sees is a beginning and an end, never a mixture."""
    program = (
        "import sys; from pathlib import Path; from spawner.compute.qemu.console import ConsoleRing;"
        "ring = ConsoleRing(Path(sys.argv[1]), 100, 4096); print('ready', flush=True); number = 0\n"
        "while True: ring.write(b'%09d\\n' % number); number += 1"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = 0
        try:
            for _ in range(2000):
                record, _total = read_record(tmp_path)
                numbers = [int(line) for line in record.split(b"\n") if line.isdigit() and len(line) == 9]
                assert numbers == sorted(set(numbers))
                seen = max(seen, *numbers, 0)
        finally:
            writer.kill()
    assert seen > 1000


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=30))
def test_sp_06_a_reader_who_comes_back_misses_nothing_that_is_kept(chunks: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        where, seen, got = Path(directory), 0, b""
        made = ring(where)
        for number, chunk in enumerate(chunks):
            made.write(chunk)
            if number % 2:
                more, seen = read_since(where, seen)
                got += more
        more, seen = read_since(where, seen)
    assert got + more == b"".join(chunks)
    assert seen == len(got + more)


def test_sp_06_a_record_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_record(tmp_path) == (b"", 0)


def test_sp_13_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / "console.0").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        ConsoleRing(tmp_path)
    assert target.read_bytes() == b"precious"


def test_the_output_can_be_read_after_its_files_are_removed(tmp_path: Path) -> None:
    made = ring(tmp_path, b"hello")
    for path in tmp_path.iterdir():
        path.unlink()
    assert made.read() == b"hello"


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (b"login: \r\nok\n", "login: \nok\n"),
        (b"\x1b[2J\x00\x07", "\\x1b[2J\\x00\\x07"),
        (b"caf\xc3\xa9 \xff\xfe", "café \\xff\\xfe"),
        ("\u202ereversed \u0085 \u2028".encode(), "\\u202ereversed \\x85 \\u2028"),
        (b"\rover", "\\rover"),
    ],
)
def test_sp_16_nothing_reaches_the_terminal_but_text(output: bytes, shown: str) -> None:
    assert printable(output) == shown
