"""Debian 13 with systemd on a disk: the agent as an image carries it, with units, generator, one process."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from image_harness import boot, images, store
from image_harness.demo import instance as demo
from image_harness.progress import Happening, Requested, Said, Source
from spawner.compute.agent_events import Result
from tests.boot.conftest import INSTANCE_ID

# Bootstrapping takes a minute, the boot half of one, on a machine without KVM; both more when it is busy.
pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def debian() -> store.Image:
    """The image debian-13 as its recipe and the agent stand now. (The tiny guest is Debian 12.)"""
    return images.get("debian-13", lambda _: None).image


def _debugfs(disk: Path, request: str) -> str:
    done = subprocess.run(["debugfs", "-R", request, str(disk)], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_image_is_clean_and_whole(debian: store.Image) -> None:
    assert debian.disk is not None
    subprocess.run(["e2fsck", "-fn", str(debian.disk)], check=True, capture_output=True)
    assert _debugfs(debian.disk, "cat /etc/machine-id") == ""
    assert "ssh_host" not in _debugfs(debian.disk, "ls /etc/ssh")
    assert "Mode:  0755" in _debugfs(debian.disk, "stat /usr/bin/cloud-init")
    assert "User:     0" in _debugfs(debian.disk, "stat /usr/bin/cloud-init")
    names = {package.name for package in debian.manifest.packages}
    assert {"systemd", "openssh-server", "python3-yaml"} <= names


def test_a_systemd_guest_is_configured_and_the_image_stays_as_it_was(
    debian: store.Image, host: boot.Host
) -> None:
    assert debian.disk is not None
    before = debian.disk.stat().st_mtime_ns
    told: list[Happening] = []
    order = boot.Order(debian, demo.instance(INSTANCE_ID), Source.METADATA, deadline_s=600)
    outcome = asyncio.run(boot.boot(order, host, told.append))
    console = outcome.console.decode(errors="replace")
    assert outcome.result is not None, console[-3000:]
    assert (outcome.result.status, outcome.result.errors) == ("done", ()), outcome.result
    ran = {module.name for module in outcome.result.modules if module.result == "SUCCESS"}
    assert ran >= {"growpart", "users_groups", "ssh", "apt_configure", "runcmd", "keys_to_console"}
    # The generator found the source, one process did the stages in their order, between systemd's units.
    assert [stage for stage, times in outcome.result.stages.items() if times.finished] == [
        "init-local", "init-network", "modules-config", "modules-final"
    ]  # fmt: skip
    assert any(isinstance(each, Requested) for each in told)
    assert sum(isinstance(each, Said) and isinstance(each.event, Result) for each in told) == 1
    assert "The demo's guest is up after" in console
    assert debian.disk.stat().st_mtime_ns == before
