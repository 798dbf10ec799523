"""ds-identify, as dash and busybox run it (spec 1.4; GA-N01, D15). The programs it asks are stubs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "guest_agent" / "ds-identify"
DMI = "sys/class/dmi/id/"
LISTED = {"etc/cloud/cloud.cfg.d/90.cfg": "datasource_list: [ NoCloud, ConfigDrive, OpenStack, Ec2, None ]\n"}
SEED = {f"var/lib/cloud/seed/nocloud/{name}": "" for name in ("user-data", "meta-data")}
NOTHING = "di_report:\n  datasource_list: [  ]\n  # reporting not found result. notfound=disabled.\n"
NOVA = {f"{DMI}product_name": "OpenStack Nova\n"}
DRIVE = "DEVNAME=/dev/sr0\nLABEL=config-2\nTYPE=iso9660\n"


def wrote(*names: str) -> str:
    return f"datasource_list: [ {', '.join(names)} ]\n"


class Found(NamedTuple):
    status: int
    config: str | None
    out: str
    err: str


class Machine:
    """A tree, stubs for the programs, and the shell that runs the program."""

    def __init__(self, root: Path, shell: list[str]) -> None:
        self.root = root / "root"
        self.stubs = root / "stubs"
        self.shell = shell
        self.stubs.mkdir()
        self.root.mkdir()
        self.answer("blkid", "")
        self.answer("systemd-detect-virt", "kvm\n")
        self.answer("uname", "x86_64\n")

    def answer(self, program: str, out: str) -> None:
        place = self.stubs / program
        (self.stubs / f"{program}.out").write_text(out)
        place.write_text(f'#!/bin/sh\necho "$0" >>"{self.stubs}/asked"\ncat "$0.out"\n')
        place.chmod(0o755)

    def write(self, files: dict[str, str]) -> None:
        for path, text in files.items():
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def run(self, *words: str, **environment: str) -> Found:
        (self.root / "run/systemd").mkdir(parents=True, exist_ok=True)
        answer = subprocess.run(
            [*self.shell, str(PROGRAM), *words],
            env={"PATH": f"{self.stubs}:{os.environ['PATH']}", "PATH_ROOT": str(self.root), **environment},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        config = self.root / "run/cloud-init/cloud.cfg"
        return Found(
            answer.returncode, config.read_text() if config.exists() else None, answer.stdout, answer.stderr
        )

    def asked(self) -> list[str]:
        """The programs that were started, in order."""
        place = self.stubs / "asked"
        return [Path(line).name for line in place.read_text().splitlines()] if place.exists() else []


SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}


@pytest.fixture(params=SHELLS)
def machine(request: Any, tmp_path: Path) -> Machine:
    shell = SHELLS[request.param]
    if shutil.which(shell[0]) is None:
        pytest.skip(f"there is no {shell[0]} on this machine")
    made = Machine(tmp_path, shell)
    made.write({"proc/cmdline": "root=/dev/vda1 ro\n", **LISTED})
    return made


OPENSTACK, CONFIG_DRIVE = wrote("OpenStack", "None"), wrote("ConfigDrive", "None")
NOCLOUD, EC2 = wrote("NoCloud", "None"), wrote("Ec2", "None")
SETTINGS, CONFIG = "etc/cloud/ds-identify.cfg", "etc/cloud/cloud.cfg.d/91.cfg"

CASES: dict[str, tuple[dict[str, str], dict[str, str], int, str | None]] = {
    # name: (files, answers of programs, exit status, cloud.cfg)
    "nothing": ({}, {}, 1, NOTHING),
    "nova": (NOVA, {}, 0, OPENSTACK),
    "compute": ({f"{DMI}product_name": "OpenStack Compute"}, {}, 0, OPENSTACK),
    "nova-by-tag": ({f"{DMI}chassis_asset_tag": "OpenStack Nova\n"}, {}, 0, OPENSTACK),
    "samsung": ({f"{DMI}chassis_asset_tag": "Samsung Cloud Platform\n"}, {}, 0, OPENSTACK),
    "ga-n02-drive-beats-nova": (NOVA, {"blkid": DRIVE}, 0, CONFIG_DRIVE),
    "drive-upper-case": ({}, {"blkid": DRIVE.replace("config-2", "CONFIG-2")}, 0, CONFIG_DRIVE),
    "drive-mixed-case": ({}, {"blkid": DRIVE.replace("config-2", "Config-2")}, 1, NOTHING),
    "label-is-a-part-of-another": ({}, {"blkid": DRIVE.replace("config-2", "xconfig-2")}, 1, NOTHING),
    "drive-of-that-date": (
        {"config-drive/openstack/2015-10-15/meta_data.json": "{}"},
        {},
        0,
        CONFIG_DRIVE,
    ),
    "seed": (SEED, {}, 0, NOCLOUD),
    "half-a-seed": ({"var/lib/cloud/seed/nocloud/user-data": ""}, {}, 1, NOTHING),
    "fat-label": ({}, {"blkid": "DEVNAME=/dev/vdb\nLABEL_FATBOOT=CIDATA\n"}, 0, NOCLOUD),
    "serial": ({f"{DMI}product_serial": "x ds=nocloud;s=http://a/\n"}, {}, 0, NOCLOUD),
    "busybox-blkid": ({}, {"blkid": '/dev/sr0: LABEL="cidata" TYPE="iso9660"\n'}, 0, NOCLOUD),
    "two": (SEED, {"blkid": DRIVE}, 0, wrote("NoCloud", "ConfigDrive", "None")),
    "first-of-two": (
        {**SEED, SETTINGS: "policy: search,found=first\n"},
        {"blkid": DRIVE},
        0,
        NOCLOUD,
    ),
    "container-hides-dmi": (NOVA, {"systemd-detect-virt": "lxc\n"}, 1, NOTHING),
    "container-hides-labels": ({}, {"blkid": DRIVE, "systemd-detect-virt": "docker\n"}, 1, NOTHING),
    "container-by-file": ({**NOVA, "run/.containerenv": ""}, {}, 1, NOTHING),
    "pid-1": ({"proc/1/environ": "a=b\0product_name=OpenStack Nova\0c=d"}, {}, 0, OPENSTACK),
    "pid-1-of-another-name": ({"proc/1/environ": "xproduct_name=OpenStack Nova\0"}, {}, 1, NOTHING),
    "command-line-of-pid-1": (
        {"proc/cmdline": "ds=nocloud\n", "proc/1/cmdline": "/sbin/init\0ds=ec2\0"},
        {"systemd-detect-virt": "lxc\n"},
        0,
        wrote("ec2", "None"),
    ),
    "arm-is-maybe": ({}, {"uname": "aarch64\n"}, 1, NOTHING),
    "arm-and-maybe-all": (
        {SETTINGS: "policy: search,maybe=all\n"},
        {"uname": "aarch64\n"},
        0,
        OPENSTACK,
    ),
    "strict-id-warn": (
        {SETTINGS: "policy: search,maybe=all\n", "proc/cmdline": "ci.datasource.ec2.strict_id=warn,5\n"},
        {},
        0,
        EC2 + 'datasource: {Ec2: {strict_id: "warn,5"}}\n',
    ),
    "named-on-the-command-line": (
        {"proc/cmdline": "ci.ds=Ec2 ds=nocloud;s=x\n"},
        {},
        0,
        wrote("nocloud", "None"),
    ),
    "named-in-the-settings": ({SETTINGS: "datasource: 'Ec2'\n"}, {}, 0, EC2),
    "report": (
        {**SEED, SETTINGS: "policy: report\n"},
        {},
        0,
        "di_report:\n  " + NOCLOUD,
    ),
    "report-of-nothing": ({SETTINGS: "policy: report\n"}, {}, 0, "di_report:\n  " + wrote("")),
    "not-found-enabled": (
        {SETTINGS: "policy: search,notfound=enabled\n"},
        {},
        0,
        NOTHING.replace("=dis", "=en"),
    ),
    "mode-disabled": ({**SEED, SETTINGS: "policy: disabled\n"}, {}, 1, None),
    "mode-enabled": ({SETTINGS: "policy: enabled\n"}, {}, 0, None),
    "d15-marker-below-the-root": ({**SEED, "etc/cloud/cloud-init.disabled": ""}, {}, 2, None),
    "disabled-by-the-command-line": ({**SEED, "proc/cmdline": "ro cloud-init=disabled\n"}, {}, 2, None),
    "manual-clean": ({"var/lib/cloud/instance/manual-clean": ""}, {}, 0, "# manual_cache_clean.\n"),
    "one-source": ({CONFIG: "datasource_list: [Ec2]\n"}, {}, 0, wrote("Ec2")),
    "one-and-none": ({CONFIG: "datasource_list: [Ec2,None] # x\n"}, {}, 0, EC2),
    "a-list-of-several-lines-is-not-seen": (
        {**SEED, "etc/cloud/cloud.cfg.d/90.cfg": "datasource_list: [ Ec2,\n  None ]\n"},
        {},
        0,
        NOCLOUD,
    ),
    "a-commented-list": ({**SEED, CONFIG: "#datasource_list: [ Ec2 ]\n"}, {}, 0, NOCLOUD),
    "unknown-source": (
        {**SEED, CONFIG: "datasource_list: [ Azure, NoCloud, None ]\n"},
        {},
        0,
        NOCLOUD,
    ),
    "command-line-cc": ({"proc/cmdline": "cc:{datasource_list: ['Ec2', None]} end_cc\n"}, {}, 0, EC2),
    "xen": ({"sys/hypervisor/uuid": "ec2abc\n"}, {}, 0, EC2),
    "aws-swapped": ({f"{DMI}product_uuid": "45E12AEC-DCD1-B213-94ED-01234ABCDEF0\n"}, {}, 0, EC2),
    "brightbox": ({f"{DMI}product_serial": "srv.gb1.brightbox.com\n"}, {}, 0, EC2),
    "config-mentions-a-seed": (
        {"etc/cloud/cloud.cfg.d/50.cfg": "datasource:\n  NoCloud:\n    seedfrom: http://a/\n"},
        {},
        0,
        NOCLOUD,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_detection(machine: Machine, name: str) -> None:
    files, answers, status, config = CASES[name]
    if "uname" in answers and machine.shell[0] == "busybox":
        pytest.skip("busybox answers uname itself")
    machine.write(files)
    for program, out in answers.items():
        machine.answer(program, out)
    found = machine.run()
    assert (found.status, found.config) == (status, config), found
    assert (machine.root / "run/cloud-init/.ds-identify.result").read_text() == f"{status}\n"
    assert (machine.root / "run/cloud-init/ds-identify.log").read_text().endswith(f"exit {status}\n")


def test_the_answer_of_this_boot_is_kept_until_forced(machine: Machine) -> None:
    assert machine.run().status == 1
    machine.write(SEED)
    assert machine.run().status == 1
    assert machine.run("--force").status == 0


def test_explain_shows_probes_and_writes_nothing(machine: Machine) -> None:
    machine.write(NOVA)
    found = machine.run("--explain")
    assert found.status == 0
    for line in (
        "dmi product_name: 'OpenStack Nova'",
        "OpenStack: found",
        "NoCloud: no",
        "labels: ",
        "policy: search",
    ):
        assert line in found.out
    assert found.out.endswith("exit 0\n")
    assert found.config is None
    assert not (machine.root / "run/cloud-init").exists()


def test_the_environment_may_disable(machine: Machine) -> None:
    assert machine.run(KERNEL_CMDLINE="quiet cloud-init=disabled").status == 2


def test_root_as_an_option(machine: Machine) -> None:
    machine.write(NOVA)
    assert machine.run("--root", str(machine.root), PATH_ROOT="").status == 0
    assert machine.run("--force", f"--root={machine.root}", PATH_ROOT="").status == 0


def test_a_bad_policy_is_told_and_the_default_stays(machine: Machine) -> None:
    machine.write({**SEED, "etc/cloud/ds-identify.cfg": "policy: search,found=some,odd\n"})
    found = machine.run()
    assert found.config == wrote("NoCloud", "None")
    assert "found=some" in found.err
    assert "odd" in found.err


def test_an_unknown_option_is_refused(machine: Machine) -> None:
    assert machine.run("--what").status == 64


def test_programs_are_asked_only_where_their_answer_matters(machine: Machine) -> None:
    machine.write(NOVA)
    machine.run()
    assert machine.asked() == ["blkid", "systemd-detect-virt"]


def test_a_named_source_asks_nobody(machine: Machine) -> None:
    machine.write({"etc/cloud/ds-identify.cfg": "datasource: OpenStack\n"})
    machine.run()
    assert machine.asked() == []
