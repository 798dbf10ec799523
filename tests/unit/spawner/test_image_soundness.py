"""Images that lie about themselves: refused within limits, whatever their header or tables say (SP-11)."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spawner import qcow2_header, qemu_img
from spawner.errors import QemuFailed
from spawner.image_cache import ImageCache
from spawner.images import ImageFiles, ImageRefused, inspect, verify

MIB = 1 << 20
CLUSTER = 1 << 16
MUTATIONS = 300
SEED = 11


def _qcow2(path: Path) -> Path:
    """A disk of 4 MiB with 256 KiB in it."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(random.Random(SEED).randbytes(4 * CLUSTER) + bytes(4 * MIB - 4 * CLUSTER))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    return path


def _patched(content: bytes, offset: int, patch: bytes) -> bytes:
    return content[:offset] + patch + content[offset + len(patch) :]


def _judge(path: Path, disk_format: str = "qcow2") -> str:
    """The reason against an image, or an empty text."""
    try:
        inspect(path, disk_format)
        verify(path, disk_format)
    except ImageRefused as error:
        return str(error)
    return ""


def _number(content: bytes, offset: int) -> int:
    return int.from_bytes(content[offset : offset + 8])


@pytest.mark.parametrize(
    ("offset", "patch", "reason"),
    [
        (24, (8 << 60).to_bytes(8), "bytes, at most"),
        (24, bytes(8), "has no size"),
        (24, (1 << 40).to_bytes(8), "first-level table has 1 entries, the disk takes 2048"),
        (20, (63).to_bytes(4), "clusters of 2^63 bytes"),
        (32, (1).to_bytes(4), "encrypted"),
        (36, (0xFFFFFFFF).to_bytes(4), "first-level table has 34359738360 bytes"),
        (36, (64 << 10).to_bytes(4), "the first-level table ends at byte"),
        (40, (1 << 50).to_bytes(8), "the first-level table ends at byte"),
        (40, (CLUSTER + 8).to_bytes(8), "no cluster of its own"),
        (48, (1 << 50).to_bytes(8), "the refcount table ends at byte"),
        (56, bytes(4), "there is no refcount table"),
        (56, (1 << 30).to_bytes(4), "the refcount table ends at byte"),
        (60, (3).to_bytes(4), "3 snapshots inside"),
    ],
)
def test_sp_11_a_header_that_lies_is_refused_with_the_reason(
    tmp_path: Path, offset: int, patch: bytes, reason: str
) -> None:
    good = _qcow2(tmp_path / "good")
    assert _judge(good) == ""
    bad = tmp_path / "bad"
    bad.write_bytes(_patched(good.read_bytes(), offset, patch))
    with pytest.raises(ImageRefused) as refused:
        inspect(bad, "qcow2")
    assert reason in str(refused.value)


@pytest.mark.parametrize("lie", ["first table", "second table", "refcounts"])
def test_sp_11_tables_that_lead_out_of_the_file_are_refused(tmp_path: Path, lie: str) -> None:
    content = _qcow2(tmp_path / "good").read_bytes()
    first_table = _number(content, 40)
    second_table = _number(content, first_table) & 0x00FFFFFFFFFFFE00
    refcount_block = _number(content, _number(content, 48))
    copied = 1 << 63
    content = {
        "first table": _patched(content, first_table, (copied | 1 << 45).to_bytes(8)),
        "second table": _patched(content, second_table, (copied | 1 << 45).to_bytes(8)),
        "refcounts": _patched(content, refcount_block, bytes(64)),
    }[lie]
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    assert inspect(bad, "qcow2") == 4 * MIB  # nothing of it shows in the header
    assert "its tables or refcounts are wrong" in _judge(bad)


