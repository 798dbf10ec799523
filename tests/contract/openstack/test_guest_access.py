"""`guestling server exec` and `console --follow` as their user runs them, against a cloud of fake hosts."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
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


async def test_a_command_whose_time_is_up_ends_with_124_and_says_all_about_it(
    cloud: Cloud, fake_hosts: list[FakeNode], tmp_path: Path
) -> None:
    await first_server.make(cloud)
    clouds = tmp_path / "clouds.yaml"
    for host in fake_hosts:
        host.command_takes_s = 60.0
    late = await _guestling(clouds, "exec", "--timeout", "0.5", "web-1", "--", "sleep", "60")
    stdout, stderr = await late.communicate()
    assert (late.returncode, stdout) == (124, b"sleep 60\n")  # what it had said by then
    assert stderr.decode() == (
        "server exec: web-1: 'sleep 60' was ended after 1 s. Give it more with --timeout SECONDS, or let it"
        " run on there: 'nohup COMMAND >/tmp/said 2>&1 &'\n"
    )
    shown = await _guestling(clouds, "--format", "json", "exec", "--timeout", "0.5", "web-1", "sleep 60")
    stdout, _stderr = await shown.communicate()
    assert (shown.returncode, json.loads(stdout)["timed_out"]) == (124, True)

    for host in fake_hosts:
        host.answers_commands = False
    silent = await _guestling(clouds, "exec", "--timeout", "0.5", "web-1", "id")
    _stdout, stderr = await silent.communicate()
    assert silent.returncode == 124
    assert stderr.decode() == (
        f"server exec: web-1: guest {SERVER}: no answer to 'id' within 0.5 s: it was told to be silent."
        " Ask again. (HTTP 504)\n"
    )

    for limit in ("0", "601", "inf", "nan", "soon"):
        refused = await _guestling(clouds, "exec", "--timeout", limit, "web-1", "id")
        _stdout, stderr = await refused.communicate()
        assert (refused.returncode, b"at most 600" in stderr) == (2, True), stderr
