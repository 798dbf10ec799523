"""What a Debian disk image is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """A Debian release as an image. `stock`: with Debian's own cloud-init instead of our agent."""

    name: str
    suite: str
    stock: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed."""
        return (*PACKAGES, *STOCK_PACKAGES) if self.stock else PACKAGES


RELEASES = (
    Release("debian-12", "bookworm"),
    Release("debian-13", "trixie"),
    Release("debian-sid", "sid"),
    # The peer: what a test of an image or of user data is compared with.
    Release("debian-13-cloud-init", "trixie", stock=True),
)

PACKAGES = (
    "cloud-guest-utils", "dbus", "e2fsprogs", "fdisk", "iproute2", "linux-image-cloud-amd64",
    "netcat-openbsd", "openssh-server", "procps", "python3-jinja2", "python3-yaml", "sudo",
    "systemd-resolved", "systemd-sysv", "udev", "udhcpc",
)  # fmt: skip
STOCK_PACKAGES = ("cloud-init",)

# Paths that dpkg leaves out: what nobody reads in a test guest, and the making of an initrd that none needs.
LEFT_OUT = (
    "/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*",
    "/etc/kernel/postinst.d/initramfs-tools",
)  # fmt: skip

# Units that cost seconds under emulation and that a guest of minutes has no use for.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "systemd-timesyncd.service", "getty@tty1.service",
)  # fmt: skip
ENABLED = {
    "multi-user.target.wants": ("systemd-networkd.service",),
    "sysinit.target.wants": ("systemd-resolved.service",),
}  # fmt: skip

# Files that every machine must make for itself: they are emptied or removed.
EMPTIED = ("etc/machine-id",)
REMOVED = (
    "etc/hostname", "etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "var/lib/apt/lists/*", "var/log/*.log",
    "var/cache/apt/*.bin", "var/lib/systemd/random-seed",
)  # fmt: skip

SIZE = "2G"
MEMORY_MIB = 512
# The root disk is NVMe: the cloud kernel has that driver built in, and needs no initrd for it.
CMDLINE = (
    "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw quiet panic=-1 mitigations=off"
    " net.ifnames=0 systemd.show_status=false"
)
