"""A lease for as long as a source is read: the first NIC that may be connected gets an address for a while.

No DHCP client of the image is needed, and nothing of the lease stays: the network config that the source
delivers is applied to a clean machine. Source: guest-agent.md 1.5, 1.8; faults GA-N04.
"""

from __future__ import annotations

import os
import time

from boot_stages.log import logger
from guest_agent import dhcp, netlink, sys_net
from guest_agent.errors import SourceUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

    from guest_agent.dhcp import Offer
    from guest_agent.machine import Machine
    from guest_agent.network.links import Link

LOG = logger("dhcp")

WAIT_S = 60.0
CARRIER_WAIT_S = 5.0
POLL_S = 0.02
FIRST_ANSWER_S, LONGEST_ANSWER_S = 1.0, 8.0
ETHERNET_IP = 0x0800
PACKET_BYTES = 4096


class Lease:
    """An address on a link, until `close`."""

    def __init__(self, link: Link | None, offer: Offer | None) -> None:
        self._link = link
        self._offer = offer

    def close(self) -> None:
        """Take the address off again; a link that was down before is down again."""
        if self._offer is None or self._link is None:
            return
        try:
            netlink.remove_address(self._link.name, self._offer.address, self._offer.prefix)
            if not self._link.is_up:
                netlink.set_link(self._link.name, up=False)
        except OSError as error:
            LOG.debug("the lease on %s is gone already: %s", self._link.name, error)


def no_lease() -> Lease:
    """For a machine that has its network already: nothing to give back."""
    return Lease(None, None)


def has_network(machine: Machine) -> bool:
    """Whether there is a route already: then the network is up, and it is not ours to change."""
    lines = (machine.read_text("/proc/net/route") or "").splitlines()[1:]
    return any(line.split()[:1] not in ([], ["lo"]) for line in lines)


def acquire(machine: Machine, wait_s: float = WAIT_S) -> Lease:
    """A lease on the first NIC that gets one. Raises SourceUnusable with what each NIC said."""
    from guest_agent.network import fallback

    nics = fallback.candidates(sys_net.links(machine))
    if not nics:
        raise SourceUnusable("there is no NIC to ask a metadata service through")
    reasons = []
    deadline = time.monotonic() + wait_s
    for number, link in enumerate(nics):
        share_s = (deadline - time.monotonic()) / (len(nics) - number)
        try:
            return _on(machine, link, time.monotonic() + share_s)
        except (OSError, NoAnswer) as error:
            reasons.append(f"{link.name}: {error}")
    raise SourceUnusable(f"no DHCP lease on any NIC ({'; '.join(reasons)})")


class NoAnswer(Exception):
    """No server has answered in time."""

    def __init__(self) -> None:
        super().__init__("no DHCP server has answered")


def _on(machine: Machine, link: Link, deadline: float) -> Lease:
    """A lease on one NIC. Raises OSError, NoAnswer."""
    started = time.monotonic()
    netlink.set_link(link.name, up=True)
    try:
        _await_carrier(machine, link)
        offer = _ask(link, deadline)
        netlink.add_address(link.name, offer.address, offer.prefix)
        for route in sorted(offer.routes, key=lambda route: bool(route.via)):
            netlink.add_route(link.name, route.network, route.prefix, route.via)
    except (OSError, NoAnswer):
        if not link.is_up:
            netlink.set_link(link.name, up=False)
        raise
    took_s = time.monotonic() - started
    LOG.debug("lease of %s/%d on %s in %.3f s", offer.address, offer.prefix, link.name, took_s)
    return Lease(link, offer)


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
            offer = _exchange(channel, dhcp.DISCOVER, transaction, mac, None, deadline)
            answer = _exchange(channel, dhcp.ASK, transaction, mac, offer, deadline)
            if answer.kind == dhcp.ACK:
                return answer


def _exchange(
    channel: socket, kind: int, transaction: int, mac: bytes, offer: Offer | None, deadline: float
) -> Offer:
    """Send until the fitting answer comes. Raises NoAnswer at the deadline."""
    from socket import timeout

    wanted = {dhcp.OFFER} if offer is None else {dhcp.ACK, dhcp.NAK}
    wait_s = FIRST_ANSWER_S
    target = (channel.getsockname()[0], ETHERNET_IP, 0, 0, b"\xff" * 6)
    while time.monotonic() < deadline:
        channel.sendto(dhcp.packet(kind, transaction, mac, offer), target)
        until = min(time.monotonic() + wait_s, deadline)
        while time.monotonic() < until:
            channel.settimeout(max(until - time.monotonic(), 0.001))
            try:
                found = dhcp.parse(channel.recv(PACKET_BYTES), transaction, mac)
            except timeout:
                break
            if found is not None and found.kind in wanted:
                return found
        wait_s = min(wait_s * 2, LONGEST_ANSWER_S)
    raise NoAnswer
