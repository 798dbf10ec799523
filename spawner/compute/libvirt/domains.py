"""A spawner's domains on one libvirt: what the node asks of the daemon, each as one call.

A domain is a server's when its UUID is the server's id and its metadata names this spawner; others are left
alone. All of it may be repeated: a domain that is not there, or not running, is fine where its end is wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spawner.compute.driver import Disk
from spawner.compute.libvirt import domain
from spawner.compute.libvirt.connection import Connection
from spawner.compute.qemu import hotplug
from spawner.compute.qemu.handover import layers, open_image
from spawner.errors import LibvirtFailed, QemuFailed
from spawner.states import PowerState

if TYPE_CHECKING:
    import libvirt

START_S = 120.0
"""libvirt looks at the QEMU that it starts; on a busy machine that takes its time."""
END_S = 60.0
POLL_S = 0.1


@dataclass(frozen=True)
class Seen:
    """A domain of this spawner's: its power state, and where its run directory is; None: it has none."""

    power: PowerState
    run: Path | None


class Domains:
    """The domains that belong to `owner`."""

    def __init__(self, connection: Connection, owner: str) -> None:
        self._connection = connection
        self._owner = owner

    # --- looking ----------------------------------------------------------------------------------------

    async def seen(self) -> Mapping[str, Seen]:
        """Every domain of ours, running or not, by the server's id."""
        return await self._connection.call("listing domains", self._seen)

    def _seen(self) -> dict[str, Seen]:
        found = {}
        for each in self._connection.raw.listAllDomains():
            with contextlib.suppress(self._connection.library.libvirtError):  # gone since it was listed
                if (ours := self._ours(each)) is not None:
                    found[each.UUIDString()] = Seen(self._power(each), ours.run)
        return found

    def _ours(self, each: libvirt.virDomain) -> domain.Found | None:
        found = domain.read_back(each.XMLDesc())
        return found if found is not None and found.owner == self._owner else None

    def _power(self, each: libvirt.virDomain) -> PowerState:
        library = self._connection.library
        states = {
            library.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
            library.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
            library.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
            library.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
        }
        return states.get(each.state()[0], PowerState.RUNNING)

    async def look(self, server_id: str) -> Seen | None:
        """One server's domain, or None."""

        def work() -> Seen | None:
            each = self._find(server_id)
            if each is None or (ours := self._ours(each)) is None:
                return None
            return Seen(self._power(each), ours.run)

        return await self._connection.call(f"looking for domain {server_id}", work)

    def _find(self, server_id: str) -> libvirt.virDomain | None:
        library = self._connection.library
        try:
            return self._connection.raw.lookupByUUIDString(server_id)
        except library.libvirtError as error:
            if error.get_error_code() == library.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _get(self, server_id: str) -> libvirt.virDomain:
        found = self._find(server_id)
        if found is None:
            raise LibvirtFailed(f"guest {server_id}", "it has no domain")
        return found

    # --- a domain's life --------------------------------------------------------------------------------

    async def define(self, xml: str) -> None:
        """Make a domain what `xml` says, from its next start on."""
        await self._connection.call("defining a domain", lambda: self._connection.raw.defineXML(xml))

    async def start(self, server_id: str, disks: Sequence[Disk], groups: Mapping[Path, str]) -> None:
        """Start a domain; the images in `groups` are opened here and handed over."""

        def work() -> None:
            each = self._get(server_id)
            with contextlib.ExitStack() as ours:
                self._hand_over(each, disks, groups, ours)
                each.create()

        await self._connection.call(f"starting domain {server_id}", work, START_S)

    def _hand_over(
        self,
        each: libvirt.virDomain,
        disks: Sequence[Disk],
        groups: Mapping[Path, str],
        ours: contextlib.ExitStack,
    ) -> None:
        for layer in layers(disks):
            if layer.path in groups:
                each.FDAssociate(groups[layer.path], [open_image(layer, ours)], 0)

    async def press_power_button(self, server_id: str) -> None:
        """Ask the guest to power off; one that does not run has nothing to be asked."""
        await self._of_running(server_id, "powering off", lambda each: each.shutdown())

    async def end(self, server_id: str) -> None:
        """End the guest at once."""
        await self._of_running(server_id, "ending", lambda each: each.destroy())

    async def suspend(self, server_id: str) -> None:
        """Stop the guest's processors."""
        await self._call(server_id, "pausing", lambda each: each.suspend())

    async def resume(self, server_id: str) -> None:
        """Let them go on."""
        await self._call(server_id, "resuming", lambda each: each.resume())

    async def forget(self, server_id: str) -> None:
        """Remove what libvirt knows of a guest that has ended."""
        library = self._connection.library

        def work() -> None:
            each = self._find(server_id)
            if each is not None:
                each.undefineFlags(
                    library.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                    | library.VIR_DOMAIN_UNDEFINE_NVRAM
                    | library.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                    | library.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                )

        await self._connection.call(f"removing domain {server_id}", work)

    async def ends_within(self, server_id: str, seconds: float) -> bool:
        """Whether the guest is gone by then."""
        deadline_s = asyncio.get_running_loop().time() + seconds
        while await self.is_active(server_id):
            if asyncio.get_running_loop().time() >= deadline_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def disk_error(self, server_id: str) -> str:
        """Why a guest's disks cannot be written to, in Nova's manner of words."""
        library = self._connection.library
        errors = await self._call(server_id, "asking for the disks of", lambda each: each.diskErrors())
        if library.VIR_DOMAIN_DISK_ERROR_NO_SPACE in errors.values():
            return "no space"
        return "disk error"

    async def is_active(self, server_id: str) -> bool:
        """Whether the guest runs, or is paused."""

        def work() -> bool:
            each = self._find(server_id)
            return each is not None and bool(each.isActive())

        return await self._connection.call(f"looking at domain {server_id}", work)

    async def _call(self, server_id: str, what: str, work: Any, timeout_s: float = END_S) -> Any:
        return await self._connection.call(
            f"{what} domain {server_id}", lambda: work(self._get(server_id)), timeout_s
        )

    async def _of_running(self, server_id: str, what: str, work: Any) -> None:
        """Nothing to do for a domain that is not there or does not run."""
        library = self._connection.library

        def guarded() -> None:
            each = self._find(server_id)
            if each is None:
                return
            try:
                work(each)
            except library.libvirtError as error:
                if error.get_error_code() != library.VIR_ERR_OPERATION_INVALID:
                    raise

        await self._connection.call(f"{what} domain {server_id}", guarded, END_S)

    # --- disks that libvirt itself has of a guest that runs ----------------------------------------------

    async def disks(self, server_id: str) -> Mapping[str, str]:
        """The serial number of each disk that libvirt knows, and the name that it has for it."""

        def work(each: libvirt.virDomain) -> Mapping[str, str]:
            found = domain.read_back(each.XMLDesc())
            return found.serials if found is not None else {}

        found: Mapping[str, str] = await self._call(server_id, "looking at", work)
        return found

    async def plug_disk(self, server_id: str, disk: Disk) -> None:
        """Plug in a disk by its path."""
        xml = domain.device_xml(domain.disk_device(0, disk, {}))
        flag = self._connection.library.VIR_DOMAIN_AFFECT_LIVE
        await self._call(server_id, "plugging a disk into", lambda each: each.attachDeviceFlags(xml, flag))

    async def unplug_disk(self, server_id: str, disk: Disk) -> None:
        """Take a disk out, once the guest has let go of it. Raises LibvirtFailed when it does not."""
        xml = domain.device_xml(domain.disk_device(0, disk, {}))
        flag = self._connection.library.VIR_DOMAIN_AFFECT_LIVE
        loop = asyncio.get_running_loop()
        deadline_s, ask_at_s = loop.time() + hotplug.UNPLUG_S, 0.0
        while disk.serial in await self.disks(server_id):
            now_s = loop.time()
            if now_s >= deadline_s:
                why = f"the guest did not let go in {hotplug.UNPLUG_S:g} s"
                raise LibvirtFailed(f"taking disk {disk.serial} out of domain {server_id}", why)
            if now_s >= ask_at_s:
                ask_at_s = now_s + hotplug.ASK_AGAIN_S
                with contextlib.suppress(LibvirtFailed):  # an earlier request stands, and is as good
                    await self._call(
                        server_id, "unplugging a disk from", lambda each: each.detachDeviceFlags(xml, flag)
                    )
            await asyncio.sleep(POLL_S)

    async def resize_disk(self, server_id: str, name: str, size_bytes: int) -> None:
        """Make a disk larger, file and all; the guest is told."""
        flag = self._connection.library.VIR_DOMAIN_BLOCK_RESIZE_BYTES
        await self._call(
            server_id, "resizing a disk of", lambda each: each.blockResize(name, size_bytes, flag)
        )


