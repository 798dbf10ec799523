"""What a Linux kernel sees of our drives: Rock Ridge, Joliet, plain names and vfat, byte for byte.

A guest is asked, not this machine: its kernel may lack these file systems, and must not mount foreign images.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import pytest

from configdrive import builder
from configdrive.builder import Format
from configdrive.iso9660_names import joliet_names, plain_names
from image_harness import boot, cpio, store

pytestmark = pytest.mark.boot

TREE = {
    "openstack/latest/meta_data.json": b'{"uuid": "8f0a9c1e-1111-4222-8333-444455556666"}',
    "openstack/latest/user_data": b"#cloud-config\n" * 1000,
    "openstack/2018-08-27/meta_data.json": b'{"uuid": "8f0a9c1e-1111-4222-8333-444455556666"}',
    "openstack/content/0000": bytes(range(256)) * 33,
    "openstack/content/0001": b"",
    "Upper.Case": b"kept as it is",
    ".leading.dots": b"dots",
    "umlaut-ä": b"not ASCII",
    "long-" + "n" * 200: b"in a continuation area of Rock Ridge",
}
# How the kernel is asked to mount which disk; what it then must show.
MOUNTS = {
    "rock-ridge": ("vda", "-t iso9660"),
    "joliet": ("vda", "-t iso9660 -o norock,iocharset=utf8"),
    "plain": ("vda", "-t iso9660 -o norock,nojoliet"),
    "vfat": ("vdb", "-t vfat -o utf8"),
    "small-vfat": ("vdc", "-t vfat -o utf8"),
}
SCRIPT = """#!/bin/busybox sh
export PATH=/usr/bin:/usr/sbin:/bin:/sbin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
modprobe -a virtio_pci virtio_blk isofs vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8
for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vdc ] && break; sleep 0.2; done
see() {
    mount $3 -r /dev/$2 /mnt || { echo "REFUSED $1"; return; }
    cd /mnt
    find . -type f -exec sha256sum {} + | sed "s|^|SEEN $1 |"
    find . -exec stat -c "MODE $1 %a %u:%g" {} + | sort -u
    cd /
    umount /mnt
}
CALLS
echo DONE
poweroff -f
"""


@pytest.fixture(scope="module")
def console(tiny: store.Image, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the guest printed about all drives: it is booted once."""
    directory = tmp_path_factory.mktemp("kernel")
    calls = "\n".join(f'see {name} {disk} "{options}"' for name, (disk, options) in MOUNTS.items())
    archive = cpio.archive([cpio.file("look-at-drives", SCRIPT.replace("CALLS", calls).encode(), 0o755)])
    assert tiny.initrd is not None
    (directory / "initrd").write_bytes(tiny.initrd.read_bytes() + archive)
    images = (
        builder.build(TREE),
        builder.build(TREE, format=Format.VFAT),
        builder.build(TREE, format=Format.VFAT, size_mib=1),
    )
    argv = [
        boot.QEMU,
        "-machine",
        "q35,accel=tcg",
        "-cpu",
        "max",
        "-m",
        "384",
        "-nodefaults",
        "-display",
        "none",
    ]
    argv += [
        "-serial",
        "stdio",
        "-no-reboot",
        "-kernel",
        str(tiny.kernel),
        "-initrd",
        str(directory / "initrd"),
    ]
    argv += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off rdinit=/look-at-drives"]
    for number, image in enumerate(images):
        file = directory / f"drive{number}"
        file.write_bytes(image)
        node = f"driver=raw,read-only=on,node-name=d{number},file.driver=file,file.filename={file}"
        argv += ["-blockdev", node, "-device", f"virtio-blk-pci,drive=d{number}"]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=110)
    text = done.stdout.decode().replace("\r", "")
    assert "DONE" in text, text[-2000:]
    return text


def seen(console: str, name: str) -> dict[str, str]:
    """Path -> SHA-256 as the kernel showed it."""
    lines = re.findall(rf"^SEEN {name} ([0-9a-f]{{64}})  \./(.+)$", console, re.MULTILINE)
    return {path: digest for digest, path in lines}


def expected(tree: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in tree.items()}


def renamed(names: Callable[[Iterable[str]], dict[str, str]]) -> dict[str, bytes]:
    """The tree under other names, directory by directory."""
    inside: dict[str, list[str]] = defaultdict(list)
    for path in TREE:
        parts = path.split("/")
        for depth, part in enumerate(parts):
            directory = "/".join(parts[:depth])
            if part not in inside[directory]:
                inside[directory].append(part)
    table = {directory: names(sorted(parts)) for directory, parts in inside.items()}
    shown = {}
    for path, content in TREE.items():
        parts = path.split("/")
        shown["/".join(table["/".join(parts[:depth])][part] for depth, part in enumerate(parts))] = content
    return shown


@pytest.mark.parametrize("name", ["rock-ridge", "vfat", "small-vfat"])
def test_cd_13_the_kernel_sees_every_file_under_its_name(console: str, name: str) -> None:
    assert seen(console, name) == expected(TREE)


def test_cd_06_the_kernel_sees_joliet_names_where_it_may_not_use_rock_ridge(console: str) -> None:
    assert seen(console, "joliet") == expected(renamed(joliet_names))


def test_cd_06_the_kernel_finds_the_documents_by_plain_names_too(console: str) -> None:
    plain = {path.lower(): content for path, content in renamed(plain_names).items()}
    assert seen(console, "plain") == expected(plain)
    assert "openstack/latest/meta_data.json" in plain


def test_cd_5_modes_and_owners_are_as_promised(console: str) -> None:
    modes = set(re.findall(r"^MODE rock-ridge (\d+) (\d+:\d+)$", console, re.MULTILINE))
    assert modes == {("444", "0:0"), ("555", "0:0")}
