"""`guestling server` against a cloud without guests: what it prints, and its exit statuses."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guestling import main
from spawner.compute.fake_node import FakeNode
from spawner.service import open_cloud
from tests.listening import listening

# Each starts a server: left to ./dev test.
pytestmark = pytest.mark.slow


@pytest.fixture
def clouds(tmp_path: Path, unused_tcp_port: int) -> Iterator[Path]:
    """A cloud that is served from a thread of its own, with one image in it; gives its clouds.yaml."""
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        cloud = await open_cloud(tmp_path, [FakeNode("host-1")], f"http://127.0.0.1:{unused_tcp_port}")
        async with listening(cloud):
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(30)
    yield tmp_path / "clouds.yaml"
    loop.call_soon_threadsafe(ended.set)
    thread.join(30)
    loop.close()


def _run(clouds: Path, *arguments: str) -> int:
    return main.main(["server", "--clouds", str(clouds), *arguments])


@pytest.fixture
def image(clouds: Path) -> str:
    from spawner.client import Client, read_clouds

    with Client(read_clouds(clouds, "guestling")) as client:
        client.sign_in()
        form = {"name": "disk", "disk_format": "raw", "container_format": "bare"}
        made = client.call("POST", "/image/v2/images", form)
        client.call("PUT", f"/image/v2/images/{made['id']}/file", "a JSON text is a raw disk all the same")
    return "disk"


def test_a_server_from_create_to_delete(clouds: Path, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(clouds, "create", "web-1", "--image", image, "--flavor", "m1.nano", "--wait") == 0
    assert "status     ACTIVE" in capsys.readouterr().out
    assert _run(clouds, "list") == 0
    assert "web-1" in capsys.readouterr().out
    assert _run(clouds, "--format", "json", "show", "web-1") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ACTIVE"
    assert _run(clouds, "stop", "web-1") == 0
    assert _run(clouds, "stop", "web-1") == 1
    assert "Cannot 'stop' instance while it is in vm_state stopped (HTTP 409)" in capsys.readouterr().err
    assert _run(clouds, "start", "web-1") == 0
    assert _run(clouds, "reboot", "--hard", "web-1") == 0
    assert _run(clouds, "console", "web-1") == 0
    assert "fake console" in capsys.readouterr().out
    assert _run(clouds, "events", "web-1") == 0
    assert "instance.create.end" in capsys.readouterr().out
    assert _run(clouds, "show", "web-1") == 0
    assert "image      disk\n" in capsys.readouterr().out
    assert _run(clouds, "exec", "web-1", "--", "ls", "-l", "a b") == 0
    assert capsys.readouterr().out == "ls -l 'a b'\n"  # the fake guest says what it was told
    assert _run(clouds, "exec", "web-1") == 2
    assert "there is no command" in capsys.readouterr().err
    assert _run(clouds, "delete", "--wait", "web-1") == 0
    assert _run(clouds, "show", "web-1") == 1
    assert capsys.readouterr().err == "Server web-1 could not be found.\n"


def test_create_waits_for_what_is_asked(clouds: Path, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    create = ["create", "web-1", "--image", image, "--flavor", "m1.nano"]
    assert _run(clouds, *create, "--for", "agent", "--timeout", "1") == 1
    printed = capsys.readouterr()
    assert "status     ACTIVE" in printed.out
    assert printed.err == "web-1: no result of its agent within 1 s\n"


def test_explain_names_the_filter_that_a_host_falls_to(
    clouds: Path, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create = ["create", "x", "--image", image, "--flavor", "m1.nano"]
    assert _run(clouds, *create, "--explain") == 0
    assert _run(clouds, *create, "--explain", "--availability-zone", "west") == 1
    assert "AvailabilityZoneFilter" in capsys.readouterr().out


def test_a_property_that_is_none_is_an_input_error(
    clouds: Path, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(clouds, "create", "x", "--image", image, "--flavor", "m1.nano", "--property", "a") == 2
    assert "'a' is not KEY=VALUE" in capsys.readouterr().err


def test_without_a_cloud_it_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path / "clouds.yaml", "list") == 1
    assert "Start it with: guestling api" in capsys.readouterr().err


def test_options_stand_before_or_behind_the_word(
    clouds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.main(["server", "list", "--clouds", str(clouds), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    # What `guestling api` tells the user to export holds for this client too.
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds))
    monkeypatch.setenv("OS_CLOUD", "guestling")
    assert main.main(["server", "--format", "json", "list"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    monkeypatch.setenv("OS_CLOUD", "elsewhere")
    assert main.main(["server", "list"]) == 1
    assert "elsewhere" in capsys.readouterr().err
