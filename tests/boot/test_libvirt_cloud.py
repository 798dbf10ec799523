"""`guestling api` over the real libvirt daemon: killed again and again, and with every action of a server."""

from __future__ import annotations

import base64
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from image_harness import store
from spawner.client import Client
from spawner.compute.libvirt import cable
from tests.boot.libvirt_daemon import Daemon, virsh
from tests.boot.test_cloud_adoption import USER_DATA, Cloud, console, until_result

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(600)]

MARK = b"written-by-the-guest"
LIMIT_S = 120.0


@contextmanager
def cloud_on(uri: str, port: int, *options: str) -> Iterator[tuple[Cloud, Path]]:
    """A cloud whose guests are a libvirt daemon's, and the directory of its state."""
    root = Path(tempfile.mkdtemp(prefix="gl", dir="/tmp"))
    root.chmod(0o711)
    made = Cloud(root, port, ("--driver", "libvirt", "--libvirt-uri", uri, *options))
    try:
        yield made, root / "state"
    finally:
        made.close()
        for run in made.runs.iterdir() if made.runs.is_dir() else ():
            cable.cut(run)
        for name in domains(uri):
            virsh(uri, "destroy", name)
            virsh(uri, "undefine", name)
        shutil.rmtree(root)


@pytest.fixture(autouse=True)
def _image(tiny: store.Image) -> None:
    """What the clouds offer is there before they start."""


def domains(uri: str) -> list[str]:
    return virsh(uri, "list", "--all", "--name").stdout.split()


def create(client: Client, flavor: str, image: str = "tiny", *, config_drive: bool = True) -> str:
    """A server; with a config drive its boot needs nobody."""
    wish = {
        "name": "web-1",
        "imageRef": client.image(image)["id"],
        "flavorRef": flavor,
        "networks": "auto",
        "config_drive": config_drive,
        "user_data": base64.b64encode(USER_DATA).decode(),
    }
    return str(client.call("POST", "/compute/v2.1/servers", {"server": wish})["server"]["id"])


def new_flavor(client: Client, name: str, ram_mib: int, disk_gib: int) -> str:
    wish = {"name": name, "ram": ram_mib, "disk": disk_gib, "vcpus": 1}
    return str(client.call("POST", "/compute/v2.1/flavors", {"flavor": wish})["flavor"]["id"])


def act(client: Client, server: str, action: dict[str, Any], status: str) -> None:
    """One of Nova's actions, and the status after it."""
    client.call("POST", f"/compute/v2.1/servers/{server}/action", action)
    found = client.until_settled(server, LIMIT_S)
    assert found["status"] == status, found.get("fault")


def run(client: Client, server: str, command: str) -> str:
    """What a command prints in the guest, once it takes commands."""
    done = client.execute(server, command, 60)
    return base64.b64decode(done["stdout"]).decode()


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"in {LIMIT_S:g} s: not {what}"
        time.sleep(0.1)


