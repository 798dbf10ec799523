"""ds-identify beside cloud-init's own (Debian sid's package) on random machines: same file, same status.

Left out on purpose: `/config-drive` below another root (theirs looks at the real one) and the disabled marker
(D15, the same).
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contract.network import cloud_init
from tests.contract.network.tool_root import Unavailable

OURS = Path(__file__).resolve().parents[3] / "guest_agent" / "ds-identify"
MACHINES = 150
SEED = "var/lib/cloud/seed/"
UUIDS = ("ec2abc-1", "EC2A1B2C-0000-1111", "45E12AEC-DCD1-B213", "45E13AEC-DCD1", "6b4c2a2e-6b5e")
TAGS = (
    "", "OpenStack Nova", "OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD", "Samsung Cloud Platform",
    "a.zstack.io", "zstack",
)  # fmt: skip
# Path: how often it is there, and what it may hold.
FILES: dict[str, tuple[float, tuple[str, ...]]] = {
    "sys/class/dmi/id/product_name": (
        0.25, ("OpenStack Nova", "OpenStack Compute", "Standard PC", "3DS Outscale VM", ""),
    ),
    "sys/class/dmi/id/sys_vendor": (0.25, ("QEMU", "e24cloud", "Tilaa", "3DS Outscale")),
    "sys/class/dmi/id/product_serial": (
        0.25, ("", "ds=nocloud", "x ds=nocloud;s=http://a/ y", "a.brightbox.com", "ec2abc", "ds=openstack"),
    ),
    "sys/class/dmi/id/product_uuid": (0.25, UUIDS),
    "sys/class/dmi/id/chassis_asset_tag": (0.25, TAGS),
    f"{SEED}nocloud/user-data": (0.25, ("x",)),
    f"{SEED}nocloud/meta-data": (0.25, ("x",)),
    f"{SEED}ec2/user-data": (0.25, ("x",)),
    f"{SEED}ec2/meta-data": (0.25, ("x",)),
    f"{SEED}config_drive/openstack/latest/meta_data.json": (0.08, ("{}",)),
    f"{SEED}config_drive/openstack/2015-10-15/meta_data.json": (0.08, ("{}",)),
    "etc/cloud/ds-identify.cfg": (
        0.35,
        (
            "datasource: Ec2", "policy: report", "policy: search,found=first,maybe=all", "policy: enabled",
            "policy: search,maybe=all,notfound=enabled", "policy: disabled", "policy: search,found=xx",
            "datasource: 'OpenStack' # c\npolicy: search",
            "ci.datasource.ec2.strict_id: false\npolicy: search,maybe=all",
        ),
    ),
    "etc/cloud/cloud.cfg": (
        0.25,
        (
            "users: [a]", "datasource_list: [ NoCloud, None ]", "datasource_list: [Ec2]",
            "datasource_list: ['ConfigDrive', \"OpenStack\"]", "#datasource_list: [ Ec2 ]",
            "datasource:\n NoCloud:\n  seedfrom: x", "datasource_list: [ None ]",
            "  datasource_list: [ Ec2, OpenStack ] # x", "datasource:\n Ec2:\n  strict_id: warn",
        ),
    ),
    "etc/cloud/cloud.cfg.d/50.cfg": (
        0.25,
        (
            "datasource_list: [ OpenStack, ConfigDrive, NoCloud, Ec2, None ]", "datasource_list: []",
            "datasource:\n NoCloud:\n  user-data: x\n  meta-data: y", "datasource_list:\n - Ec2",
        ),
    ),
    "etc/cloud/cloud.cfg.d/90_Ec2.cfg": (0.25, ("datasource:\n Ec2:\n  strict_id: false",)),
    "proc/cmdline": (
        0.9,
        (
            "ro", "ro ds=nocloud", "ds=openstack;x=y", "ci.ds=Ec2", "ci.di.policy=report", "ds=None",
            "ci.datasource=ConfigDrive ds=nocloud-net;s=x", "cc:{datasource_list: [Ec2, None]} end_cc",
            "ci.datasource.ec2.strict_id=false ci.di.policy=search,maybe=all",
            "cc: datasource_list: [ 'NoCloud' ]",
        ),
    ),
    "proc/1/environ": (
        0.15, ("product_name=OpenStack Nova\0a=b", "a=b\0product_name=OpenStack Nova\0", "a=b"),
    ),
    "proc/1/cmdline": (0.25, ("/sbin/init\0", "/sbin/init\0ds=nocloud\0")),
    "sys/hypervisor/uuid": (0.1, ("ec2abc", "x", "EC2abc")),
    "var/lib/cloud/instance/manual-clean": (0.03, ("",)),
}  # fmt: skip
DRIVES = (
    "",
    "",
    "",
    "LABEL=cidata",
    "LABEL=config-2",
    "LABEL_FATBOOT=CIDATA",
    "LABEL=CONFIG-2",
    "LABEL=other",
)


class Case(NamedTuple):
    files: dict[str, str]
    drive: str
    virtual: str
    machine: str


def some_case(dice: random.Random) -> Case:
    files = {path: dice.choice(texts) for path, (often, texts) in FILES.items() if dice.random() < often}
    if dice.random() < 0.1:
        files = {path: text for path, text in files.items() if "/dmi/" not in path}
    virtual = dice.choice(["kvm", "kvm", "kvm", "lxc", "none"])
    return Case(files, dice.choice(DRIVES), virtual, dice.choice(["x86_64", "x86_64", "aarch64"]))


def answer(program: Path, case: Case, place: Path) -> tuple[int, str | None]:
    """Exit status and result file of a program on that machine."""
    root, stubs = place / "root", place / "stubs"
    (root / "run/systemd/system").mkdir(parents=True)
    stubs.mkdir()
    for path, text in case.files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text if path.startswith("proc/1/") else f"{text}\n")
    told = {
        "blkid": f"DEVNAME=/dev/vdb\n{case.drive}\nTYPE=vfat\n" if case.drive else "",
        "systemd-detect-virt": f"{case.virtual}\n",
        "uname": f"Linux #1 SMP PREEMPT_DYNAMIC Debian 6.1.0 {case.machine}\n",
    }
    for name, text in told.items():
        (stubs / f".{name}").write_text(text)
        (stubs / name).write_text(f'#!/bin/sh\ncat "{stubs}/.{name}"\n')
        (stubs / name).chmod(0o755)
    ran = subprocess.run(
        ["/bin/sh", str(program)],
        env={"PATH": f"{stubs}:{os.environ['PATH']}", "PATH_ROOT": str(root)},
        capture_output=True,
        check=False,
        timeout=20,
    )
    config = root / "run/cloud-init/cloud.cfg"
    return ran.returncode, config.read_text().rstrip() if config.exists() else None


def test_detection_comes_out_as_in_cloud_init(tmp_path: Path) -> None:
    try:
        _, packages = cloud_init._peer()
    except Unavailable as error:
        pytest.skip(str(error))
    theirs = packages.parents[1] / "cloud-init" / "ds-identify"
    dice = random.Random(20260103)
    for number in range(MACHINES):
        case = some_case(dice)
        wanted = answer(theirs, case, tmp_path / f"{number}-theirs")
        assert answer(OURS, case, tmp_path / f"{number}-ours") == wanted, case
