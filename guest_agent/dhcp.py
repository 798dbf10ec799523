"""A DHCPv4 lease for as long as the local stage reads metadata, and not a moment longer.

Takes whichever client the image has. The client only asks; addresses and routes are set and removed
here, so that nothing is left behind for the network configuration that follows. A route of the lease is
used only when it is on-link or through a router in the lease's own network (GA-N03).
"""

from __future__ import annotations

from boot_stages.commands import Command
from boot_stages.log import logger
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from boot_stages.commands import Answer
    from guest_agent.machine import Machine
    from guest_agent.network.links import Link

LOG = logger("dhcp")

DIRECTORY = "/run/cloud-init/tmp"
SCRIPT = f"{DIRECTORY}/udhcpc-script"
LEASE_S = 60.0  # for one client on one interface
ON_LINK = "0.0.0.0"  # noqa: S104  # the gateway that means none
# udhcpc tells its script the lease in the environment; printing it is all that is wanted.
UDHCPC_SCRIPT = b"""#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
echo "ip_address=$ip"
echo "subnet_mask=$subnet"
echo "routers=$router"
echo "classless_static_routes=$staticroutes"
echo "interface_mtu=$mtu"
"""


class Route(Value):
    """A network in CIDR form and its gateway; '' for on-link."""

    network: str
    gateway: str


class Lease(Value):
    """What the DHCP server gave to one interface."""

    interface: str
    address: str
    prefix: int
    routes: tuple[Route, ...] = ()


class Client(Value):
    """A DHCP client: its argv for an interface, what reads its answer, what ends it if it stays behind."""

    program: str
    argv: Callable[[str], tuple[str, ...]]
    read: Callable[[Machine, str, bytes], Mapping[str, str]]
    stop: Callable[[str], tuple[str, ...]] | None = None


def read_words(text: str) -> dict[str, str]:
    """`name=value` lines, as dhcpcd dumps a lease and our udhcpc script prints one; quotes are removed."""
    words = {}
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        if separator:
            words[name.removeprefix("new_")] = value.strip("'\"")
    return words


def read_dhclient(text: str) -> dict[str, str]:
    """The last lease of a dhclient lease file."""
    words: dict[str, str] = {}
    for raw in text.rpartition("lease {")[2].splitlines():
        line = raw.strip().rstrip(";").removeprefix("option ")
        name, _, value = line.partition(" ")
        words[name.removeprefix("rfc3442-").replace("-", "_")] = value.strip().strip('"')
    if "fixed_address" in words:
        words["ip_address"] = words["fixed_address"]
    return words


def lease_from(interface: str, words: Mapping[str, str]) -> Lease | None:
    """The lease that a client's words mean; None when they hold no address."""
    from ipaddress import IPv4Address, IPv4Interface

    try:
        own = IPv4Interface(f"{words.get('ip_address', '')}/{words.get('subnet_mask') or '255.255.255.0'}")
    except ValueError:
        return None
    static = words.get("classless_static_routes") or words.get("static_routes") or ""
    pairs = parse_routes(static)
    if not pairs:  # option 121 replaces option 3
        routers = words.get("routers", "").replace(",", " ").split()
        pairs = [Route("0.0.0.0/0", router) for router in routers[:1]]
    routes = []
    for route in pairs:
        if route.gateway and IPv4Address(route.gateway) not in own.network:
            LOG.warning("DHCP route to %s by %s: not in the lease's network, not used", *_both(route))
            continue
        routes.append(route)
    return Lease(interface, str(own.ip), own.network.prefixlen, tuple(routes))


def _both(route: Route) -> tuple[str, str]:
    return route.network, route.gateway


def parse_routes(text: str) -> list[Route]:
    """Option 121 in any client's spelling: `10.0.0.0/8 1.2.3.4 ...` or `8,10,1,2,3,4,...`."""
    words = text.replace(",", " ").split()
    try:
        if any("/" in word or "." in word for word in words):
            pairs = list(zip(words[::2], words[1::2]))
        else:
            pairs = _from_octets([int(word) for word in words])
        return [Route(_network(network), _gateway(gateway)) for network, gateway in pairs]
    except (ValueError, IndexError):
        LOG.warning("the DHCP server's classless static routes cannot be read; they are not used")
        return []


def _from_octets(octets: list[int]) -> list[tuple[str, str]]:
    pairs = []
    while octets:
        prefix = octets.pop(0)
        used = (prefix + 7) // 8
        if prefix > 32 or len(octets) < used + 4:
            raise ValueError("truncated")
        network = [*octets[:used], 0, 0, 0, 0][:4]
        gateway = octets[used : used + 4]
        del octets[: used + 4]
        pairs.append((f"{'.'.join(map(str, network))}/{prefix}", ".".join(map(str, gateway))))
    return pairs


def _network(text: str) -> str:
    from ipaddress import IPv4Network

    return str(IPv4Network(text, strict=False))


def _gateway(text: str) -> str:
    from ipaddress import IPv4Address

    return "" if str(IPv4Address(text)) == ON_LINK else text


def _dhclient_argv(interface: str) -> tuple[str, ...]:
    files = ("-lf", f"{DIRECTORY}/dhclient.lease", "-pf", f"{DIRECTORY}/dhclient.pid")
    return ("dhclient", "-1", "-v", *files, "-sf", "/bin/true", interface)


def _dhclient_stop(interface: str) -> tuple[str, ...]:
    return ("dhclient", "-x", "-pf", f"{DIRECTORY}/dhclient.pid", "-sf", "/bin/true", interface)