class Monitor:
    """The QMP of one domain's QEMU, through libvirt.

    For network cards, which libvirt is not told of, and for disks that come while a guest runs: libvirt 9.0
    loses the descriptor of those ("Could not dup FD"), which later releases do not.
    """

    def __init__(self, connection: Connection, server_id: str) -> None:
        self.name = server_id
        self._connection = connection
        self._fds: list[int] = []

    async def execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        """One QMP command, with what `send_fd` was given. Raises QemuFailed, as a monitor of our own does."""
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        fds, self._fds = self._fds, []

        def work() -> str:
            # It comes with `libvirt`, which by now has been imported.
            import libvirt_qemu

            try:
                each = self._connection.raw.lookupByUUIDString(self.name)
                if not fds:
                    return str(libvirt_qemu.qemuMonitorCommand(each, request, 0))
                answer, _files = libvirt_qemu.qemuMonitorCommandWithFiles(each, request, fds, 0)
                return str(answer)
            finally:
                for fd in fds:
                    os.close(fd)

        try:
            answer = json.loads(await self._connection.call(f"{command} in domain {self.name}", work))
        except LibvirtFailed as error:
            raise QemuFailed(self.name, f"did not carry out {command} ({error})") from error
        if "error" in answer:
            raise QemuFailed(self.name, f"did not carry out {command} ({answer['error'].get('desc')})")
        return answer.get("return")

    def send_fd(self, fd: int) -> None:
        """Hand a descriptor over with the next command; the caller's own stays the caller's."""
        self._fds.append(os.dup(fd))
