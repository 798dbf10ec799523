"""Backend `bridge`: guests on one Ethernet, none of which can take another's address. Needs root.

One network is one namespace with a bridge in it that has the gateway's and the metadata address; a dnsmasq
that answers only the guests it knows, option 121 included; and a filter with a chain for each port, which
lets out only frames with the port's own MAC and IPv4 address. There is no way out of the namespace. It ends
with this process, unless it is made to outlive it: then a later one takes it over with `adopt`. Of its two
processes, the holder of the namespace and dnsmasq, `mend` replaces what was killed.

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
import select
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

from spawner.compute.qemu import process_marks
from spawner.compute.qemu.confinement import (
    ENVIRONMENT,
    Confinement,
    detached_argv,
    launcher_argv,
    python_running,
)
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.user import unprivileged
from spawner.errors import NetworkFailed
from spawner.network import bridge_filter
from spawner.network.backend import Attachment
from spawner.network.relay import METADATA_ADDRESS

BRIDGE = "br0"
TAP_FD = 100
COMMAND_S = 10.0
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class BridgePort:
    """One guest's place on a bridge: the backend of its NIC."""

    number: int
    mac: str
    address: IPv4Address
    netns: Path
    sockets: Path

    name = "bridge"

    @property
    def interface(self) -> str:
        """Its tap, in the network's namespace."""
        return f"tap{self.number}"

    def attach(self, metadata_socket: Path, run_directory: Path) -> Attachment:  # noqa: ARG002 - the interface
        """Lead this port's metadata requests to `metadata_socket`, and QEMU to its tap."""
        self.lead(metadata_socket)
        return Attachment(netdev=f"tap,fd={TAP_FD}", netns=self.netns, tap=f"{self.interface}:{TAP_FD}")

    def lead(self, metadata_socket: Path) -> None:
        """Lead this port's metadata requests to `metadata_socket`."""
        link = self.sockets / str(self.address)
        link.unlink(missing_ok=True)
        link.symlink_to(metadata_socket)


