"""The networks of a cloud as bridges: guests on one reach each other, and cannot pass for one another.

Each network that has ports here is a `BridgeNetwork`, made with its first port and gone with its last. A card
is a tap whose descriptor is handed to QEMU, so that a guest can have cards on several networks, and get one
while it runs. Needs root, nft and dnsmasq; everything ends with this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import shutil
import struct
import threading
from pathlib import Path

from spawner.compute.qemu.launch import CLONE_NEWNET, IFF_NO_PI, IFF_TAP, TUNSETIFF
from spawner.errors import NetworkFailed
from spawner.network.backend import Attachment
from spawner.network.bridge import BridgeNetwork, BridgePort
from spawner.network.guest_networks import PortPlan

PROGRAMS = ("nft", "dnsmasq", "ip", "nsenter")


def why_not() -> str:
    """Why bridges cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "bridge: only root can make one"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"bridge: these programs are missing: {', '.join(missing)}" if missing else ""


class BridgeNetworks:
    """The bridges of one host, by network id."""

    name = "bridge"

    def __init__(self) -> None:
        self._networks: dict[str, BridgeNetwork] = {}
        self._ports: dict[str, tuple[str, BridgePort]] = {}
        self._one_at_a_time = asyncio.Lock()

    def confine(self, metadata_socket: Path, run_directory: Path) -> Attachment:  # noqa: ARG002 - the interface
        """A guest without a card has no network: one that comes later brings its own descriptor."""
        return Attachment(netdev="")

    async def connect(
        self, port: PortPlan, metadata_socket: Path, run_directory: Path, *, is_first: bool
    ) -> Attachment:
        """A tap on the port's network; its descriptor is the caller's to close. Raises NetworkFailed."""
        if port.address is None or port.subnet is None:
            raise NetworkFailed("bridge", f"port {port.port_id} has no IPv4 address, which its guests need")
        async with self._one_at_a_time:
            await self._disconnect(port.port_id)
            network = self._networks.get(port.network_id)
            if network is None:
                network = BridgeNetwork(port.subnet, port.gateway)
                await network.start()
                self._networks[port.network_id] = network
            place = await network.add_port(port.mac, port.address)
            self._ports[port.port_id] = port.network_id, place
        attachment = place.attach(metadata_socket, run_directory)
        tap_fd = await asyncio.to_thread(open_tap, place.netns, place.interface)
        return Attachment("tap", netns=attachment.netns if is_first else None, tap_fd=tap_fd)

    async def disconnect(self, port_id: str) -> None:
        """Take the tap away, and the bridge with its last port."""
        async with self._one_at_a_time:
            await self._disconnect(port_id)

    async def _disconnect(self, port_id: str) -> None:
        network_id, place = self._ports.pop(port_id, ("", None))
        network = self._networks.get(network_id)
        if network is None or place is None:
            return
        with contextlib.suppress(NetworkFailed):
            await network.remove_port(place)
        if not any(used == network_id for used, _place in self._ports.values()):
            del self._networks[network_id]
            await network.close()

    async def dropped(self, port_id: str) -> int:
        """How many frames of a port were dropped because they were forged."""
        network_id, place = self._ports[port_id]
        return await self._networks[network_id].dropped(place)

    async def close(self) -> None:
        """End every bridge."""
        networks = list(self._networks.values())
        self._networks.clear()
        self._ports.clear()
        await asyncio.gather(*(network.close() for network in networks))


def open_tap(netns: Path, interface: str) -> int:
    """A descriptor of a tap in another network namespace. Raises NetworkFailed.

    The thread that enters the namespace ends afterwards: no other work is ever done in there.
    """
    found: list[int] = []
    failed: list[OSError] = []

    def work() -> None:
        try:
            found.append(_open_there(netns, interface))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name=f"tap {interface}")
    thread.start()
    thread.join()
    if failed:
        raise NetworkFailed("bridge", f"{interface} cannot be opened ({failed[0]})") from failed[0]
    return found[0]


def _open_there(netns: Path, interface: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    with netns.open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns: {os.strerror(number)}")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", interface.encode(), IFF_TAP | IFF_NO_PI))
    except OSError:
        os.close(tap)
        raise
    return tap
