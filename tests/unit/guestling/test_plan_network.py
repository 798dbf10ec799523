"""`guestling plan --network-config`: the files that the network stage would write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guestling import main

V2 = """\
version: 2
ethernets:
  eth0:
    addresses: [192.0.2.10/24]
    routes: [{to: default, via: 192.0.2.1}]
"""
NETWORK_DATA = {
    "links": [{"id": "tap0", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56", "mtu": 1500}],
    "networks": [{"id": "n0", "link": "tap0", "type": "ipv4_dhcp"}],
    "services": [],
}


@pytest.fixture
def user_data(tmp_path: Path) -> Path:
    path = tmp_path / "user-data"
    path.write_text("#cloud-config\nhostname: web\n")
    return path


def _files(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    assert main.main(["plan", *arguments, "--format", "json"]) == 0
    module = json.loads(capsys.readouterr().out)["modules"][0]
    assert module["stage"] == "local"
    return {each["path"]: each["content"] for each in module["actions"] if each["do"] == "WriteFile"}


def test_the_first_renderer_of_the_distribution(
    user_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "network-config"
    config.write_text(V2)
    files = _files(capsys, str(user_data), "--network-config", str(config))
    assert "192.0.2.10/24" in files["/etc/netplan/50-cloud-init.yaml"]


def test_a_renderer_by_name_and_openstacks_document(
    user_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "network_data.json"
    config.write_text(json.dumps(NETWORK_DATA))
    files = _files(capsys, str(user_data), "--network-config", str(config), "--renderer", "networkd")
    assert "DHCP=ipv4" in files["/etc/systemd/network/10-cloud-init-eth0.network"]


def test_a_network_that_is_none_is_an_input_error(
    user_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "network-config"
    config.write_text("version: 1\nconfig:\n  - {type: warp, name: eth0}\n")
    assert main.main(["plan", str(user_data), "--network-config", str(config)]) == 2
    assert "warp" in capsys.readouterr().err
