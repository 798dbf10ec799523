"""The networks of a cloud as bridges: guests on one reach each other, and cannot pass for one another.

Each network that has ports here is a `BridgeNetwork`, made with its first port and gone with its last. A card
is a tap whose descriptor is handed to QEMU, so that a guest can have cards on several networks, and get one
while it runs. Needs root, nft and dnsmasq. Everything ends with this process, or is on record and taken over
by a later one. See docs/decisions/0128-bridges-outlive-the-spawner.md.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import logging
import os
import shutil
import struct
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from configdrive.errors import UnwritableOutput
from configdrive.whole import write_file
from spawner.compute.qemu.launch import CLONE_NEWNET, IFF_NO_PI, IFF_TAP, TUNSETIFF
from spawner.errors import NetworkFailed
from spawner.network.backend import Attachment
from spawner.network.bridge import BridgeNetwork, BridgePort
from spawner.network.guest_networks import PortPlan

LOG = logging.getLogger(__name__)
MENDED_PAUSE_S = 5.0
"""Between two replacements of a process that ends again and again."""
PROGRAMS = ("nft", "dnsmasq", "ip", "nsenter")


def why_not() -> str:
    """Why bridges cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "bridge: only root can make one"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"bridge: these programs are missing: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class PortRecord:
    """A port as it is on record: the number of its tap; its guest's MAC, address, metadata socket."""

    number: int
    mac: str
    address: str
    metadata_socket: str = ""


@dataclass(frozen=True)
class NetworkRecord:
    """A network that outlives its process, in `NETWORK-ID.json`, with its ports by id.

    Written before anything of it is made, so that whatever there is can be found by it.
    """

    run: str
    subnet: str
    gateway: str
    ports: dict[str, PortRecord]


@dataclass
class _Network:
    bridge: BridgeNetwork
    ports: dict[str, BridgePort] = field(default_factory=dict)
    sockets: dict[str, Path] = field(default_factory=dict)
    minder: asyncio.Task[None] | None = None


