"""The first root of a bootable disk: busybox and the drivers of disks, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

from image_harness import cpio
from image_harness.tiny import kernel

INIT = Path(__file__).parent / "init"
# In the order in which they are loaded. What a kernel has built in is left out.
MODULES = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ahci", "ata_piix", "nvme")
# What those are made of, in the kernels of Debian 12 to sid: kept of a kernel's package.
KEPT = frozenset(
    {
        *MODULES, "virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "scsi_mod",
        "scsi_common", "crc_t10dif", "crct10dif_common", "crct10dif_generic", "crct10dif_pclmul", "crc64",
        "crc64_rocksoft", "crc64_rocksoft_generic", "crc_itu_t", "t10_pi", "libata", "libahci", "nvme_core",
        "nvme_common", "nvme_auth", "nvme_keyring", "crc32c_generic", "crc32c_intel", "libcrc32c",
    }
)  # fmt: skip


def make(kernel_root: Path, busybox: Path) -> bytes:
    """`kernel_root`: a directory with `boot/vmlinuz-*` and `lib/modules`; `busybox`: a static one."""
    where = kernel_root / "lib/modules" / kernel.release(kernel_root)
    there = {path.name.removesuffix(".ko").replace("-", "_") for path in where.rglob("*.ko")}
    names = [name for name in MODULES if name in there]
    return cpio.archive(
        [
            *(cpio.directory(name) for name in ("proc", "sys", "dev", "root", "etc", "bin")),
            cpio.file("init", INIT.read_bytes(), 0o755),
            cpio.file("bin/busybox", busybox.read_bytes(), 0o755),
            cpio.symlink("sbin", "bin"),
            cpio.symlink("bin/modprobe", "busybox"),
            cpio.symlink("lib", "usr/lib"),
            cpio.file("etc/modules", f"{' '.join(names)}\n".encode()),
            *kernel.entries(kernel_root, names),
        ]
    )
