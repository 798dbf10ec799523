"""A store that cannot be used says so with its path, and is left byte for byte as it was (SP-18)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from spawner.errors import StoreUnusable
from spawner.store.engine import open_store
from spawner.store.tables import PROVIDERS

HEADER = b"SQLite format 3\0"


@pytest.mark.parametrize("content", [b"not a database at all", HEADER + b"\xff" * 4096, b"\x9f\x03" * 4096])
async def test_sp_18_a_damaged_store_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spawner.db"
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match=r"spawner\.db: (file is not a database|.*malformed)") as caught:
        await open_store(str(path))
    assert "It was left as it is" in str(caught.value)
    assert path.read_bytes() == content


async def test_sp_18_a_store_with_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spawner.db"
    await (await open_store(str(path))).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xa5" * 3996  # the first page: the list of tables
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match="malformed"):
        await open_store(str(path))
    assert path.read_bytes() == content


async def test_sp_18_a_store_that_another_holds_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "spawner.db"
    await (await open_store(str(path))).close()
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(open_store(str(path), busy_timeout_ms=20_000))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        with pytest.raises(StoreUnusable, match="database is locked"):
            await open_store(str(path), busy_timeout_ms=100)
        other.execute("ROLLBACK")
        await (await waiting).close()
    other.close()


async def test_sp_18_a_write_that_is_given_up_while_it_waits_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "spawner.db"
    store = await open_store(str(path))

    async def write() -> None:
        async with store.write():
            raise AssertionError("another holds the lock")

    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(write())
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        other.execute("PRAGMA busy_timeout=1000")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    other.close()
    await store.close()


async def test_a_statement_that_fails_says_why_in_the_drivers_own_errors(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "spawner.db"))
    row = {"id": "1", "name": "one", "generation": 0}
    async with store.write() as connection:
        await connection.execute(insert(PROVIDERS), row)
        with pytest.raises(IntegrityError, match="UNIQUE constraint failed: resource_providers"):
            await connection.execute(insert(PROVIDERS), [row])
    async with store.read() as connection:
        assert [dict(each) for each in (await connection.execute(select(PROVIDERS))).mappings()] == [row]
        with pytest.raises(OperationalError, match="no such table"):
            await connection.exec_driver_sql("SELECT 1 FROM nowhere")
    await store.close()


@pytest.mark.parametrize("make", ["directory", "link"])
async def test_sp_18_what_is_no_file_is_refused(tmp_path: Path, make: str) -> None:
    path = tmp_path / "spawner.db"
    if make == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        StoreUnusable, match=r"spawner\.db: (Is a directory|Too many levels of symbolic links)"
    ):
        await open_store(str(path))
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def small(public: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", public], check=True)
    yield public
    subprocess.run(["umount", public], check=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
async def test_sp_18_a_full_or_read_only_disk_is_an_error_and_no_traceback(small: Path) -> None:
    path = small / "spawner.db"
    with pytest.raises(StoreUnusable, match=r"disk is full|disk I/O error"):
        await open_store(str(path))
    remount = await asyncio.create_subprocess_exec("mount", "-o", "remount,ro", small)
    assert await remount.wait() == 0
    with pytest.raises(StoreUnusable, match=r"Read-only file system"):
        await open_store(str(path))