class BridgeNetworks:
    """The bridges of one host, by network id. With `directory` they outlive this process, on record there."""

    name = "bridge"

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._networks: dict[str, _Network] = {}
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
            network = self._networks.get(port.network_id) or await self._made(port, port.subnet)
            await self._mend(port.network_id, network)
            try:
                place = network.bridge.plan_port(port.mac, port.address)
                network.ports[port.port_id] = place
                network.sockets[port.port_id] = metadata_socket
                self._keep(port.network_id)
                await network.bridge.open_port(place)
            except BaseException:
                await self._disconnect(port.port_id)
                raise
        attachment = place.attach(metadata_socket, run_directory)
        tap_fd = await asyncio.to_thread(open_tap, place.netns, place.interface)
        return Attachment("tap", netns=attachment.netns if is_first else None, tap_fd=tap_fd)

    async def _made(self, port: PortPlan, subnet: IPv4Network) -> _Network:
        bridge = BridgeNetwork(subnet, port.gateway, outlives=self._directory is not None)
        network = self._networks[port.network_id] = _Network(bridge)
        try:
            self._keep(port.network_id)
            await bridge.start()
        except BaseException:
            await self._end(port.network_id)
            raise
        return network

    async def _mend(self, network_id: str, network: _Network) -> None:
        """Have both processes of a network run, and see that it stays so. Raises NetworkFailed."""
        replaced = await network.bridge.mend()
        for what in replaced:
            LOG.warning("the network %s: %s had ended, and was started again", network_id, what)
        try:
            for port_id, metadata_socket in network.sockets.items() if replaced else ():
                network.bridge.admit(network.ports[port_id], metadata_socket)
        except OSError as error:
            raise NetworkFailed("bridge", f"its ports cannot be put in again ({error})") from error
        if network.minder is None or network.minder.done():
            network.minder = asyncio.create_task(self._mind(network_id, network))

    async def _mind(self, network_id: str, network: _Network) -> None:
        """Mend a network when one of its processes ends, until it cannot be mended."""
        while True:
            await network.bridge.loss()
            async with self._one_at_a_time:
                if self._networks.get(network_id) is not network:
                    return
                try:
                    await self._mend(network_id, network)
                except NetworkFailed as error:
                    LOG.error("the network %s: %s", network_id, error)  # noqa: TRY400 - the words say it all
                    return
            await asyncio.sleep(MENDED_PAUSE_S)

    async def disconnect(self, port_id: str) -> None:
        """Take the tap away, and the bridge with its last port."""
        async with self._one_at_a_time:
            await self._disconnect(port_id)

    async def _disconnect(self, port_id: str) -> None:
        for network_id, network in list(self._networks.items()):
            place = network.ports.get(port_id)
            if place is None:
                continue
            await network.bridge.remove_port(place)
            del network.ports[port_id]
            network.sockets.pop(port_id, None)
            if network.ports:
                self._keep(network_id)
            else:
                await self._end(network_id)

    async def _end(self, network_id: str) -> None:
        network = self._networks.pop(network_id)
        if network.minder is not None:
            network.minder.cancel()
        await network.bridge.close()
        if self._directory is not None:
            (self._directory / f"{network_id}.json").unlink(missing_ok=True)

    async def dropped(self, port_id: str) -> int:
        """How many frames of a port were dropped because they were forged."""
        for network in self._networks.values():
            if port_id in network.ports:
                return await network.bridge.dropped(network.ports[port_id])
        raise NetworkFailed("bridge", f"port {port_id} is not connected")

    async def close(self) -> None:
        """End every bridge, or leave them to the next life."""
        minders = [network.minder for network in self._networks.values() if network.minder is not None]
        for minder in minders:
            minder.cancel()
        await asyncio.gather(*minders, return_exceptions=True)
        if self._directory is None:
            await asyncio.gather(*(network.bridge.close() for network in self._networks.values()))
        for network in self._networks.values():
            network.bridge.leave()
        self._networks.clear()

    async def adopt(self, port_ids: Collection[str]) -> None:
        """Take over the networks on record, with these ports; the others' guests have ended."""
        if self._directory is None or not self._directory.is_dir():
            return
        for path in sorted(self._directory.glob("*.json")):
            network = await self._adopted(path, port_ids)
            if network is None:
                continue
            self._networks[path.stem] = network
            try:
                await self._mend(path.stem, network)
            except NetworkFailed as error:
                LOG.error("the network %s: %s", path.stem, error)  # noqa: TRY400 - the words say it all
            for port_id in set(network.ports).difference(port_ids):
                await self._disconnect(port_id)
            if path.stem in self._networks and not network.ports:
                await self._end(path.stem)

    async def _adopted(self, path: Path, port_ids: Collection[str]) -> _Network | None:
        """A network as its record has it; None, and nothing left of it, where it is not there any more."""
        try:
            record = msgspec.json.decode(path.read_bytes(), type=NetworkRecord)
            subnet, gateway = IPv4Network(record.subnet), IPv4Address(record.gateway)
            bridge = BridgeNetwork(subnet, gateway, outlives=True, run=Path(record.run))
            is_there = await bridge.adopt([port.number for port in record.ports.values()])
            ports = {
                port_id: bridge.plan_port(port.mac, IPv4Address(port.address), port.number)
                for port_id, port in record.ports.items()
            }
        except (OSError, ValueError, msgspec.MsgspecError, NetworkFailed) as error:
            LOG.warning("the network on record in %s cannot be taken over: %s", path, error)
            return None
        if not is_there:
            LOG.warning("the network %s is not there any more", path.stem)
            if cut_off := sorted(set(record.ports).intersection(port_ids)):
                LOG.error(
                    "guests run on there without metadata and DHCP, apart from those that start now:"
                    " stop and start the servers of these ports: %s",
                    ", ".join(cut_off),
                )
            await bridge.close()
            path.unlink()
            return None
        sockets = {
            port_id: Path(port.metadata_socket)
            for port_id, port in record.ports.items()
            if port.metadata_socket
        }
        return _Network(bridge, ports, sockets)

    def _keep(self, network_id: str) -> None:
        """Put a network on record. Raises NetworkFailed."""
        if self._directory is None:
            return
        network = self._networks[network_id]
        ports = {
            port_id: PortRecord(
                port.number, port.mac, str(port.address), str(network.sockets.get(port_id, ""))
            )
            for port_id, port in network.ports.items()
        }
        bridge = network.bridge
        record = NetworkRecord(str(bridge.run), str(bridge.subnet), str(bridge.gateway), ports)
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(self._directory / f"{network_id}.json", msgspec.json.encode(record))
        except (OSError, UnwritableOutput) as error:
            raise NetworkFailed("bridge", f"cannot be put on record ({error})") from error


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
