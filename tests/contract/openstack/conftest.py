"""A cloud of fake hosts on loopback, and the real clients in an environment of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
from spawner.service import open_cloud
from tests.listening import listening

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = ROOT / ".cache" / "peers" / "openstackclient"
PACKAGES = ("python-openstackclient==10.5.0", "osc-placement==4.9.1")


@pytest.fixture(scope="session")
def client_directory() -> Path:
    """Where the clients' commands are; skipped with the reason when they cannot be installed."""
    stamp = CLIENTS / "installed"
    wanted = " ".join(PACKAGES)
    if not (stamp.exists() and stamp.read_text() == wanted):
        subprocess.run([sys.executable, "-m", "venv", str(CLIENTS)], check=True)
        pip = [str(CLIENTS / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        done = subprocess.run([*pip, *PACKAGES], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"python-openstackclient cannot be installed: {done.stderr.strip()[-200:]}")
        stamp.write_text(wanted)
    return CLIENTS / "bin"


@pytest.fixture
def fake_hosts() -> list[FakeNode]:
    """The two hosts of the cloud."""
    return [FakeNode("host-1"), FakeNode("host-2")]


@pytest.fixture
async def cloud(tmp_path: Path, unused_tcp_port: int, fake_hosts: list[FakeNode]) -> AsyncIterator[Cloud]:
    """Two fake hosts; its clouds.yaml is in the test's directory."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    opened = await open_cloud(tmp_path, fake_hosts, url)
    async with listening(opened):
        yield opened