def test_sp_06_a_killed_spawner_finds_its_libvirt_guest_in_every_state(
    libvirtd: Daemon, unused_tcp_port: int
) -> None:
    with cloud_on(libvirtd.local, unused_tcp_port) as (cloud, state):
        client = cloud.start()
        larger = new_flavor(client, "larger", 384, 2)
        server = create(client, new_flavor(client, "small", 256, 1))
        home = state / "instances" / server
        cloud.end(signal.SIGKILL)  # while it is being built

        client = cloud.start()
        assert client.until_settled(server, LIMIT_S)["status"] == "ACTIVE"
        cloud.end(
            signal.SIGKILL
        )  # while the guest boots; its agent ends, and a shell begins, with nobody there
        record = home / "console.log"
        until("at its shell", lambda: record.exists() and b"BusyBox" in record.read_bytes())

        client = cloud.start()
        assert until_result(client, server)["datasource"].startswith("DataSourceConfigDrive")
        assert "said-by-survivor" in console(client, server)
        _is_copied(client, server, state)
        _is_resized_while_off(client, server, larger)
        act(client, server, {"rescue": {}}, "RESCUE")
        assert run(client, server, "cat /sys/block/vdc/size").strip() == str((2 << 30) // 512)
        cloud.end(signal.SIGKILL)  # in its rescue

        client = cloud.start()
        assert client.until_settled(server, LIMIT_S)["status"] == "RESCUE"
        assert run(client, server, f"head -c {len(MARK)} /dev/vdc") == MARK.decode()
        act(client, server, {"unrescue": None}, "ACTIVE")
        assert not (home / "rescue.qcow2").exists()
        act(client, server, {"rebuild": {"imageRef": client.image("tiny")["id"]}}, "ACTIVE")
        assert run(client, server, f"head -c {len(MARK)} /dev/vda | tr '\\0' 0") == "0" * len(MARK)
        client.call("DELETE", f"/compute/v2.1/servers/{server}")
        cloud.end(signal.SIGKILL)  # while it is deleted

        client = cloud.start()
        client.until_gone(server, LIMIT_S)
        assert domains(libvirtd.local) == []
        assert list((state / "instances").iterdir()) == []
        assert cloud.end(signal.SIGTERM) == 0
        assert [path for path in cloud.runs.iterdir() if path.is_dir()] == []


def _is_copied(client: Client, server: str, state: Path) -> None:
    """What the guest has written is in the snapshot; the guest goes on."""
    run(client, server, f"printf {MARK.decode()} | dd of=/dev/vda conv=fsync")
    client.call("POST", f"/compute/v2.1/servers/{server}/action", {"createImage": {"name": "copy"}})
    assert client.until_settled(server, LIMIT_S)["status"] == "ACTIVE"
    image = client.image("copy")
    assert image["status"] == "active"
    assert MARK in (state / "images" / image["id"]).read_bytes()
    assert run(client, server, "echo on") == "on\n"


def _is_resized_while_off(client: Client, server: str, flavor: str) -> None:
    """The guest powers itself off, which libvirt tells; then its flavor changes, and changes for good."""
    run(client, server, "(sleep 1; poweroff -f) >/dev/null 2>&1 &")
    until("off", lambda: client.until_settled(server, LIMIT_S)["status"] == "SHUTOFF")
    act(client, server, {"resize": {"flavorRef": flavor}}, "VERIFY_RESIZE")
    act(client, server, {"confirmResize": None}, "SHUTOFF")


def test_a_guest_lives_on_another_host_on_shared_storage(libvirtd: Daemon, unused_tcp_port: int) -> None:
    """By TLS, with nothing but paths: no descriptor, no socket of ours is used."""
    with cloud_on(libvirtd.remote, unused_tcp_port) as (cloud, state):
        assert "may not pass" in _refused(libvirtd.remote, state)
        state.chmod(0o711)
        client = cloud.start()
        server = create(client, new_flavor(client, "small", 256, 1))
        assert client.until_settled(server, LIMIT_S)["status"] == "ACTIVE"
        until("configured", lambda: "said-by-survivor" in console(client, server))
        home = state / "instances" / server
        assert {path.stat().st_mode & 0o077 for path in home.iterdir()} == {0}
        cloud.end(signal.SIGKILL)

        client = cloud.start()
        assert client.until_settled(server, LIMIT_S)["status"] == "ACTIVE"
        volume = new_volume(client)
        attach = {"volumeAttachment": {"volumeId": volume}}
        client.call("POST", f"/compute/v2.1/servers/{server}/os-volume_attachments", attach)
        until("attached", lambda: volume in virsh(libvirtd.local, "domblklist", server).stdout)
        act(client, server, {"reboot": {"type": "HARD"}}, "ACTIVE")
        assert volume in virsh(libvirtd.local, "domblklist", server).stdout
        client.call("DELETE", f"/compute/v2.1/servers/{server}")
        client.until_gone(server, LIMIT_S)
        assert domains(libvirtd.local) == []
        assert cloud.end(signal.SIGTERM) == 0


def _refused(uri: str, state: Path) -> str:
    """What is said where QEMU's user may not pass to the state."""
    command = [sys.executable, "-m", "guestling.main", "api", "--driver", "libvirt", "--libvirt-uri", uri]
    done = subprocess.run(
        [*command, "--state", str(state)], capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode != 0
    return done.stderr


def new_volume(client: Client) -> str:
    url = "/volume/v3/volumes"
    volume = str(client.call("POST", url, {"volume": {"size": 1}})["volume"]["id"])
    until("made", lambda: client.call("GET", f"{url}/{volume}")["volume"]["status"] == "available")
    return volume
