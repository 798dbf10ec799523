"""Kernel modules: what they say of themselves, what they depend on, and the tables modprobe reads."""

from pathlib import Path

import pytest

from image_harness.errors import BadImage
from image_harness.tiny import kernel

RELEASE = "6.1.0-1-cloud-amd64"


def _module(depends: str, *aliases: str) -> bytes:
    info = [f"depends={depends}", *(f"alias={alias}" for alias in aliases), "license=GPL"]
    return b"\x7fELF..\0" + b"".join(text.encode() + b"\0" for text in info) + b"code"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An unpacked kernel package with four modules, one with a dash in its file name."""
    modules = {
        "drivers/net/net_failover": _module("failover"),
        "net/failover": _module(""),
        "drivers/net/virtio_net": _module("net_failover,virtio_ring", "virtio:d00000001v*"),
        "drivers/virtio/virtio-ring": _module(""),
    }
    for name, content in modules.items():
        path = tmp_path / "lib/modules" / RELEASE / "kernel" / f"{name}.ko"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / f"vmlinuz-{RELEASE}").touch()
    return tmp_path


def test_dependencies_come_along_under_one_spelling(root: Path) -> None:
    found = kernel.with_dependencies(root, ["virtio-net"])
    assert list(found) == ["failover", "net_failover", "virtio_net", "virtio_ring"]


def test_a_module_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(BadImage, match="the kernel has no module nvme"):
        kernel.with_dependencies(root, ["nvme"])


def test_modules_dep_and_alias_are_what_modprobe_reads(root: Path) -> None:
    entries = {entry.path.rsplit("/", 1)[1]: entry.content.decode(errors="replace")
               for entry in kernel.entries(root, ["virtio_net"])}  # fmt: skip
    assert entries["modules.dep"].splitlines() == [
        "failover.ko:",
        "net_failover.ko: failover.ko",
        "virtio_net.ko: net_failover.ko virtio_ring.ko failover.ko",
        "virtio_ring.ko:",
    ]
    assert entries["modules.alias"] == "alias virtio:d00000001v* virtio_net\n"


def test_what_two_modules_share_is_listed_after_both() -> None:
    def module(name: str, *depends: str) -> kernel.KernelModule:
        return kernel.KernelModule(name, b"", depends, ())

    # d needs c and b; both need a, and c needs b as well: the order of loading is the list read backwards.
    modules = {
        "a": module("a"), "b": module("b", "a"), "c": module("c", "a", "b"), "d": module("d", "b", "c")
    }  # fmt: skip
    assert kernel.needs("d", modules) == ("c", "b", "a")


def test_two_kernels_in_one_package_are_refused(root: Path) -> None:
    (root / "boot" / "vmlinuz-other").touch()
    with pytest.raises(BadImage, match="one kernel is expected and 2 are there"):
        kernel.release(root)
