"""Real guests for the tests of this folder: the image is built once, each kind of boot happens once a run."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest

from image_harness import boot, images, store
from image_harness.demo import instance as demo
from image_harness.progress import Source
from image_harness.report import Report
from spawner.network import choose
from tests.boot import libvirt_daemon

# The same for every source, so that what must be equal can be.
INSTANCE_ID = UUID("6f2b9a36-4c1e-4d5a-9a77-3f0d5b1e8c42")

DemoBoot = Callable[[Source], boot.Outcome]


@pytest.fixture(scope="session", autouse=True)
def _qemu() -> None:
    """Without QEMU nothing here can run; that is said and counted, not passed over."""
    if shutil.which(boot.QEMU) is None:
        pytest.skip(f"{boot.QEMU} is not installed; ./dev test installs it")


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[libvirt_daemon.Daemon]:
    """A libvirt daemon of our own."""
    if why := libvirt_daemon.missing():
        pytest.skip(why)
    pytest.importorskip("libvirt", reason="libvirt-python is missing; ./dev test puts it there")
    with libvirt_daemon.running() as found:
        yield found


@pytest.fixture(scope="session")
def tiny() -> store.Image:
    """The tiny image as recipe and agent stand now."""
    return images.get("tiny", lambda _: None).image


@pytest.fixture(scope="session")
def host(tiny: store.Image) -> boot.Host:
    """How guests run on this machine."""
    return boot.probe_host(tiny)


@pytest.fixture(scope="session")
def demo_boot(tiny: store.Image, host: boot.Host, tmp_path_factory: pytest.TempPathFactory) -> DemoBoot:
    """Boots the demo's instance from a source, once for each source; the report is kept where pytest says."""

    @cache
    def booted(source: Source) -> boot.Outcome:
        report = Report()
        order = boot.Order(tiny, demo.instance(INSTANCE_ID), source, deadline_s=120, list_changes=True)
        outcome = asyncio.run(boot.boot(order, host, lambda happening: _ignore(report.tell(happening))))
        where: Path = tmp_path_factory.mktemp(source.value) / "report"
        report.write(where, outcome)
        return outcome

    return booted


@pytest.fixture(scope="session")
def other_networks(tiny: store.Image, host: boot.Host) -> list[boot.Host]:
    """This machine with each network backend that works here and was not the best."""
    offers = [offer for offer in choose.offers(boot.QEMU) if offer.backend is not None]
    return [
        boot.Host(host.accelerator, choose.Choice(offer.backend, offer.reason))
        for offer in offers
        if offer.backend is not None and offer.backend.name != host.network.backend.name
    ]


def _ignore(_: object) -> None:
    """`tell` gives a time that nobody here needs."""
