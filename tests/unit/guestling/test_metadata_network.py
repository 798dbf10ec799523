"""`guestling metadata show INSTANCE --network`: links and networks as text, as a picture, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from guestling import main

DOCUMENT = """\
uuid: 8f0a3c1e-1111-2222-3333-444455556666
hostname: web-1
network:
  links:
    - {id: tap0, type: phy, ethernet_mac_address: "52:54:00:12:34:56", mtu: 1500}
  networks:
    - {id: n0, link: tap0, type: ipv4, ip_address: 192.0.2.10, netmask: 255.255.255.0}
"""


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    path = tmp_path / "web-1.yaml"
    path.write_text(DOCUMENT)
    return path


def test_as_text(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["metadata", "show", str(instance), "--network"]) == 0
    shown = capsys.readouterr().out
    assert "tap0  [phy  52:54:00:12:34:56  mtu 1500]" in shown
    assert "192.0.2.10/24" in shown


def test_as_a_picture(instance: Path, tmp_path: Path) -> None:
    picture = tmp_path / "network.svg"
    assert main.main(["metadata", "show", str(instance), "--network", "--svg", str(picture)]) == 0
    assert "192.0.2.10/24" in "".join(ElementTree.parse(picture).getroot().itertext())


def test_as_json(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["metadata", "show", str(instance), "--network", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["links"][0]["id"] == "tap0"


def test_an_instance_without_network_says_what_its_guest_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("uuid: 8f0a3c1e-1111-2222-3333-444455556666\n")
    assert main.main(["metadata", "show", str(path), "--network"]) == 1
    assert "falls back to DHCP" in capsys.readouterr().err
