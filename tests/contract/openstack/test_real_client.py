"""The real `openstack` client drives our API: some 85 commands in order, against a fresh cloud.

The client comes from PyPI into an environment of its own below .cache/, made once.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from spawner.api.app import make_app
from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
from spawner.service import open_cloud

ROOT = Path(__file__).resolve().parents[3]
CLIENT = ROOT / ".cache" / "peers" / "openstackclient"
VERSION = "10.5.0"


@pytest.fixture(scope="session")
def client_directory() -> Path:
    """Where the client's commands are; skipped with the reason when it cannot be installed."""
    if not (CLIENT / "bin" / "openstack").exists():
        subprocess.run([sys.executable, "-m", "venv", str(CLIENT)], check=True)
        pip = [
            str(CLIENT / "bin" / "python"),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
        ]
        done = subprocess.run(
            [*pip, f"python-openstackclient=={VERSION}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"python-openstackclient cannot be installed: {done.stderr.strip()[-200:]}")
    return CLIENT / "bin"


@pytest.fixture
async def cloud(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Cloud]:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    opened = await open_cloud(tmp_path, [FakeNode("host-1"), FakeNode("host-2")], url)
    runner = web.AppRunner(make_app(opened))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    yield opened
    await runner.cleanup()
    await opened.conductor.close()
    await opened.store.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_openstack_client_works(cloud: Cloud, client_directory: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("commands.sh")
    environment = {
        "PATH": f"{client_directory}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "OS_CLOUD": "guestling",
        "LANG": "C.UTF-8",
    }
    process = await asyncio.create_subprocess_exec(
        "bash",
        str(script),
        cwd=tmp_path,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    failed = [part for part in output.split("\n") if part.startswith("FAIL")]
    assert failed == [], output
    assert process.returncode == 0, output
    assert "0 failed" in output.splitlines()[-1]
    assert int(output.splitlines()[-1].split()[0]) >= 80
