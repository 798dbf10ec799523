"""Other guests than tiny ones on i440fx under the real libvirt daemon: UEFI on q35, Debian with systemd."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from image_harness import images, store
from spawner.client import Client
from spawner.compute.firmware import PLACES
from tests.boot.libvirt_daemon import Daemon, virsh
from tests.boot.test_cloud_adoption import until_result
from tests.boot.test_libvirt_cloud import act, cloud_on, create, new_flavor, new_volume, run

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(400)]

DEBIAN_S = 300.0
LOG = "cat /var/log/cloud-init.log"
BOOT_FILES = ("kernel_id", "ramdisk_id", "os_command_line")


def like_tiny(client: Client, **properties: str) -> str:
    """An image that boots as the tiny one does, and asks for another machine; its name."""
    tiny = client.image("tiny")
    form = {"name": "other", "disk_format": "raw", "container_format": "bare"}
    made = client.call(
        "POST", "/image/v2/images", {**form, **{name: tiny[name] for name in BOOT_FILES}, **properties}
    )
    client.call("PUT", f"/image/v2/images/{made['id']}/file", "a JSON text is a raw disk all the same")
    return str(made["name"])


def test_a_guest_with_uefi_on_q35_takes_and_gives_a_volume(
    tiny: store.Image, libvirtd: Daemon, unused_tcp_port: int
) -> None:
    assert tiny.kernel is not None
    if not any(code.is_file() and fresh.is_file() for code, fresh in PLACES):
        pytest.skip("no UEFI firmware; ./dev test installs ovmf")
    variables = Path(parse_qs(urlsplit(libvirtd.local).query)["socket"][0]).parents[1] / "lib/qemu/nvram"
    with cloud_on(libvirtd.local, unused_tcp_port) as (cloud, _state):
        client = cloud.start()
        asked = {"hw_machine_type": "q35", "hw_firmware_type": "uefi", "hw_disk_bus": "sata"}
        image = like_tiny(client, **asked)
        server = create(client, new_flavor(client, "small", 256, 1), image)
        settled = client.until_settled(server, 60)
        assert settled["status"] == "ACTIVE", settled.get("fault")
        assert until_result(client, server)["status"] == "done"
        assert run(client, server, "ls -d /sys/firmware/efi").strip() == "/sys/firmware/efi"
        assert "/0000:01:00.0/" in run(client, server, "readlink -f /sys/class/net/eth0")

        volume = new_volume(client)
        url = f"/compute/v2.1/servers/{server}/os-volume_attachments"
        client.call("POST", url, {"volumeAttachment": {"volumeId": volume}})
        run(client, server, "until [ -e /sys/block/vda ]; do sleep 0.1; done")
        assert "/0000:02:00.0/" in run(client, server, "readlink -f /sys/block/vda")
        act(client, server, {"reboot": {"type": "HARD"}}, "ACTIVE")  # now libvirt itself plugs it in
        assert "/0000:02:00.0/" in run(client, server, "readlink -f /sys/block/vda")
        client.call("DELETE", f"{url}/{volume}")
        run(client, server, "while [ -e /sys/block/vda ]; do sleep 0.1; done")

        assert [path.name for path in variables.iterdir()] == [f"i-{server}_VARS.fd"]
        client.call("DELETE", f"/compute/v2.1/servers/{server}")
        client.until_gone(server, 60)
        assert list(variables.iterdir()) == []


def test_debian_13_is_configured(libvirtd: Daemon, unused_tcp_port: int) -> None:
    """systemd, a disk of its own, metadata over the cable: what the tiny guest has none of."""
    images.get("debian-13", lambda _: None)
    with cloud_on(libvirtd.local, unused_tcp_port, "--image", "debian-13") as (cloud, _state):
        client = cloud.start()
        flavor = str(client.flavor("m1.small")["id"])
        server = create(client, flavor, "debian-13", config_drive=False)
        result = until_result(client, server, DEBIAN_S)
        assert (result["status"], result["datasource"][:24]) == ("done", "DataSourceOpenStackLocal")
        assert run(client, server, "cat /etc/hostname") == "survivor\n", run(client, server, LOG)
        client.call("DELETE", f"/compute/v2.1/servers/{server}")
        client.until_gone(server, 60)
        assert virsh(libvirtd.local, "list", "--all", "--name").stdout.split() == []
