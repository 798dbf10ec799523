"""A lease for as long as a source is read: the first NIC that may be connected gets an address for a while.

No DHCP client of the image is needed, and nothing of the lease stays: the network config that the source
delivers is applied to a clean machine. Source: guest-agent.md 1.5, 1.8; faults GA-N04.
"""

from __future__ import annotations

import os
import time

from boot_stages.log import logger
from guest_agent import dhcp_packets, netlink, sys_net
from guest_agent.errors import SourceUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket

    from guest_agent.dhcp_packets import Offer, Route
    from guest_agent.machine import Machine
    from guest_agent.network.links import Link

LOG = logger("dhcp")

WAIT_S = 60.0
CARRIER_WAIT_S = 5.0
POLL_S = 0.02
FIRST_ANSWER_S, LONGEST_ANSWER_S = 1.0, 8.0
ETHERNET_IP = 0x0800
PACKET_BYTES = 4096


class Ephemeral:
    """`with Ephemeral(machine, config):` - inside, the NIC that got a lease is up; after it, as before.

    Does nothing where the network is reachable already, and on a machine that is not live. A failure is a
    warning: what follows says itself that nobody answers.
    """

    def __init__(self, machine: Machine, config: Mapping[str, object]) -> None:
        self._machine = machine
        self._wait_s = _wait_s(config)
        self._raised: list[Link] = []
        self._lease: tuple[Link, Offer] | None = None

    def __enter__(self) -> Offer | None:
        if not self._machine.is_live or self._machine.is_recorded:
            return None
        if has_route(self._machine.read_text("/proc/net/route") or ""):
            return None
        try:
            self._lease = acquire(self._machine, self._wait_s, self._raised)
        except SourceUnusable as error:
            LOG.warning("%s", error)
            return None
        return self._lease[1]

    def __exit__(self, *_error: object) -> None:
        try:
            if self._lease is not None:
                link, offer = self._lease
                netlink.remove_address(link.name, offer.address, offer.prefix)
            for link in self._raised:
                netlink.set_link(link.name, up=False)
        except OSError as error:
            LOG.debug("the lease is gone already: %s", error)


def _wait_s(config: Mapping[str, object]) -> float:
    """`system_info: network: dhcp_timeout` of the image, in seconds."""
    wanted: object = config.get("system_info")
    for key in ("network", "dhcp_timeout"):
        wanted = wanted.get(key) if isinstance(wanted, dict) else None
    return float(wanted) if isinstance(wanted, (int, float)) else WAIT_S


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


def acquire(machine: Machine, wait_s: float, raised: list[Link]) -> tuple[Link, Offer]:
    """A lease on the first NIC that gets one. Raises SourceUnusable with what each NIC said.

    Links brought up are added to `raised`. They stay up without a lease, too: the metadata may answer on a
    link-local IPv6 address.
    """
    from guest_agent.network import fallback

    nics = fallback.candidates(sys_net.links(machine))
    if not nics:
        raise SourceUnusable("there is no NIC to ask a metadata service through")
    reasons = []
    deadline = time.monotonic() + wait_s
    for number, link in enumerate(nics):
        share_s = (deadline - time.monotonic()) / (len(nics) - number)
        try:
            if not link.is_up:
                netlink.set_link(link.name, up=True)
                raised.append(link)
            return link, _on(machine, link, time.monotonic() + share_s)
        except (OSError, NoAnswer) as error:
            reasons.append(f"{link.name}: {error}")
    raise SourceUnusable(f"no DHCP lease on any NIC ({'; '.join(reasons)})")


class NoAnswer(Exception):
    """No server has answered in time."""

    def __init__(self) -> None:
        super().__init__("no DHCP server has answered")


def _on(machine: Machine, link: Link, deadline: float) -> Offer:
    """A lease on one NIC that is up. Raises OSError, NoAnswer."""
    started = time.monotonic()
    _await_carrier(machine, link)
    offer = _ask(link, deadline)
    netlink.add_address(link.name, offer.address, offer.prefix)
    for route in usable_routes(offer):
        netlink.add_route(link.name, route.network, route.prefix, route.via)
    took_s = time.monotonic() - started
    LOG.debug("lease of %s/%d on %s in %.3f s", offer.address, offer.prefix, link.name, took_s)
    return offer


def usable_routes(offer: Offer) -> list[Route]:
    """Routes on the link first, then those through a router of the lease's own network (GA-N03)."""
    usable = []
    for route in offer.routes:
        if route.via and not _is_inside(route.via, offer.address, offer.prefix):
            LOG.warning("DHCP route by %s: not in the lease's network, not used", route.via)
            continue
        usable.append(route)
    return sorted(usable, key=lambda route: bool(route.via))


def _is_inside(address: str, own: str, prefix: int) -> bool:
    import socket

    mask = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    first, second = (int.from_bytes(socket.inet_aton(each), "big") for each in (address, own))
    return first & mask == second & mask


def _await_carrier(machine: Machine, link: Link) -> None:
    """A NIC needs a moment after it is brought up; one that never says so is tried all the same."""
    deadline = time.monotonic() + CARRIER_WAIT_S
    while time.monotonic() < deadline:
        if (machine.read_text(f"{sys_net.SYS}/{link.name}/carrier") or "").strip() == "1":
            return
        time.sleep(POLL_S)


def _ask(link: Link, deadline: float) -> Offer:
    """DISCOVER, OFFER, REQUEST, ACK; each asked again after 1, 2, 4, 8 seconds. Raises NoAnswer, OSError."""
    import socket

    transaction = int.from_bytes(os.urandom(4), "big")
    mac = bytes.fromhex(link.mac.replace(":", ""))
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_PACKET, kind, socket.htons(ETHERNET_IP)) as channel:
        channel.bind((link.name, ETHERNET_IP))
        while True:
            offer = _exchange(channel, dhcp_packets.DISCOVER, transaction, mac, None, deadline)
            answer = _exchange(channel, dhcp_packets.ASK, transaction, mac, offer, deadline)
            if answer.kind == dhcp_packets.ACK:
                return answer


def _exchange(
    channel: socket, kind: int, transaction: int, mac: bytes, offer: Offer | None, deadline: float
) -> Offer:
    """Send until the fitting answer comes. Raises NoAnswer at the deadline."""
    from socket import timeout

    wanted = {dhcp_packets.OFFER} if offer is None else {dhcp_packets.ACK, dhcp_packets.NAK}
    wait_s = FIRST_ANSWER_S
    target = (channel.getsockname()[0], ETHERNET_IP, 0, 0, b"\xff" * 6)
    while time.monotonic() < deadline:
        channel.sendto(dhcp_packets.packet(kind, transaction, mac, offer), target)
        until = min(time.monotonic() + wait_s, deadline)
        while time.monotonic() < until:
            channel.settimeout(max(until - time.monotonic(), 0.001))
            try:
                found = dhcp_packets.parse(channel.recv(PACKET_BYTES), transaction, mac)
            except timeout:
                break
            if found is not None and found.kind in wanted:
                return found
        wait_s = min(wait_s * 2, LONGEST_ANSWER_S)
    raise NoAnswer