def test_sp_11_of_300_mutations_none_hangs_and_what_passes_can_be_read(tmp_path: Path) -> None:
    content = _qcow2(tmp_path / "good").read_bytes()
    first_table, refcounts = _number(content, 40), _number(content, 48)
    places = [*range(4, 112), *range(first_table, first_table + 16), *range(refcounts, refcounts + 16)]
    chance = random.Random(SEED)
    images = []
    for number in range(MUTATIONS):
        mutated = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 4))):
            mutated[chance.choice(places)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        path = tmp_path / f"mutation-{number}"
        path.write_bytes(mutated)
        images.append(path)
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(_judge, images))
    passed = [path for path, verdict in zip(images, verdicts, strict=True) if not verdict]
    assert MUTATIONS // 2 < MUTATIONS - len(passed) < MUTATIONS
    unreadable = [path for path in passed if not _reads(path)]
    assert unreadable == []
    assert not any("could not be checked within" in verdict for verdict in verdicts)


def _reads(path: Path) -> bool:
    command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(path), f"{path}.out"]
    return subprocess.run(command, capture_output=True, check=False, timeout=100).returncode == 0


def test_sp_11_a_chain_of_300_layers_is_refused_at_its_first(tmp_path: Path) -> None:
    """Each layer names the next one; none but the first is opened, for the others are gone."""
    content = _qcow2(tmp_path / "good").read_bytes()
    for number in range(300):
        name = str(tmp_path / f"layer-{number + 1}").encode()
        named = _patched(content, 8, (512).to_bytes(8) + len(name).to_bytes(4))
        layer = _patched(named, 512, name)
        if number == 0:
            (tmp_path / "layer-0").write_bytes(layer)
        else:
            (tmp_path / f"layer-{number}").write_bytes(layer[: 2 * CLUSTER])
    assert "backing_file" in _judge(tmp_path / "layer-0")


def test_sp_11_a_raw_image_of_no_size_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert _judge(tmp_path / "empty", "raw") == "The image is not sound: the disk has no size."
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(MIB)
    assert _judge(tmp_path / "sparse", "raw") == ""


def _vmdk(path: Path) -> Path:
    """A disk of 4 MiB, full."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(random.Random(SEED).randbytes(4 * MIB))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", str(raw), str(path)], check=True)
    return path


async def test_sp_11_a_bomb_stops_at_what_a_file_may_have(tmp_path: Path) -> None:
    bomb = _vmdk(tmp_path / "bomb")
    cache = ImageCache(tmp_path / "cache", quota_bytes=MIB)
    with pytest.raises(QemuFailed):
        await cache.get("bomb", bomb, "vmdk")
    assert list((tmp_path / "cache").iterdir()) == []
    assert await ImageCache(tmp_path / "cache", quota_bytes=16 * MIB).get("bomb", bomb, "vmdk")


async def test_sp_11_an_upload_whose_tables_lie_leaves_nothing(tmp_path: Path) -> None:
    content = _qcow2(tmp_path / "good").read_bytes()
    bad = _patched(content, _number(content, 40), (1 << 63 | 1 << 45).to_bytes(8))
    files = ImageFiles(tmp_path / "images")
    with pytest.raises(ImageRefused, match="not sound"):
        await files.receive("bad", "qcow2", _chunks(bad))
    assert list((tmp_path / "images").iterdir()) == []
    assert (await files.receive("good", "qcow2", _chunks(content))).virtual_size == 4 * MIB


PARTITION = bytes.fromhex("800002008300000001000000ff1f0000")
PARTITIONED = bytes(446) + PARTITION + bytes(48) + b"\x55\xaa"


@pytest.mark.parametrize("first_sector", [bytes(512), PARTITIONED], ids=["plain", "partitioned"])
async def test_a_raw_image_is_as_large_as_its_file(tmp_path: Path, first_sector: bytes) -> None:
    content = first_sector + bytes(4 * MIB - 512)
    taken = await ImageFiles(tmp_path).receive("raw", "raw", _chunks(content))
    assert (taken.size, taken.virtual_size) == (4 * MIB, 4 * MIB)


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    await asyncio.sleep(0)
    yield content


def test_sp_11_a_check_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "qemu-img"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert qemu_img.check_fault(tmp_path / "image", limit_s=0.1) == "it could not be checked within 0.1 s"


def test_sp_11_a_header_that_is_cut_off_is_none() -> None:
    with pytest.raises(ValueError, match="it has 71 bytes"):
        qcow2_header.parse(bytes(71))
