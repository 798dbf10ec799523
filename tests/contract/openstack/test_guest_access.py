"""`guestling server exec` and `console --follow` as their user runs them, against a cloud of fake hosts."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from spawner.api.cloud import Cloud
from spawner.conductor import Caller
from tests.contract.openstack import first_server
from tests.contract.openstack.first_server import SERVER


async def _guestling(clouds: Path, *words: str) -> asyncio.subprocess.Process:
    guestling = Path(sys.executable).with_name("guestling")
    return await asyncio.create_subprocess_exec(
        str(guestling), "server", "--clouds", str(clouds), *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


async def test_a_command_in_a_guest_and_its_console(cloud: Cloud, tmp_path: Path) -> None:
    await first_server.make(cloud)
    clouds = tmp_path / "clouds.yaml"
    done = await _guestling(clouds, "exec", "web-1", "echo $HOME; exit 3")
    stdout, _stderr = await done.communicate()
    assert (done.returncode, stdout) == (0, b"echo $HOME; exit 3\n")  # the fake guest says what it was told

    following = await _guestling(clouds, "console", "web-1", "--follow")
    assert following.stdout is not None
    assert await asyncio.wait_for(following.stdout.readline(), 30) == f"fake console of {SERVER}\n".encode()
    following.terminate()
    await following.communicate()

    attached = await _guestling(clouds, "console", "web-1", "--attach")
    _stdout, stderr = await attached.communicate()
    assert (attached.returncode, b"standard input is no terminal" in stderr) == (2, True)

    await cloud.conductor.act(SERVER, "stop", Caller("p", "u", "req-stop"))
    await cloud.conductor.settled()
    for words in (("exec", "web-1", "true"), ("console", "web-1", "--follow")):
        refused = await _guestling(clouds, *words)
        _stdout, stderr = await refused.communicate()
        assert (refused.returncode, b"does not run" in stderr) == (1, True), stderr
