"""Backend `bridge`: guests on one Ethernet, none of which can take another's address. Needs root.

One network is one namespace with a bridge in it that has the gateway's and the metadata address; a dnsmasq
that answers only the guests it knows, option 121 included; and a filter with a chain for each port, which
lets out only frames with the port's own MAC and IPv4 address. There is no way out of the namespace.

    async with BridgeNetwork(IPv4Network("10.77.0.0/24")) as network:
        port = await network.add_port("52:54:00:77:00:05", IPv4Address("10.77.0.5"))
        attachment = port.attach(metadata_socket, run_directory)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

from spawner.compute.qemu.confinement import ENVIRONMENT, Confinement, launcher_argv, python_running
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.user import unprivileged
from spawner.errors import NetworkFailed
from spawner.network.backend import Attachment
from spawner.network.relay import METADATA_ADDRESS

BRIDGE = "br0"
TABLE = "guestling"
TAP_FD = 100
COMMAND_S = 10.0
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class BridgePort:
    """One guest's place on a bridge: the backend of its NIC."""

    interface: str
    mac: str
    address: IPv4Address
    netns: Path
    sockets: Path

    name = "bridge"

    def attach(self, metadata_socket: Path, run_directory: Path) -> Attachment:  # noqa: ARG002 - the interface
        """Lead this port's metadata requests to `metadata_socket`, and QEMU to its tap."""
        link = self.sockets / str(self.address)
        link.unlink(missing_ok=True)
        link.symlink_to(metadata_socket)
        return Attachment(netdev=f"tap,fd={TAP_FD}", netns=self.netns, tap=f"{self.interface}:{TAP_FD}")


