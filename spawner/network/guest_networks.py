"""The networks of a cloud's guests: from a port to what QEMU must be told, at its start or while it runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Protocol

from spawner.network.backend import Attachment, Backend
from spawner.network.namespace import Namespace


@dataclass(frozen=True)
class PortPlan:
    """What a network must know of a port. Without an IPv4 address `address` and `subnet` are None."""

    port_id: str
    network_id: str
    mac: str
    address: IPv4Address | None = None
    subnet: IPv4Network | None = None
    gateway: IPv4Address | None = None


class GuestNetworks(Protocol):
    """Connects the ports of guests on one host. Every method raises a SpawnerError when it cannot."""

    @property
    def name(self) -> str:
        """`namespace`, `guestfwd` or `bridge`."""

    def confine(self, metadata_socket: Path, run_directory: Path) -> Attachment:
        """The network of a guest without a card: where its QEMU runs, so that cards can be added."""

    async def connect(
        self, port: PortPlan, metadata_socket: Path, run_directory: Path, *, is_first: bool
    ) -> Attachment:
        """The network behind one card; the first is the one that reaches the metadata address."""

    async def disconnect(self, port_id: str) -> None:
        """The card is gone; nothing there is fine."""

    async def close(self) -> None:
        """End it all, or leave it to the next life."""

    async def adopt(self, port_ids: Collection[str]) -> None:
        """Take over what an earlier life left for these ports, and end the rest of it."""


class UserNetworks:
    """QEMU's user network behind each card: a network of its own, that reaches nothing but metadata."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        """The backend's."""
        return self._backend.name

    def confine(self, metadata_socket: Path, run_directory: Path) -> Attachment:
        """The backend's confinement, without its card."""
        return replace(self._backend.attach(metadata_socket, run_directory), netdev="")

    async def connect(
        self, port: PortPlan, metadata_socket: Path, run_directory: Path, *, is_first: bool
    ) -> Attachment:
        """The first card gets the backend's network, every other one a closed network of its own.

        Each with the address that the port was given, except that with `guestfwd` the first has a
        link-local one.
        """
        if not is_first:
            return Attachment(f"user,ipv6=off,restrict=on{_addressing(port)}")
        first = self._backend.attach(metadata_socket, run_directory)
        if isinstance(self._backend, Namespace):
            return replace(first, netdev=first.netdev + _addressing(port))
        return first

    async def disconnect(self, port_id: str) -> None:
        """Nothing is left of a user network."""

    async def close(self) -> None:
        """Nothing is left of a user network."""

    async def adopt(self, port_ids: Collection[str]) -> None:
        """A user network is its guest's."""


def _addressing(port: PortPlan) -> str:
    """QEMU's user network with the address that the port was given."""
    if port.address is None or port.subnet is None:
        return ""
    taken = {port.address, port.gateway}
    spare = [port.subnet.broadcast_address - back for back in range(1, 4)]
    host = port.gateway or next(each for each in spare if each not in taken)
    dns = next(each for each in spare if each not in {*taken, host})
    return f",net={port.subnet},host={host},dns={dns},dhcpstart={port.address}"


def netdev_arguments(netdev: str) -> dict[str, object]:
    """A value of -netdev as the arguments of QMP's `netdev_add`, without the id."""
    kind, *pairs = netdev.replace(",,", "\0").split(",")
    arguments: dict[str, object] = {"type": kind}
    for pair in pairs:
        name, _, value = pair.replace("\0", ",").partition("=")
        arguments.update(_ARGUMENTS.get(name, _plain)(name, value))
    return arguments


def _plain(name: str, value: str) -> Mapping[str, object]:
    return {name: {"on": True, "off": False}.get(value, value)}


def _prefix(_name: str, value: str) -> Mapping[str, object]:
    prefix, _, length = value.partition("/")
    return {"ipv6-prefix": prefix, "ipv6-prefixlen": int(length)}


def _forward(name: str, value: str) -> Mapping[str, object]:
    return {name: [{"str": value}]}


_ARGUMENTS = {"ipv6-net": _prefix, "guestfwd": _forward}
