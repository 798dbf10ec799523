"""What differs between distributions, as data: one table, read by every module.

Source: guest-agent.md sections 0, 3.2, 3.3.
"""

from __future__ import annotations

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class DefaultUser(Value):
    """The account that a cloud image offers for the first login."""

    name: str
    groups: tuple[str, ...] = ()
    gecos: str = ""
    shell: str = "/bin/bash"
    sudo: tuple[str, ...] = ("ALL=(ALL) NOPASSWD:ALL",)
    doas: tuple[str, ...] = ()


class Distro(Value):
    """One distribution: its family and the facts in which the families differ."""

    name: str
    family: str
    default_user: DefaultUser
    ssh_service: str = "sshd"
    prefer_fqdn: bool = False
    hostname_by: str = "file"
    hosts_address: str = "127.0.1.1"
    package_manager: str = "apt"
    systemd: bool = True


_DEBIAN_USER = DefaultUser(
    "debian",
    ("adm", "audio", "cdrom", "dialout", "dip", "floppy", "netdev", "plugdev", "sudo", "video"),
    gecos="Debian",
)
_UBUNTU_USER = DefaultUser("ubuntu", ("adm", "cdrom", "dip", "lxd", "sudo"), gecos="Ubuntu")
_FEDORA_USER = DefaultUser("fedora", ("wheel", "adm", "systemd-journal"), gecos="Fedora Cloud User")
_ALPINE_USER = DefaultUser(
    "alpine", ("adm", "wheel"), "alpine Cloud User", "/bin/ash", doas=("permit nopass alpine",)
)


def _redhat(name: str) -> Distro:
    user = _FEDORA_USER.replace(name=name if name == "fedora" else "cloud-user")
    return Distro(
        name,
        "redhat",
        user,
        prefer_fqdn=True,
        hostname_by="hostnamectl",
        hosts_address="127.0.0.1",
        package_manager="dnf",
    )


DISTROS: tuple[Distro, ...] = (
    Distro("debian", "debian", _DEBIAN_USER, ssh_service="ssh"),
    Distro("ubuntu", "debian", _UBUNTU_USER, ssh_service="ssh"),
    Distro("raspberry-pi-os", "debian", _DEBIAN_USER.replace(name="pi"), ssh_service="ssh"),
    *(_redhat(name) for name in ("fedora", "rhel", "centos", "almalinux", "rocky", "amazon", "azurelinux")),
    Distro("alpine", "alpine", _ALPINE_USER, package_manager="apk", systemd=False),
)


def parse_os_release(text: str) -> dict[str, str]:
    """The `KEY=value` lines of os-release, quotes removed."""
    fields = {}
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith("#"):
            fields[name] = value.strip().strip("\"'")
    return fields


def distro_of(os_release: Mapping[str, str]) -> Distro:
    """The distribution an os-release names by ID, else the first of ID_LIKE; Debian when neither is known."""
    wanted = [os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()]
    for name in wanted:
        for distro in DISTROS:
            if distro.name == name:
                return distro
    return DISTROS[0]
