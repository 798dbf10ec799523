"""Images that are converted before a guest gets them, and those that nobody gets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from spawner.compute import guest_plan
from spawner.errors import NotFound, QemuFailed
from spawner.image_cache import ImageCache
from spawner.images import ImageFiles, ImageRefused, inspect
from spawner.store.engine import open_store
from spawner.store.servers import Flavor, Server
from spawner.store.tables import IMAGES

MIB = 1 << 20


def _image(path: Path, *options: str, fill: int = 7) -> Path:
    """A disk of 4 MiB with something in it, in a format of qemu-img's."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(bytes([fill]) * MIB + bytes(3 * MIB))
    subprocess.run(["qemu-img", "convert", "-f", "raw", *options, str(raw), str(path)], check=True)
    return path


def _same(one: Path, other: Path) -> bool:
    done = subprocess.run(
        ["qemu-img", "compare", "-f", "qcow2", "-F", "raw", str(one), str(other)],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@pytest.mark.parametrize(
    ("disk_format", "options"),
    [
        ("vmdk", ("-O", "vmdk", "-o", "subformat=streamOptimized")),
        ("vmdk", ("-O", "vmdk")),
        ("vhd", ("-O", "vpc", "-o", "force_size=on")),
    ],
)
async def test_a_foreign_format_is_converted_once(
    tmp_path: Path, disk_format: str, options: tuple[str, ...]
) -> None:
    image = _image(tmp_path / "image", *options)
    assert inspect(image, disk_format) == 4 * MIB
    cache = ImageCache(tmp_path / "cache")
    path = await cache.get("image-1", image, disk_format)
    assert _same(path, image.with_suffix(".raw"))
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.stat().st_ino
    assert (await cache.get("image-1", image, disk_format)).stat().st_ino == first


async def test_the_least_recently_used_goes_when_there_is_too_much(tmp_path: Path) -> None:
    image = _image(tmp_path / "image", "-O", "vmdk")
    cache = ImageCache(tmp_path / "cache", quota_bytes=3 * MIB)
    for number in (1, 2):
        path = await cache.get(f"image-{number}", image, "vmdk")
        os.utime(path, (number, number))
    await cache.get("image-1", image, "vmdk")
    await cache.get("image-3", image, "vmdk")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["image-1", "image-3"]
    small = ImageCache(tmp_path / "cache", quota_bytes=1)
    await small.get("image-3", image, "vmdk")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["image-3"]


async def test_sp_08_what_cannot_be_converted_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"KDMV" + bytes(600))
    with pytest.raises(QemuFailed, match="qemu-img exit status"):
        await ImageCache(tmp_path / "cache").get("image-1", tmp_path / "image", "vmdk")
    assert list((tmp_path / "cache").iterdir()) == []


def _qcow2(path: Path, *options: str) -> Path:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "4M"],
        check=True,
        capture_output=True,
    )
    return path


def _patched(path: Path, offset: int, content: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
    return path


def _hostile(directory: Path) -> dict[str, tuple[str, Path]]:
    """Name -> what it is declared as, and the file."""
    base = _qcow2(directory / "base")
    data = directory / "data"
    found = {
        "a backing file": ("qcow2", _qcow2(directory / "a", "-b", str(base), "-F", "qcow2")),
        "a data file": ("qcow2", _qcow2(directory / "b", "-o", f"data_file={data}")),
        "a backing name of json": (
            "qcow2",
            _patched(_qcow2(directory / "c", "-b", str(base), "-F", "qcow2"), 1024, b"json:{}"),
        ),
        "an unknown feature": ("qcow2", _patched(_qcow2(directory / "d"), 72, (1 << 40).to_bytes(8))),
        "a version that nobody knows": ("qcow2", _patched(_qcow2(directory / "e"), 4, (9).to_bytes(4))),
        "a qcow2 that is said to be raw": ("raw", _qcow2(directory / "f")),
        "a vmdk that is said to be raw": ("raw", _image(directory / "g", "-O", "vmdk")),
        "a raw disk that is said to be qcow2": ("qcow2", directory / "g.raw"),
        "a vhd that is said to be qcow2": ("qcow2", _image(directory / "h", "-O", "vpc")),
        "a flat vmdk, whose data is elsewhere": (
            "vmdk",
            _image(directory / "i", "-O", "vmdk", "-o", "subformat=monolithicFlat"),
        ),
        "a LUKS disk": (
            "qcow2",
            _patched(_qcow2(directory / "j"), 0, b"LUKS\xba\xbe\x00\x01"),
        ),
    }
    for number, length in enumerate((0, 3, 71)):
        cut = directory / f"cut{number}"
        cut.write_bytes(base.read_bytes()[:length])
        found[f"a qcow2 of {length} bytes"] = ("qcow2", cut)
    return found


def test_sp_09_hostile_images_are_refused_before_any_tool_of_qemu_sees_them(tmp_path: Path) -> None:
    passed = []
    samples = _hostile(tmp_path)
    for name, (disk_format, path) in samples.items():
        try:
            inspect(path, disk_format)
        except ImageRefused:
            continue
        passed.append(name)
    assert passed == []
    assert len(samples) == 14
    assert inspect(tmp_path / "base", "qcow2") == 4 * MIB  # the detector itself lets a good one through


@pytest.mark.parametrize("image_id", ["../spawner.db", "/etc/shadow", "", "a/b", ".part", "x" * 65])
def test_sp_12_an_id_that_leads_elsewhere_is_none(tmp_path: Path, image_id: str) -> None:
    with pytest.raises(ImageRefused, match="is no id of an image"):
        ImageFiles(tmp_path).path(image_id)


@pytest.mark.parametrize(("owner", "seen"), [("project-1", True), ("project-2", False)])
async def test_a_kernel_of_another_project_is_not_there(tmp_path: Path, owner: str, seen: bool) -> None:
    store = await open_store(str(tmp_path / "spawner.db"))
    flavor = Flavor("1", "m1.tiny", vcpus=1, ram_mib=64, disk_gib=0)
    server = Server("s", "s", "s", "project-1", "user-1", flavor, created_at=1.0, image_id="disk")
    async with store.write() as connection:
        for image_id, of, properties in (
            ("kernel", owner, {}),
            ("disk", "project-1", {"kernel_id": "kernel"}),
        ):
            await connection.execute(
                IMAGES.insert().values(
                    id=image_id, status="active", owner=of, properties=properties, created_at=1.0
                )
            )
        if seen:
            own, rescue = await guest_plan.images(connection, server)
            assert (own.id, rescue) == ("disk", None)
        else:
            with pytest.raises(NotFound, match="kernel"):
                await guest_plan.images(connection, server)
    await store.close()
