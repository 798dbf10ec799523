"""Guests as libvirt's XML: golden files that libvirt's own schema accepts, and values that stay values."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.compute.driver import Bus, Disk, Firmware, Format, Nic, Smbios, VmSpec
from spawner.compute.libvirt import domain
from spawner.compute.libvirt.domain import DomainWiring, domain_xml, read_back

GOLDEN = Path(__file__).resolve().parents[3] / "fixtures" / "libvirt"
UUID_1 = UUID("11111111-2222-4333-8444-555555555555")
HOME, RUN = Path("/srv/cloud/instances/1111"), Path("/tmp/guestling-0/gabc")
BASE = Disk(Path("/srv/cloud/images/base"), Format.QCOW2, read_only=True)
ROOT = Disk(HOME / "root.qcow2", Format.QCOW2, slot=4, backing=BASE)
WIRING = DomainWiring(
    virt_type="qemu",
    owner="/srv/cloud/instances",
    emulator="/usr/bin/qemu-system-x86_64",
    console_log=HOME / "console.log",
    run=RUN,
)
SPEC = VmSpec(name="i-1", uuid=UUID_1, disks=(ROOT,))
CABLED = DomainWiring(
    **{
        **vars(WIRING),
        "netdevs": ("stream,server=off,addr.type=unix,addr.path=/tmp/guestling-0/gabc/net3.sock",),
        "fd_groups": {ROOT.path: "1111/root.qcow2", BASE.path: "images/base"},
        "process_label": "+64055:+64055",
    }
)
TINY = VmSpec(
    name="i-1",
    uuid=UUID_1,
    kernel=RUN / "staged-kernel",
    initrd=RUN / "staged-initrd",
    cmdline="console=ttyS0 quiet",
    memory_mib=256,
    disks=(ROOT,),
    nics=(Nic("fa:16:3e:00:00:01", name="nic-1", slot=3),),
    smbios=Smbios(serial="S-1"),
)
NVME = VmSpec(
    name="i-2",
    uuid=UUID_1,
    vcpus=2,
    cpu="Haswell",
    disks=(
        Disk(HOME / "root.qcow2", Format.QCOW2, Bus.NVME, slot=4, backing=BASE),
        Disk(RUN / "config-drive.iso", bus=Bus.SCSI_CD, read_only=True, slot=5),
        Disk(Path("/srv/cloud/volumes/v1"), Format.QCOW2, serial="v1", name="vol-1", slot=9),
    ),
    nics=(
        Nic("fa:16:3e:00:00:01", name="nic-1", slot=3),
        Nic("fa:16:3e:00:00:02", "e1000", name="nic-2", slot=8),
    ),
)
ELSEWHERE = DomainWiring(
    **{**vars(WIRING), "virt_type": "kvm", "run": None, "netdevs": ("user,restrict=on",)}
)
TWO_CARDS = DomainWiring(**{**vars(CABLED), "netdevs": (*CABLED.netdevs, "user,ipv6=off,restrict=on")})
Q35 = VmSpec(
    name="i-3",
    uuid=UUID_1,
    machine="q35",
    firmware=Firmware(
        Disk(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), read_only=True),
        Disk(HOME / "uefi-variables.fd"),
        Path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ),
    root_ports=(3, 8, 9),
    disks=(
        replace(ROOT, bus=Bus.SATA),
        Disk(RUN / "config-drive.iso", bus=Bus.SATA_CD, read_only=True, slot=5),
        Disk(Path("/srv/cloud/volumes/v1"), Format.QCOW2, serial="v1", name="vol-1", slot=9, behind=3),
    ),
    nics=(Nic("fa:16:3e:00:00:01", name="nic-1", slot=3, behind=1),),
)
IDE = VmSpec(
    name="i-4",
    uuid=UUID_1,
    disks=(
        replace(ROOT, bus=Bus.IDE),
        replace(ROOT, path=HOME / "second.qcow2", bus=Bus.IDE, slot=7),
        Disk(RUN / "config-drive.iso", bus=Bus.IDE_CD, read_only=True, slot=5),
    ),
)
USB = VmSpec(
    name="i-5",
    uuid=UUID_1,
    disks=(replace(ROOT, bus=Bus.USB), Disk(RUN / "config-drive.iso", bus=Bus.USB, read_only=True, slot=5)),
)
CASES = {
    "disk": (SPEC, WIRING),
    "ide": (IDE, WIRING),
    "kernel": (TINY, CABLED),
    "nvme": (NVME, TWO_CARDS),
    "q35-uefi-sata": (Q35, CABLED),
    "usb": (USB, WIRING),
    "sata": (VmSpec(name="i-6", uuid=UUID_1, disks=Q35.disks[:2]), WIRING),
    "remote": (VmSpec(name="i-1", uuid=UUID_1, disks=(ROOT,), nics=NVME.nics[:1]), ELSEWHERE),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_guest_is_this_domain(name: str) -> None:
    xml = domain_xml(*CASES[name])
    path = GOLDEN / f"{name}.xml"
    if os.environ.get("GUESTLING_GOLDEN") == "rewrite":
        path.parent.mkdir(exist_ok=True)
        path.write_text(xml)
    assert xml == path.read_text()


@pytest.mark.parametrize("name", sorted(CASES))
def test_libvirts_own_schema_accepts_it(name: str) -> None:
    if shutil.which("virt-xml-validate") is None or shutil.which("xmllint") is None:
        pytest.skip("virt-xml-validate (libvirt-clients, libxml2-utils) is not installed")
    checked = subprocess.run(
        ["virt-xml-validate", GOLDEN / f"{name}.xml", "domain"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_fixtures_are_those_of_the_cases() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def test_sp_20_libvirt_changes_the_owner_of_nothing() -> None:
    """With descriptors for every image no label has to be put on a file of ours."""
    root = ElementTree.fromstring(domain_xml(TINY, CABLED))
    label = root.find("seclabel")
    assert label is not None
    assert label.attrib == {"type": "static", "model": "dac", "relabel": "no"}
    sources = [element.attrib for element in root.iter("source") if "file" in element.attrib]
    assert [source["fdgroup"] for source in sources] == ["1111/root.qcow2", "images/base"]


def test_sp_10_every_layer_names_its_format_and_the_last_says_so() -> None:
    disk = ElementTree.fromstring(domain_xml(SPEC, WIRING)).find("devices/disk")
    assert disk is not None
    formats = [element.attrib["type"] for element in disk.iter() if element.tag in {"driver", "format"}]
    assert formats == ["qcow2", "qcow2"]
    (last,) = [each for each in disk.iter("backingStore") if len(each) == 0]
    assert last.attrib == {}


def test_a_card_is_behind_a_port_of_libvirts() -> None:
    root = ElementTree.fromstring(domain_xml(Q35, CABLED))
    ports = [each.attrib["index"] for each in root.iter("controller") if each.attrib["type"] == "pci"]
    arguments = [each.attrib["value"] for each in root.iter(f"{{{domain.QEMU_NAMESPACE}}}arg")]
    (card,) = (json.loads(value) for value in arguments if value.startswith("{"))
    assert ports == ["1", "2", "3"]
    assert (card["bus"], card["addr"]) == ("pci.1", "0x0")


def test_every_device_has_a_place_of_its_own() -> None:
    """libvirt does not know of the cards: it must never choose a place itself."""
    root = ElementTree.fromstring(domain_xml(NVME, TWO_CARDS))
    slots = [int(each.attrib["slot"], 16) for each in root.iter("address")]
    arguments = [each.attrib["value"] for each in root.iter(f"{{{domain.QEMU_NAMESPACE}}}arg")]
    slots += [int(json.loads(part)["addr"], 16) for part in arguments if part.startswith("{")]
    assert sorted(slots) == [2, 3, 4, 5, 6, 8, 9]


@given(st.text("<>&'\" =/", max_size=40) | st.text(max_size=80).filter(str.isprintable))
def test_sp_12_a_value_is_never_more_than_a_value(text: str) -> None:
    spec = VmSpec(name="i-1", uuid=UUID_1, kernel=Path("/k"), cmdline=text, smbios=Smbios(serial=text))
    root = ElementTree.fromstring(domain_xml(spec, WIRING))
    assert (root.findtext("os/cmdline") or "") == text
    serial = root.findtext("sysinfo/system/entry[@name='serial']")
    assert (serial or "") == text
    assert len(list(root.iter("kernel"))) == 1


def test_a_domain_of_ours_says_whose_it_is_and_where_its_sockets_are() -> None:
    found = read_back(domain_xml(NVME, TWO_CARDS))
    assert found is not None
    assert (found.owner, found.run, found.serials) == ("/srv/cloud/instances", RUN, {"v1": "vdj"})
    assert read_back(domain_xml(SPEC, ELSEWHERE_WITHOUT_NICS)) == domain.Found(
        "/srv/cloud/instances", None, {}
    )
    assert read_back("<domain type='qemu'><name>other</name><metadata/></domain>") is None


ELSEWHERE_WITHOUT_NICS: Any = DomainWiring(**{**vars(ELSEWHERE), "netdevs": ()})


@pytest.mark.parametrize(
    ("models", "label"),
    [
        ("<secmodel><model>dac</model><baselabel type='qemu'>+1:+2</baselabel></secmodel>", "+1:+2"),
        ("<secmodel><model>none</model></secmodel>", None),
        ("<secmodel><model>dac</model><baselabel type='kvm'>+1:+2</baselabel></secmodel>", None),
    ],
)
def test_the_user_of_qemu_is_what_the_daemon_says(models: str, label: str | None) -> None:
    capabilities = f"<capabilities><host>{models}</host></capabilities>"
    assert domain.dac_label(capabilities, "qemu") == label


def test_every_bus_has_its_words() -> None:
    for bus in Bus:
        disk = replace(ROOT, bus=bus)
        assert domain.disk_device(0, disk, {}).find("target") is not None