class BridgeNetwork:
    """A network of guests. Everything of it ends with `close`, or with this process."""

    def __init__(self, subnet: IPv4Network, gateway: IPv4Address | None = None) -> None:
        self._subnet = subnet
        self._gateway = gateway or subnet.network_address + 1
        self._user = unprivileged()
        self._run = RunDirectory.create()
        self._sockets = self._run.path / "metadata"
        self._leases = self._run.path / "hosts"
        self._processes: list[asyncio.subprocess.Process] = []
        self._numbers = iter(range(1, 1 << 16))

    async def start(self) -> None:
        """Make namespace, bridge, filter and DHCP. Raises NetworkFailed, and leaves nothing behind then."""
        try:
            if self._user is None:
                raise NetworkFailed("bridge", "only root can make one")
            for directory in (self._sockets, self._leases):
                directory.mkdir()
            self._run.admit(self._user)
            await self._hold_namespace()
            await self._command("ip", "-batch", "-", say=self._bridge_lines())
            await self._command("nft", "-f", "-", say=_filter())
            await self._serve_dhcp()
        except BaseException:
            await self.close()
            raise

    async def add_port(self, mac: str, address: IPv4Address) -> BridgePort:
        """A port for the guest with this MAC and address. Raises NetworkFailed."""
        if MAC.fullmatch(mac) is None or address not in self._subnet or address == self._gateway:
            raise NetworkFailed("bridge", f"{mac} with {address} cannot be a port of {self._subnet}")
        port = BridgePort(f"tap{next(self._numbers)}", mac, address, self._netns, self._sockets)
        await self._command("nft", "-f", "-", say=_port_rules(port))
        await self._command(
            "ip", "-batch", "-",
            say=f"tuntap add dev {port.interface} mode tap\nlink set {port.interface} master {BRIDGE} up\n",
        )  # fmt: skip
        # dnsmasq watches the directory: a file that appears is a guest that it knows.
        (self._leases / port.interface).write_text(f"{mac},{address},infinite\n")
        return port

    async def remove_port(self, port: BridgePort) -> None:
        """Take the port away; its guest must have ended."""
        (self._leases / port.interface).unlink(missing_ok=True)
        (self._sockets / str(port.address)).unlink(missing_ok=True)
        await self._command("ip", "link", "delete", port.interface)
        await self._command("nft", "-f", "-", say=_no_port_rules(port))

    async def dropped(self, port: BridgePort) -> int:
        """How many frames of this port the filter has dropped because they were forged."""
        listed = await self._command("nft", "-j", "list", "chain", "bridge", TABLE, f"from_{port.interface}")
        rules = [entry["rule"]["expr"] for entry in json.loads(listed)["nftables"] if "rule" in entry]
        return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)

    async def close(self) -> None:
        """End it all; safe to repeat."""
        for process in reversed(self._processes):
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.communicate()
        self._processes.clear()
        self._run.remove()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _netns(self) -> Path:
        return Path(f"/proc/{self._processes[0].pid}/ns/net")

    async def _hold_namespace(self) -> None:
        user = [str(self._user.uid), str(self._user.gid)] if self._user else []
        command = [
            *python_running("spawner.network.bridge_relay"),
            str(self._sockets),
            str(os.getpid()),
            *user,
        ]
        holder = await self._start(command, stdout=asyncio.subprocess.PIPE)
        assert holder.stdout is not None  # noqa: S101 - it is a pipe
        if await asyncio.wait_for(holder.stdout.readline(), COMMAND_S) != b"ready\n":
            _, stderr = await holder.communicate()
            raise NetworkFailed("bridge", stderr.decode(errors="backslashreplace").strip())

    async def _serve_dhcp(self) -> None:
        """dnsmasq, in the namespace, for the guests in the directory of leases and nobody else."""
        gateway, metadata = self._gateway, f"{METADATA_ADDRESS}/32,{self._gateway}"
        dnsmasq = [
            "/usr/sbin/dnsmasq",
            *("--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--pid-file=", "--log-facility=-"),
            *(
                f"--interface={BRIDGE}",
                "--bind-interfaces",
                "--dhcp-authoritative",
                "--dhcp-ignore=tag:!known",
            ),
            *(f"--dhcp-range={self._subnet.network_address},static,{self._subnet.netmask},infinite",),
            *(f"--dhcp-hostsdir={self._leases}", f"--dhcp-leasefile={self._run.path / 'leases'}"),
            *(f"--dhcp-option=3,{gateway}", f"--dhcp-option=121,{metadata},0.0.0.0/0,{gateway}"),
            *((f"--user={pwd.getpwuid(self._user.uid).pw_name}",) if self._user else ()),
        ]
        command = launcher_argv(dnsmasq, Confinement(netns=self._netns), os.getpid())
        await self._start(command, stdout=asyncio.subprocess.DEVNULL)

    def _bridge_lines(self) -> str:
        return (
            f"link add {BRIDGE} type bridge forward_delay 0\n"
            f"addr add {self._gateway}/{self._subnet.prefixlen} dev {BRIDGE}\n"
            f"addr add {METADATA_ADDRESS}/32 dev {BRIDGE}\n"
            f"link set {BRIDGE} up\n"
        )

    async def _start(self, command: Sequence[str], stdout: int) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
        )
        self._processes.append(process)
        return process

    async def _command(self, *argv: str, say: str = "") -> bytes:
        """Run a program in the namespace. Raises NetworkFailed with its last words."""
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--net={self._netns}", *argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
        )
        try:
            stdout, stderr = await asyncio.wait_for(process.communicate(say.encode()), COMMAND_S)
        except TimeoutError as error:
            process.kill()
            raise NetworkFailed("bridge", f"{argv[0]} took more than {COMMAND_S:g} s") from error
        if process.returncode:
            raise NetworkFailed(
                "bridge", f"{' '.join(argv)}: {stderr.decode(errors='backslashreplace').strip()}"
            )
        return stdout


def _filter() -> str:
    """The table: what enters by a port goes through that port's chain; what has no chain is dropped."""
    return f"""
table bridge {TABLE} {{
    map ports {{ type ifname : verdict; }}
    chain prerouting {{
        type filter hook prerouting priority -300; policy drop;
        iifname vmap @ports
    }}
}}
"""


def _port_rules(port: BridgePort) -> str:
    """Only the port's own MAC and IPv4 address come out of it; no IPv6, no DHCP server, nothing else."""
    chain = f"from_{port.interface}"
    return f"""
add chain bridge {TABLE} {chain}
flush chain bridge {TABLE} {chain}
table bridge {TABLE} {{
    chain {chain} {{
        ether saddr != {port.mac} counter drop
        arp saddr ether != {port.mac} counter drop
        arp saddr ip != {{ {port.address}, 0.0.0.0 }} counter drop
        ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
        ip saddr != {port.address} counter drop
        udp sport 67 counter drop
        ether type {{ arp, ip }} accept
        counter drop
    }}
}}
add element bridge {TABLE} ports {{ "{port.interface}" : jump {chain} }}
"""


def _no_port_rules(port: BridgePort) -> str:
    return f"""
delete element bridge {TABLE} ports {{ "{port.interface}" }}
delete chain bridge {TABLE} from_{port.interface}
"""
