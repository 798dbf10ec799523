"""The cloud in one process, with images of the local store: what `guestling api` runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from sqlalchemy import insert, select

from image_harness import images, store
from image_harness.guest_shell import overlay
from spawner.api.app import make_app
from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
from spawner.compute.libvirt import uri as libvirt_uri
from spawner.compute.libvirt.node import LibvirtNode
from spawner.compute.node import ComputeNode
from spawner.compute.qemu import accelerator, run_directory
from spawner.compute.qemu.node import QEMU, QemuNode
from spawner.errors import NoNetworkBackend
from spawner.images import ImageFiles
from spawner.network import bridge_networks, choose
from spawner.page.lint import Lint
from spawner.service import open_cloud
from spawner.store.engine import Store, open_store
from spawner.store.tables import IMAGES, PROJECTS

CHUNK = 1 << 20
# An image that boots from its kernel and initramfs alone has a disk all the same: Nova knows no other.
EMPTY_DISK_BYTES = 1 << 20


@dataclass(frozen=True)
class CloudOrder:
    """What `guestling api` was asked for. `outlive`: guests go on when it ends, for the next to adopt.

    `network`: `auto` is the best user network here, `bridge` one Ethernet for each network.
    """

    host: str
    port: int
    state: Path
    driver: str
    images: tuple[str, ...] = ()
    store: str | None = None
    outlive: bool = True
    libvirt_uri: str = ""
    network: str = "auto"


async def serve(
    order: CloudOrder, ready: Callable[[str, Path], None], say: Callable[[str], None], lint: Lint
) -> None:
    """Serve until TERM, INT or HUP. `ready(url, clouds_yaml)` is called when clients can connect.

    `lint` is what the page asks about user data.

    Raises SpawnerError, HarnessError, OSError when it cannot start.
    """
    shown = f"[{order.host}]" if ":" in order.host else order.host
    url = f"http://{shown}:{order.port}"
    run_directory.sweep()
    order.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    opened = await open_store(order.store or str(order.state / "spawner.db"))
    node = await _node(order, opened)
    cloud = await open_cloud(order.state, [node], url, opened)
    for name in order.images:
        await offer(cloud, images.get(name, say).image, say)
    runner = web.AppRunner(make_app(cloud, lint), access_log=None)
    await runner.setup()
    try:
        ended = _on_signal()
        await web.TCPSite(runner, order.host, order.port).start()
        ready(url, order.state / "clouds.yaml")
        await ended.wait()
    finally:
        await runner.cleanup()
        await cloud.volumes.close()
        await cloud.conductor.close()
        if isinstance(node, QemuNode | LibvirtNode):
            await node.close()
        await opened.close()


def _on_signal() -> asyncio.Event:
    """Set by the first signal that asks for an end (SP-23)."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    return ended


async def _node(order: CloudOrder, opened: Store) -> ComputeNode:
    name = socket.gethostname()
    if order.driver == "fake":
        return FakeNode(name)
    parts = (
        name,
        order.state / "instances",
        opened,
        ImageFiles(order.state / "images"),
        accelerator.probe(QEMU),
        choose.probe(QEMU).backend,
    )
    if order.driver == "libvirt":
        libvirt = LibvirtNode(*parts, libvirt_uri.parse(order.libvirt_uri), outlive=order.outlive)
        await libvirt.open()
        return libvirt
    if order.network != "bridge":
        return QemuNode(*parts, outlive=order.outlive)
    if reason := bridge_networks.why_not():
        raise NoNetworkBackend([reason])
    networks = bridge_networks.BridgeNetworks(order.state / "bridges" if order.outlive else None)
    return QemuNode(*parts, outlive=order.outlive, guest_networks=networks)


async def offer(cloud: Cloud, image: store.Image, say: Callable[[str], None]) -> None:
    """Put an image of the local store into the cloud's image service, as an operator would; once.

    Nova's way with a kernel of its own: two images of the kinds aki and ari, named by the disk's properties.
    """
    async with cloud.store.read() as connection:
        known = (await connection.execute(select(IMAGES.c.id).where(IMAGES.c.name == image.name))).first()
        project = (await connection.execute(select(PROJECTS.c.id).order_by(PROJECTS.c.created_at))).scalar()
    if known is not None:
        return
    say(f"putting the image {image.name} into the cloud, with the program that carries out commands")
    with tempfile.TemporaryDirectory(prefix="gt") as directory:
        # A server stays up until it is stopped; an image booted for a test powers off when its agent is done.
        await _offer(cloud, await asyncio.to_thread(overlay.with_server, image, Path(directory)), project)


async def _offer(cloud: Cloud, image: store.Image, project: str | None) -> None:
    properties = dict(image.manifest.properties)
    if image.kernel is not None:
        properties |= {"os_command_line": image.manifest.cmdline, "os_distro": image.manifest.suite}
    for word, kind, path in (("kernel_id", "aki", image.kernel), ("ramdisk_id", "ari", image.initrd)):
        if path is not None:
            name = f"{image.name}-{word.removesuffix('_id')}"
            properties[word] = await add_image(cloud, name, kind, kind, _chunks(path), {}, project)
    disk = _chunks(image.disk) if image.disk is not None else _empty_disk()
    if image.kernel is not None and image.disk is not None:
        properties["hw_disk_bus"] = "nvme"
    await add_image(cloud, image.name, image.disk_format, "bare", disk, properties, project)


async def add_image(
    cloud: Cloud,
    name: str,
    disk_format: str,
    container_format: str,
    chunks: AsyncIterator[bytes],
    properties: dict[str, str],
    owner: str | None,
) -> str:
    """Put an active, public image into the image service; gives its id. Raises ImageRefused."""
    image_id = str(uuid.uuid4())
    taken = await cloud.images.receive(image_id, disk_format, chunks)
    async with cloud.store.write() as connection:
        await connection.execute(
            insert(IMAGES).values(
                id=image_id,
                name=name,
                visibility="public",
                owner=owner,
                disk_format=disk_format,
                container_format=container_format,
                properties=properties,
                tags=[],
                created_at=time.time(),
                updated_at=time.time(),
                **taken.columns(),
            )
        )
    return image_id


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


async def _empty_disk() -> AsyncIterator[bytes]:
    yield bytes(EMPTY_DISK_BYTES)