def _read_dhclient(machine: Machine, _interface: str, _out: bytes) -> dict[str, str]:
    return read_dhclient(machine.read_text(f"{DIRECTORY}/dhclient.lease") or "")


def _dhcpcd_argv(interface: str) -> tuple[str, ...]:
    return ("dhcpcd", "--ipv4only", "--waitip", "--persistent", "--noarp", "--script=/bin/true", interface)


def _dhcpcd_stop(interface: str) -> tuple[str, ...]:
    return ("dhcpcd", "-x", interface)


def _read_dhcpcd(machine: Machine, interface: str, _out: bytes) -> dict[str, str]:
    answer = machine.commands.run(Command(("dhcpcd", "--dumplease", "--ipv4only", interface), timeout_s=10.0))
    return read_words(answer.out.decode("utf-8", "replace"))


def _udhcpc_argv(interface: str) -> tuple[str, ...]:
    return ("udhcpc", "-O", "staticroutes", "-i", interface, "-s", SCRIPT, "-n", "-q", "-f", "-t", "10")


def _read_udhcpc(_machine: Machine, _interface: str, out: bytes) -> dict[str, str]:
    return read_words(out.decode("utf-8", "replace"))


# In the order of preference; `system_info: network: dhcp_client_priority` may name another.
CLIENTS = (
    Client("dhcpcd", _dhcpcd_argv, _read_dhcpcd, _dhcpcd_stop),
    Client("dhclient", _dhclient_argv, _read_dhclient, _dhclient_stop),
    Client("udhcpc", _udhcpc_argv, _read_udhcpc),
)


class Ephemeral:
    """`with Ephemeral(machine, config):` - inside, the interface that got a lease is up; after it, as before.

    Does nothing where the network is reachable already, and below another root. A failure is a warning:
    what follows says itself that nobody answers.
    """

    def __init__(self, machine: Machine, config: Mapping[str, object]) -> None:
        self._machine = machine
        self._config = config
        self._undo: list[tuple[str, ...]] = []

    def __enter__(self) -> Lease | None:
        if not self._machine.is_live or has_route(self._machine.read_text("/proc/net/route") or ""):
            return None
        client = self._client()
        if client is None:
            LOG.warning("no DHCP client in this image (%s)", ", ".join(each.program for each in CLIENTS))
        for link in candidates(self._machine):
            lease = self._lease(client, link.name)
            if lease is not None:
                self._set_up(lease)
                return lease
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for argv in reversed(self._undo):
            self._run(argv)

    def _client(self) -> Client | None:
        wanted = self._config.get("system_info")
        for key in ("network", "dhcp_client_priority"):
            wanted = wanted.get(key) if isinstance(wanted, dict) else None
        named = [str(word) for word in wanted] if isinstance(wanted, list) else []
        known = sorted(
            CLIENTS, key=lambda client: named.index(client.program) if client.program in named else 9
        )
        return next((client for client in known if self._machine.commands.which(client.program)), None)

    def _lease(self, client: Client | None, interface: str) -> Lease | None:
        # Up in every case: the metadata may answer on a link-local IPv6 address.
        self._do(
            ("ip", "link", "set", "dev", interface, "up"), ("ip", "link", "set", "dev", interface, "down")
        )
        if client is None:
            return None
        self._machine.make_directory(DIRECTORY, 0o1777)
        self._machine.write(SCRIPT, UDHCPC_SCRIPT, 0o700)
        answer = self._run(client.argv(interface), timeout_s=LEASE_S)
        lease = lease_from(interface, client.read(self._machine, interface, answer.out))
        if client.stop is not None:
            self._run(client.stop(interface))
        if lease is None:
            LOG.warning("no DHCP lease on %s by %s", interface, client.program)
        return lease

    def _set_up(self, lease: Lease) -> None:
        LOG.info("DHCP lease on %s: %s/%d", lease.interface, lease.address, lease.prefix)
        address = f"{lease.address}/{lease.prefix}"
        self._do(
            ("ip", "-4", "addr", "add", address, "dev", lease.interface),
            ("ip", "-4", "addr", "del", address, "dev", lease.interface),
        )
        for route in lease.routes:
            way = ("via", route.gateway) if route.gateway else ()
            words = (route.network, *way, "dev", lease.interface)
            self._do(("ip", "-4", "route", "replace", *words), ("ip", "-4", "route", "del", *words))

    def _do(self, argv: tuple[str, ...], undo: tuple[str, ...]) -> None:
        if self._run(argv).status == 0:
            self._undo.append(undo)

    def _run(self, argv: tuple[str, ...], timeout_s: float = 10.0) -> Answer:
        return self._machine.commands.run(Command(argv, timeout_s=timeout_s, stage="init-local"))


def has_route(table: str) -> bool:
    """Whether /proc/net/route leads to 169.254.169.254 (addresses there are little-endian hex)."""
    target = 0xA9FEA9FE
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) > 7:
            network = int.from_bytes(bytes.fromhex(words[1]), "little")
            mask = int.from_bytes(bytes.fromhex(words[7]), "little")
            if target & mask == network:
                return True
    return False


def candidates(machine: Machine) -> tuple[Link, ...]:
    """The NICs to try: those with a cable first, `eth0` first among equals, then by number."""
    import re

    from guest_agent.sys_net import links

    def rank(link: Link) -> tuple[bool, bool, list[tuple[int, str]]]:
        pieces = re.split(r"(\d+)", link.name)
        return (
            not link.has_carrier,
            link.name != "eth0",
            [(int(piece), "") if piece.isdigit() else (0, piece) for piece in pieces],
        )

    return tuple(sorted(links(machine), key=rank))