class BridgeNetwork:
    """A network of guests. Everything of it ends with `close`, and with this process unless it `outlives` it.

    `run`: the directory of one that an earlier process made.
    """

    def __init__(
        self,
        subnet: IPv4Network,
        gateway: IPv4Address | None = None,
        *,
        outlives: bool = False,
        run: Path | None = None,
    ) -> None:
        self.subnet = subnet
        self.gateway = gateway or subnet.network_address + 1
        self._outlives = outlives
        self._user = unprivileged()
        self._run = RunDirectory.create() if run is None else RunDirectory.reopen(run)
        self._sockets = self._run.path / "metadata"
        self._leases = self._run.path / "hosts"
        # The words by which the holder of the namespace and dnsmasq are known (see process_marks).
        self._holder_mark = f"guestling-bridge-{self._run.path.name}."
        self._dhcp_mark = f"--dhcp-hostsdir={self._leases}"
        self._children: list[subprocess.Popen[bytes]] = []
        self._namespace = -1
        self._watched: list[int] = []
        self._numbers = iter(range(1, 1 << 16))

    @property
    def run(self) -> Path:
        """Where its sockets and leases are."""
        return self._run.path

    async def adopt(self, numbers: Collection[int]) -> bool:
        """Take over what an earlier process made, to be mended; False where it is not there any more.

        `numbers`: of its ports' taps.
        """
        if not self._enter_by(self._holder_mark) and not self._enter_by(self._dhcp_mark):
            return False
        self._numbers = iter(range(1 + max(numbers, default=0), 1 << 16))
        self._watch()
        return True

    async def start(self) -> None:
        """Make namespace, bridge, filter and DHCP. Raises NetworkFailed, and leaves nothing behind then."""
        try:
            if self._user is None:
                raise NetworkFailed("bridge", "only root can make one")
            self._fill_directory()
            await self._hold_namespace()
            if not self._enter_by(self._holder_mark):
                raise NetworkFailed("bridge", "the holder of its namespace ended at once")
            await self._command("ip", "-batch", "-", say=self._bridge_lines())
            await self._command("nft", "-f", "-", say=bridge_filter.table())
            await self._serve_dhcp()
            self._watch()
        except BaseException:
            await self.close()
            raise

    @property
    def is_whole(self) -> bool:
        """Whether both processes live."""
        poll = select.poll()
        for pidfd in self._watched:
            poll.register(pidfd, select.POLLIN)
        return len(self._watched) == 2 and not poll.poll(0)

    async def loss(self) -> None:
        """Returns when one of the processes has ended."""
        lost = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Descriptors of our own: whoever mends meanwhile closes the others.
        watched = [os.dup(pidfd) for pidfd in self._watched]
        for pidfd in watched:
            loop.add_reader(pidfd, lost.set)
        try:
            if self.is_whole:
                await lost.wait()
        finally:
            for pidfd in watched:
                loop.remove_reader(pidfd)
                os.close(pidfd)

    async def mend(self) -> tuple[str, ...]:
        """Replace those of the processes that have ended; returns what they were. Raises NetworkFailed.

        Guests do not notice, but for connections that were open to their metadata: bridge, filter and taps
        are the namespace's, which we hold on to. What the two know of a port may be lost: `admit` it again.
        """
        if self.is_whole:
            return ()
        replaced = []
        try:
            if not self._runs(self._holder_mark):
                if self._run.lock < 0:
                    await self._take_directory()
                await self._hold_namespace(self._netns)
                replaced.append("the relay of metadata")
            if not self._runs(self._dhcp_mark):
                await self._serve_dhcp()
                replaced.append("the DHCP server")
        except (NetworkFailed, OSError) as error:
            raise NetworkFailed(
                "bridge",
                f"a process of {self.subnet} has ended and cannot be replaced ({error}). Stop the servers on"
                " this network, then start them: it is made anew",
            ) from error
        finally:
            self._watch()
        return tuple(replaced)

    async def _take_directory(self) -> None:
        """The lock was the killed holder's alone (dnsmasq closes what it inherits): it may be swept."""
        if self._run.take():
            self._fill_directory()
            await asyncio.to_thread(process_marks.end, self._dhcp_mark)  # it watches the one that is gone

    def _fill_directory(self) -> None:
        for directory in (self._sockets, self._leases):
            directory.mkdir()
        self._run.admit(self._user)

    def _runs(self, mark: str) -> bool:
        return any(True for _ in process_marks.marked(mark))

    def _enter_by(self, mark: str) -> bool:
        """Hold on to the namespace of a process with this mark; False where there is none."""
        for pid, pidfd in process_marks.marked(mark):
            with contextlib.suppress(OSError):
                namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                # It may have ended meanwhile, and its number be another's; or be on its way there still.
                has_ended = bool(select.select([pidfd], [], [], 0)[0])
                if has_ended or os.fstat(namespace).st_ino == Path("/proc/self/ns/net").stat().st_ino:
                    os.close(namespace)
                    continue
                self._namespace = namespace
                return True
        return False

    def _watch(self) -> None:
        """Hold on to both processes, so that their end is seen."""
        self._unwatch()
        for mark in (self._holder_mark, self._dhcp_mark):
            for _, pidfd in process_marks.marked(mark):
                self._watched.append(os.dup(pidfd))
                break

    def _unwatch(self) -> None:
        while self._watched:
            os.close(self._watched.pop())

    def _let_go(self) -> None:
        self._unwatch()
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1

    def plan_port(self, mac: str, address: IPv4Address, number: int = 0) -> BridgePort:
        """A place for the guest with this MAC and address, by default a new one. Raises NetworkFailed."""
        if MAC.fullmatch(mac) is None or address not in self.subnet or address == self.gateway:
            raise NetworkFailed("bridge", f"{mac} with {address} cannot be a port of {self.subnet}")
        return BridgePort(number or next(self._numbers), mac, address, self._netns, self._sockets)

    async def open_port(self, port: BridgePort) -> None:
        """Make what was planned. Raises NetworkFailed."""
        await self._command(
            "nft", "-f", "-", say=bridge_filter.with_port(port.interface, port.mac, port.address)
        )
        await self._command(
            "ip", "-batch", "-",
            say=f"tuntap add dev {port.interface} mode tap\nlink set {port.interface} master {BRIDGE} up\n",
        )  # fmt: skip
        self._lease(port)

    def admit(self, port: BridgePort, metadata_socket: Path) -> None:
        """Have the processes know a port that is there: its lease, and where its metadata comes from."""
        self._lease(port)
        port.lead(metadata_socket)

    def _lease(self, port: BridgePort) -> None:
        # dnsmasq watches the directory: a file that appears is a guest that it knows.
        (self._leases / port.interface).write_text(f"{port.mac},{port.address},infinite\n")

    async def add_port(self, mac: str, address: IPv4Address) -> BridgePort:
        """A port for the guest with this MAC and address. Raises NetworkFailed."""
        port = self.plan_port(mac, address)
        await self.open_port(port)
        return port

    async def remove_port(self, port: BridgePort) -> None:
        """Take the port away, or what is there of it; its guest must have ended."""
        (self._leases / port.interface).unlink(missing_ok=True)
        (self._sockets / str(port.address)).unlink(missing_ok=True)
        for argv, say in (
            (("ip", "link", "delete", port.interface), ""),
            (("nft", "-f", "-"), bridge_filter.without_port(port.interface)),
        ):
            with contextlib.suppress(NetworkFailed):
                await self._command(*argv, say=say)

    async def dropped(self, port: BridgePort) -> int:
        """How many frames of this port the filter has dropped because they were forged."""
        chain = bridge_filter.chain_of(port.interface)
        listed = await self._command("nft", "-j", "list", "chain", "bridge", bridge_filter.TABLE, chain)
        rules = [entry["rule"]["expr"] for entry in json.loads(listed)["nftables"] if "rule" in entry]
        return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)

    async def close(self) -> None:
        """End it all; safe to repeat."""
        self._let_go()
        await asyncio.to_thread(process_marks.end, self._dhcp_mark, self._holder_mark)
        for child in self._children:
            child.wait()
        self._children.clear()
        self._run.remove()

    def leave(self) -> None:
        """Let go of a network that outlives us; it runs on, for `adopt` to find."""
        self._let_go()
        self._run.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _netns(self) -> Path:
        """By our own descriptor: the processes in there may end, and their numbers be another's then."""
        return Path(f"/proc/{os.getpid()}/fd/{self._namespace}")

    async def _hold_namespace(self, given: Path | None = None) -> None:
        """Start the process that holds the namespace, a new one or the one that is given."""
        user = [str(self._user.uid), str(self._user.gid)] if self._user else []
        parent = 0 if self._outlives else os.getpid()
        relay = [self._holder_mark, str(self._sockets), str(parent), "given" if given else "own", *user]
        command = [*python_running("spawner.network.bridge_relay"), *relay]
        words = self._run.path / "relay.log"
        there = Confinement(netns=given)
        if self._outlives:
            command = detached_argv(command, there)
        elif given:
            command = launcher_argv(command, there, os.getpid())
        started = self._start(command, words, subprocess.PIPE)
        assert started.stdout is not None  # noqa: S101 - it is a pipe
        try:
            line = await asyncio.wait_for(asyncio.to_thread(started.stdout.readline), COMMAND_S)
        finally:
            started.stdout.close()
        if line != b"ready\n":
            raise NetworkFailed("bridge", words.read_text(errors="backslashreplace").strip())
        if self._outlives:
            await asyncio.to_thread(started.wait)

    async def _serve_dhcp(self) -> None:
        """dnsmasq, in the namespace, for the guests in the directory of leases and nobody else."""
        gateway, metadata = self.gateway, f"{METADATA_ADDRESS}/32,{self.gateway}"
        dnsmasq = [
            "/usr/sbin/dnsmasq",
            *("--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--pid-file=", "--log-facility=-"),
            *("--quiet-dhcp", f"--interface={BRIDGE}", "--bind-interfaces", "--dhcp-authoritative"),
            *("--dhcp-ignore=tag:!known", self._dhcp_mark, f"--dhcp-leasefile={self._run.path / 'leases'}"),
            *(f"--dhcp-range={self.subnet.network_address},static,{self.subnet.netmask},infinite",),
            *(f"--dhcp-option=3,{gateway}", f"--dhcp-option=121,{metadata},0.0.0.0/0,{gateway}"),
            *((f"--user={pwd.getpwuid(self._user.uid).pw_name}",) if self._user else ()),
        ]
        there = Confinement(netns=self._netns)
        words = self._run.path / "dhcp.log"
        if not self._outlives:
            self._start(launcher_argv(dnsmasq, there, os.getpid()), words, subprocess.DEVNULL)
            return
        started = self._start(detached_argv(dnsmasq, there), words, subprocess.DEVNULL)
        if await asyncio.to_thread(started.wait):
            raise NetworkFailed("bridge", words.read_text(errors="backslashreplace").strip())

    def _start(self, command: Sequence[str], words: Path, stdout: int) -> subprocess.Popen[bytes]:
        """From this thread: a child is told of the end of the thread that made it, not of the process's."""
        with words.open("wb") as stderr:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=ENVIRONMENT,
                cwd="/",
                # Whoever sweeps sees by the lock that the directory is in use.
                pass_fds=[self._run.lock] if self._outlives and self._run.lock >= 0 else [],
            )
        self._children.append(child)
        return child

    def _bridge_lines(self) -> str:
        # Without an address of its own it takes the least of its ports', another one whenever a port comes or
        # goes, and guests send to the one they know until they ask again.
        mac = bytes((2, 0, *self.gateway.packed)).hex(":")
        return (
            f"link add {BRIDGE} address {mac} type bridge forward_delay 0\n"
            f"addr add {self.gateway}/{self.subnet.prefixlen} dev {BRIDGE}\n"
            f"addr add {METADATA_ADDRESS}/32 dev {BRIDGE}\n"
            f"link set {BRIDGE} up\n"
        )

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
