"""Which renderer writes the files and which program brings the network up: two tables and the rules around
them.

What is on the machine is asked through `Machine`, which the caller fills. Source of the rules: guest agent
contract, 4.5.
"""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent.network.errors import NoRenderer, UnknownRenderer
from guest_agent.network.model import LOOPBACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from guest_agent.network.model import Network

RENDERER_ORDER = ("eni", "sysconfig", "netplan", "network-manager", "networkd")
ACTIVATOR_ORDER = ("eni", "netplan", "network-manager", "networkd")
SYSCONFIG_DISTROS = frozenset({
    "almalinux", "centos", "cloudlinux", "eurolinux", "fedora", "miraclelinux", "openeuler", "OpenCloudOS",
    "openmandriva", "rhel", "rocky", "suse", "TencentOS", "virtuozzo",
})  # fmt: skip
SYSCONFIG_FILES = ("/etc/sysconfig/network-scripts/network-functions", "/etc/sysconfig/config")
IFCFG_PLUGIN = "/usr/lib*/NetworkManager/*/libnm-settings-plugin-ifcfg-rh.so"
Argv = tuple[str, ...]


class Machine(Value):
    """What is asked about the guest: programs by name, files by path, glob patterns, and whether
    NetworkManager is on.

    `has_networkmanager_unit`: `systemctl is-enabled NetworkManager.service` says yes, or there is no systemd.
    """

    has_program: Callable[[str], bool]
    is_file: Callable[[str], bool]
    matches: Callable[[str], bool]
    distro: str
    has_networkmanager_unit: bool = False


def available(machine: Machine) -> frozenset[str]:
    """The renderers (and so the activators) that this machine has the programs for."""
    has = machine.has_program
    found = {
        "netplan": has("netplan"),
        "eni": all(map(has, ("ifquery", "ifup", "ifdown"))) and machine.is_file("/etc/network/interfaces"),
        "networkd": has("ip") and has("systemctl"),
        "network-manager": has("nmcli") and machine.has_networkmanager_unit,
        "sysconfig": machine.distro in SYSCONFIG_DISTROS and _reads_sysconfig(machine),
    }
    return frozenset(name for name, is_there in found.items() if is_there)


def _reads_sysconfig(machine: Machine) -> bool:
    scripts = all(map(machine.has_program, ("ifup", "ifdown"))) and any(map(machine.is_file, SYSCONFIG_FILES))
    return scripts or machine.matches(IFCFG_PLUGIN)


def renderer(available: Iterable[str], preference: Iterable[str] = ()) -> str:
    """The first of `preference` (the built-in order where empty) that is available.

    Raises UnknownRenderer for a name that is none, NoRenderer where nothing is available: no files, the
    boot goes on.
    """
    order = _checked(tuple(preference), RENDERER_ORDER, "renderer")
    for name in order:
        if name in set(available):
            return name
    raise NoRenderer(order)


def activator(available: Iterable[str], preference: Iterable[str] = ()) -> str | None:
    """The first of `preference` (the built-in order where empty) that is available; None is worth a
    WARNING.
    """
    there = set(available)
    return next(
        (name for name in _checked(tuple(preference), ACTIVATOR_ORDER, "activator") if name in there), None
    )


def _checked(asked: tuple[str, ...], known: tuple[str, ...], what: str) -> tuple[str, ...]:
    unknown = tuple(name for name in asked if name not in known)
    if unknown:
        raise UnknownRenderer(what, unknown, known)
    return asked or known


def activation(activator: str, network: Network) -> tuple[Argv, ...]:
    """The commands that bring the rendered network up; a failing one is a WARNING."""
    return _ACTIVATION[activator](network)


def _devices(network: Network) -> tuple[str, ...]:
    return tuple(one.name for one in network.interfaces if one.kind != LOOPBACK)


def _network_manager(network: Network) -> tuple[Argv, ...]:
    commands: list[Argv] = [("systemctl", "try-reload-or-restart", "NetworkManager.service")]
    for one in network.interfaces:
        if one.kind != LOOPBACK:
            path = f"/etc/NetworkManager/system-connections/cloud-init-{one.key}.nmconnection"
            commands.append(("nmcli", "connection", "load", path))
            commands.append(("nmcli", "connection", "up", "filename", path))
    return tuple(commands)


_ACTIVATION: dict[str, Callable[[Network], tuple[Argv, ...]]] = {
    "netplan": lambda _network: (("netplan", "apply"),),
    "eni": lambda network: tuple(("ifup", name) for name in _devices(network)),
    "network-manager": _network_manager,
    "networkd": lambda _network: (("systemctl", "restart", "systemd-networkd", "systemd-resolved"),),
}


def wait_online(activator: str, has_networkmanager_unit: bool) -> tuple[Argv, ...]:
    """What to run to wait for the network; nothing where NetworkManager or ifupdown has its own way of
    waiting.
    """
    if activator in {"netplan", "networkd"} and not has_networkmanager_unit:
        return (("systemctl", "start", "systemd-networkd-wait-online.service"),)
    return ()


def link_setup(nics: Iterable[str], cmdline: str) -> tuple[Argv, ...]:
    """After netplan's files have changed: udev applies its .link files; not where names are not udev's."""
    if "net.ifnames=0" in cmdline.split():
        return ()
    return tuple(("udevadm", "test-builtin", "net_setup_link", f"/sys/class/net/{nic}") for nic in nics)
