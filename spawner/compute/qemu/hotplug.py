"""Devices that come to, and go from, a guest that runs: over its QMP, whoever speaks it.

Names are made from the volume's or port's id alone, so that whoever finds the guest running, also after a
restart of the spawner, knows what is plugged in. Plugging in what is there, and taking out what is not, is
fine.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from spawner.compute.driver import Disk, Nic
from spawner.compute.qemu.argv import Plug, disk_node, disk_plugs, nic_plug
from spawner.compute.qemu.handover import layers, open_image
from spawner.errors import QemuFailed

UNPLUG_S = 20.0
"""How long a guest has to let go of a device: one that is still booting has not seen the request."""
ASK_AGAIN_S = 3.0
RELEASE_S = 5.0
POLL_S = 0.1


class Monitored(Protocol):
    """A guest whose QEMU takes commands."""

    @property
    def name(self) -> str:
        """The guest's name, for errors."""

    async def execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        """One QMP command. Raises a SpawnerError."""

    def send_fd(self, fd: int) -> None:
        """Hand a descriptor over, for the command that takes it."""


async def plugged(vm: Monitored) -> frozenset[str]:
    """The ids of the devices of a guest that have one."""
    found: Any = await vm.execute("qom-list", {"path": "/machine/peripheral"})
    return frozenset(entry["name"] for entry in found)


async def plug_disk(vm: Monitored, disk: Disk) -> None:
    """Plug in a disk that has a name. Raises SpawnerError, and leaves nothing of it in QEMU then."""
    if f"dev-{disk.name}" in await plugged(vm):
        return
    await _forget_disk(vm, disk.name)
    try:
        fdsets = await _hand_over(vm, disk)
        node = {"node-name": disk.name, **disk_node(disk, fdsets, read_only=disk.read_only)}
        await vm.execute("blockdev-add", node)
        await _add_devices(vm, disk_plugs(0, disk.name, disk))
    except BaseException:
        with contextlib.suppress(QemuFailed):
            await _forget_disk(vm, disk.name)
        raise


async def unplug_disk(vm: Monitored, name: str) -> None:
    """Take a disk out, once the guest has let go of it. Raises QemuFailed when it does not."""
    await _unplug(vm, f"dev-{name}")
    await _forget_disk(vm, name)


async def resize_disk(vm: Monitored, name: str, size_bytes: int) -> None:
    """Make a disk larger, file and all; the guest is told."""
    await vm.execute("block_resize", {"node-name": name, "size": size_bytes})


async def plug_nic(vm: Monitored, nic: Nic, backend: Mapping[str, object], tap_fd: int | None = None) -> None:
    """Plug in a network card that has a name. `backend`: arguments of `netdev_add` without the id.

    `tap_fd` is handed over, where the backend is a tap.
    """
    if f"dev-{nic.name}" in await plugged(vm):
        return
    name = f"net-{nic.name}"
    with contextlib.suppress(QemuFailed):
        await vm.execute("netdev_del", {"id": name})
    if tap_fd is not None:
        vm.send_fd(tap_fd)
        await vm.execute("getfd", {"fdname": name})
        backend = {**backend, "fd": name}
    await vm.execute("netdev_add", {**backend, "id": name})
    try:
        await _add_devices(vm, [nic_plug(0, nic, name)])
    except BaseException:
        with contextlib.suppress(QemuFailed):
            await vm.execute("netdev_del", {"id": name})
        raise


async def unplug_nic(vm: Monitored, name: str) -> None:
    """Take a network card out, once the guest has let go of it. Raises QemuFailed when it does not."""
    await _unplug(vm, f"dev-{name}")
    with contextlib.suppress(QemuFailed):
        await vm.execute("netdev_del", {"id": f"net-{name}"})


async def _add_devices(vm: Monitored, plugs: Iterable[Plug]) -> None:
    for plug in plugs:
        await vm.execute("device_add", {key: value for key, value in plug.items() if value is not None})


async def _hand_over(vm: Monitored, disk: Disk) -> dict[Path, int]:
    """Give QEMU the files of all layers; the number of each one's descriptor set."""
    fdsets = {}
    with contextlib.ExitStack() as ours:
        for layer in layers([disk]):
            vm.send_fd(open_image(layer, ours))
            answer: Any = await vm.execute("add-fd", {"opaque": disk.name})
            fdsets[layer.path] = int(answer["fdset-id"])
    return fdsets


async def _forget_disk(vm: Monitored, name: str) -> None:
    """Remove the node and the descriptor sets of a disk that no device uses."""
    nodes: Any = await vm.execute("query-named-block-nodes", {"flat": True})
    if any(node.get("node-name") == name for node in nodes):
        await _delete_node(vm, name)
    sets: Any = await vm.execute("query-fdsets")
    for each in sets:
        if any(fd.get("opaque") == name for fd in each["fds"]):
            await vm.execute("remove-fd", {"fdset-id": each["fdset-id"]})


async def _delete_node(vm: Monitored, name: str) -> None:
    """A device that is gone from the tree may still hold its node for an instant. Raises QemuFailed."""
    deadline_s = time.monotonic() + RELEASE_S
    while True:
        try:
            await vm.execute("blockdev-del", {"node-name": name})
        except QemuFailed:
            if time.monotonic() >= deadline_s:
                raise
            await asyncio.sleep(POLL_S)
        else:
            return


async def _unplug(vm: Monitored, device: str) -> None:
    """Ask the guest to let go of a device until it has; ask again, for one that boots may have missed it."""
    deadline_s = time.monotonic() + UNPLUG_S
    ask_at_s = 0.0
    while device in await plugged(vm):
        now_s = time.monotonic()
        if now_s >= deadline_s:
            raise QemuFailed(vm.name, f"still has {device}: the guest did not let go in {UNPLUG_S:g} s")
        if now_s >= ask_at_s:
            # Refused while an earlier request stands, which is then as good as this one.
            with contextlib.suppress(QemuFailed):
                await vm.execute("device_del", {"id": device})
            ask_at_s = now_s + ASK_AGAIN_S
        await asyncio.sleep(POLL_S)
