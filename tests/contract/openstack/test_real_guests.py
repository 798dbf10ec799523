"""The real `openstack` client boots two guests with `guestling api`, each started as its user starts it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from image_harness import boot, images

SCRIPT = Path(__file__).with_name("boots.sh")


@pytest.mark.boot
@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_two_guests_are_booted_by_the_real_client(
    client_directory: Path, tmp_path: Path, unused_tcp_port: int
) -> None:
    if shutil.which(boot.QEMU) is None:
        pytest.skip(f"{boot.QEMU} is not installed; ./dev test installs it")
    images.get("tiny", lambda _: None)
    state = tmp_path / "cloud"
    served = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("guestling")), "api", "--image", "tiny", "--format", "json"),
        *("--state", str(state), "--listen", f"127.0.0.1:{unused_tcp_port}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert served.stdout is not None
        said = b""
        while not said.rstrip().endswith(b"}"):
            line = await asyncio.wait_for(served.stdout.readline(), 60)
            assert line, "guestling api has ended"
            said += line
        clouds = json.loads(said)["clouds_yaml"]
        client = await asyncio.create_subprocess_exec(
            *("bash", str(SCRIPT)),
            cwd=tmp_path,
            env={
                "PATH": f"{client_directory}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "OS_CLIENT_CONFIG_FILE": clouds,
                "OS_CLOUD": "guestling",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await client.communicate())[0].decode()
    finally:
        served.terminate()
        await served.wait()
    lines = output.splitlines()
    assert client.returncode == 0, output
    assert lines[-1] == "== done", output
    assert lines.count("ACTIVE") == 2
    assert {"first ACTIVE", "second ACTIVE"} <= set(lines)
