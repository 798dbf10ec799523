"""Time clients: their files, packages and services by distribution, and our own words for their settings.

Source: guest-agent.md 3.3 (ntp).
"""

from __future__ import annotations

from boot_stages.errors import ModuleFailed
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.distros import Distro


class Client(Value):
    """One time client. `image_template` names the image's own template, DISTRO standing for its name."""

    name: str
    check_exe: str
    confpath: str
    packages: tuple[str, ...]
    service_name: str
    image_template: str
    template: str = ""


_CHRONY = Client("chrony", "chronyd", "/etc/chrony.conf", ("chrony",), "chronyd", "chrony.conf.DISTRO")
_NTP = Client("ntp", "ntpd", "/etc/ntp.conf", ("ntpsec",), "ntp", "ntp.conf.DISTRO")
_TIMESYNCD = Client(
    "systemd-timesyncd",
    "/lib/systemd/systemd-timesyncd",
    "/etc/systemd/timesyncd.conf.d/cloud-init.conf",
    (),
    "systemd-timesyncd",
    "timesyncd.conf",
)
_DEBIAN = (
    _CHRONY.replace(confpath="/etc/chrony/chrony.conf", service_name="chrony"),
    _TIMESYNCD,
    _NTP.replace(confpath="/etc/ntpsec/ntp.conf"),
    Client("ntpdate", "ntpdate", "/etc/ntpsec/ntp.conf", ("ntpdate",), "ntpdate", "ntp.conf.DISTRO"),
)
# In the order in which they are looked for; the first is installed where none is.
CLIENTS: dict[str, tuple[Client, ...]] = {
    "debian": _DEBIAN,
    "redhat": (_CHRONY, _TIMESYNCD, _NTP.replace(service_name="ntpd")),
    "alpine": (
        _CHRONY.replace(confpath="/etc/chrony/chrony.conf"),
        _NTP.replace(packages=(), service_name="ntpd"),
    ),
}


def clients(distro: Distro) -> tuple[Client, ...]:
    """The clients of a distribution in order."""
    return CLIENTS[distro.family]


def client_of(name: str, distro: Distro) -> Client:
    """The client of that name. Raises ModuleFailed with the known ones."""
    for each in clients(distro):
        if each.name == name:
            return each
    known = ", ".join(each.name for each in clients(distro))
    raise ModuleFailed(f"ntp.ntp_client: {name} is not known on {distro.name}. Use auto or one of: {known}")


def contents(
    client: Client,
    pools: tuple[str, ...],
    servers: tuple[str, ...],
    peers: tuple[str, ...],
    allow: tuple[str, ...],
) -> str:
    """The whole configuration file of a client."""
    head = "# Written by guestling from 'ntp' of the cloud-config.\n"
    if client.name == "systemd-timesyncd":
        return f"{head}[Time]\nNTP={' '.join((*servers, *pools))}\n"
    lines = [
        *(f"pool {pool} iburst" for pool in pools),
        *(f"server {server} iburst" for server in servers),
        *(f"peer {peer}" for peer in peers),
    ]
    own = _chrony(allow) if client.name == "chrony" else _ntp(allow)
    return head + "".join(f"{line}\n" for line in (*lines, *own))


def _chrony(allow: tuple[str, ...]) -> list[str]:
    return [
        *(f"allow {network}" for network in allow),
        "driftfile /var/lib/chrony/chrony.drift",
        "logdir /var/log/chrony",
        "maxupdateskew 100.0",
        "rtcsync",
        "makestep 1 3",
    ]


def _ntp(allow: tuple[str, ...]) -> list[str]:
    return [
        "driftfile /var/lib/ntp/ntp.drift",
        "restrict default kod nomodify nopeer noquery limited",
        "restrict 127.0.0.1",
        "restrict ::1",
        *(f"restrict {network} nomodify" for network in allow),
    ]
