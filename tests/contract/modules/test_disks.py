"""Disks for real: loop devices partitioned, formatted and grown by the plans, and data that is not lost."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Boot = Callable[[Path, Path], dict[str, Any]]
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]
SIZE = 200 * 1024 * 1024


@pytest.fixture
def loop(guest_root: Path, tmp_path: Path) -> Iterator[str]:
    """A loop device of 200 MiB that the guest root sees under the same name, with /sys."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(SIZE)
    made = subprocess.run(
        ["losetup", "--find", "--show", "--partscan", str(image)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"loop devices cannot be had here: {made.stderr.strip()}")
    device = made.stdout.strip()
    number = Path(device).stat().st_rdev
    node = guest_root / device.lstrip("/")
    if not node.exists():
        os.mknod(node, stat.S_IFBLK | 0o600, number)
    # Not /proc: the guest must not take this machine's root for its own.
    subprocess.run(["mount", "--bind", "/sys", str(guest_root / "sys")], check=True)
    try:
        yield device
    finally:
        subprocess.run(["umount", "--lazy", str(guest_root / "sys")], check=False)
        subprocess.run(["losetup", "--detach", device], check=False)


@pytest.fixture
def disk_boot(guest_root: Path, tmp_path: Path, boot: Boot) -> Callable[..., dict[str, Any]]:
    """A boot with these keys; what the module disk_setup did and warned of."""

    def run(**config: Any) -> dict[str, Any]:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"resize_rootfs": False, "growpart": {"mode": "off"}, **config}))
        return boot(guest_root, path)

    return run


def found_on(device: str) -> dict[str, str]:
    """What blkid sees on a device."""
    answer = subprocess.run(
        ["blkid", "-p", "-o", "export", device], capture_output=True, text=True, check=False
    )
    return dict(line.split("=", 1) for line in answer.stdout.splitlines())


def commands(result: dict[str, Any]) -> list[str]:
    """The programs that disk_setup ran."""
    return [text.split()[1] for text in result["done"]["disk_setup"] if text.startswith("run ")]


def test_a_file_system_is_made_once(loop: str, disk_boot: Any) -> None:
    wanted = [{"filesystem": "ext4", "label": "data", "device": loop}]
    first = disk_boot(fs_setup=wanted)
    assert first["errors"] == {}
    assert "mkfs.ext4" in commands(first)
    made = found_on(loop)
    assert (made["TYPE"], made["LABEL"]) == ("ext4", "data")
    assert commands(disk_boot(fs_setup=wanted)) == []
    assert found_on(loop)["UUID"] == made["UUID"]


@pytest.mark.parametrize(("table", "label"), [("mbr", "dos"), ("gpt", "gpt")])
def test_a_table_is_written_once(loop: str, disk_boot: Any, table: str, label: str) -> None:
    wanted = {loop: {"table_type": table, "layout": [25, 75]}}
    assert disk_boot(disk_setup=wanted)["errors"] == {}
    dump = subprocess.run(["sfdisk", "--dump", loop], capture_output=True, text=True, check=True).stdout
    assert f"label: {label}" in dump
    sizes = [
        int(line.partition("size=")[2].partition(",")[0]) for line in dump.splitlines() if "size=" in line
    ]
    assert len(sizes) == 2
    assert 2.5 < sizes[1] / sizes[0] < 3.1
    assert commands(disk_boot(disk_setup=wanted)) == []


def test_data_are_not_lost_unless_told(loop: str, disk_boot: Any) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-L", "precious", loop], check=True)
    refused = disk_boot(
        disk_setup={loop: {"layout": True}}, fs_setup=[{"filesystem": "ext4", "label": "new", "device": loop}]
    )
    assert "is left alone" in refused["warnings"]["disk_setup"]
    assert found_on(loop)["LABEL"] == "precious"
    told = disk_boot(disk_setup={loop: {"layout": True, "overwrite": True}})
    assert told["errors"] == {}
    assert found_on(loop).get("PTTYPE") == "dos"


def test_a_partition_grows(loop: str, guest_root: Path, disk_boot: Any) -> None:
    table = "label: gpt\nsize=50MiB\n"
    subprocess.run(["sfdisk", "--quiet", loop], input=table, text=True, check=True)
    # A kernel that reads no tables itself is told.
    subprocess.run(["partx", "--update", loop], check=False, capture_output=True)
    name = Path(f"{loop}p1").name
    place = Path("/sys/class/block", name)
    if not place.exists():
        pytest.skip("the kernel here makes no partitions of loop devices")
    major, minor = map(int, (place / "dev").read_text().split(":"))
    os.mknod(guest_root / "dev" / name, stat.S_IFBLK | 0o600, os.makedev(major, minor))
    grown = disk_boot(growpart={"devices": [f"{loop}p1"]})
    assert grown["done"]["growpart"] == [f"run growpart {loop} 1"]
    assert int((place / "size").read_text()) * 512 > SIZE - 4 * 1024 * 1024
    assert disk_boot(growpart={"devices": [f"{loop}p1"]})["done"]["growpart"] == []
