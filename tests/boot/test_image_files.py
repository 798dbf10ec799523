"""The agent put into image files, image files sealed and compared: by a helper guest, never mounted here."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guestling.main import main
from image_harness import boot, images, layers, store
from image_harness.debian_disk import build as debian_disk
from image_harness.debian_disk.recipe import RELEASES
from image_harness.instances import describe
from image_harness.progress import Source
from spawner.compute.agent_events import Result
from tests.boot import image_roots
from tests.boot.conftest import INSTANCE_ID

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(600)]

HOME = "usr/share/guestling-agent"
Run = Callable[..., Any]


USER_DATA = b"""\
#cloud-config
users: [default, {name: alice, groups: [adm]}]
write_files: [{path: /etc/baked, content: "yes\\n"}]
timezone: Europe/Berlin
runcmd: ["echo ran > /srv/from-runcmd"]
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tiny: store.Image) -> Run:
    """`guestling image ...` as its user calls it; gives the JSON document."""

    def called(*words: object, status: int = 0) -> Any:
        assert main(["image", *map(str, words), "--format", "json"]) == status, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return called


def _needs(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; ./dev test installs them")


def test_sp_24_alpine_on_a_partition_of_a_qcow2_is_baked_and_the_image_stays(
    run: Run, tmp_path: Path
) -> None:
    """OpenRC: services in their levels."""
    _needs("sfdisk")
    root = image_roots.make("alpine", tmp_path / "root")
    raw = image_roots.partitioned(image_roots.ext4(root, tmp_path / "part"), tmp_path / "raw", "gpt")
    image, out = image_roots.qcow2(raw, tmp_path / "a.qcow2"), tmp_path / "out.qcow2"
    before = image.read_bytes()
    done = run("bake", image, "-o", out, "--datasource", "configdrive")
    assert (done["init"], done["cloud_init"], done["root"]["device"]) == ("openrc", "none", "/dev/vda2")
    assert image.read_bytes() == before
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(out), str(raw)], check=True)
    levels = image_roots.debugfs(raw, "ls -l /etc/runlevels/boot", partition=True)
    assert "cloud-init-ds-identify" in levels
    service = image_roots.debugfs(raw, "cat /etc/init.d/cloud-init-local", partition=True)
    assert f"/{HOME}/bin/cloud-init init --local" in service
    assert "datasource_list: [ConfigDrive]" in image_roots.debugfs(
        raw, "cat /etc/cloud/cloud.cfg.d/90-guestling-datasources.cfg", partition=True
    )
    assert "-m compileall" in image_roots.debugfs(raw, "cat /python-was-asked", partition=True)
    launcher = image_roots.debugfs(raw, f"stat /{HOME}/bin/cloud-init", partition=True)
    assert "Mode:  0755" in launcher
    assert "User:     0   Group:     0" in launcher


def _planned_as_its_root(image: Path, root: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`guestling plan --image`, carried out in a helper guest, gives what it gives for the unpacked root."""
    (work / "user-data").write_bytes(USER_DATA.replace(b"timezone: Europe/Berlin\n", b""))
    found = []
    for place in (("--image", image), ("--root", root)):
        words = ["plan", work / "user-data", *place, "--all", "--format", "json"]
        assert main([str(word) for word in words]) == 0
        found.append(json.loads(capsys.readouterr().out))
        for each in found[-1]["modules"]:
            # What tells of the time.
            each.pop("actions" if each["module"] == "final_message" else "", None)
    assert found[0].pop("image") == str(image)
    assert found[1].pop("root") == str(root)
    assert {name: found[0].get(name) for name in found[1] if name != "image"} == {
        name: each for name, each in found[1].items() if name != "image"
    }
    assert {each["module"] for each in found[0]["modules"] if each["bake"] and each["actions"]} == {
        "write_files", "users_groups"
    }  # fmt: skip


def test_fedora_on_btrfs_is_baked_and_a_secret_is_sealed_away(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _needs("mkfs.btrfs", "btrfs")
    dirty = {"etc/ssh/ssh_host_rsa_key": "HOST-KEY\n", "root/.bash_history": "mysql -p\n"}
    image = image_roots.btrfs(image_roots.make("fedora", tmp_path / "root", dirty), tmp_path / "f.raw")
    image.chmod(0o640)
    _planned_as_its_root(image, tmp_path / "root", tmp_path, capsys)
    done = run("bake", image)
    assert (done["init"], done["root"]["kind"]) == ("systemd", "btrfs")
    told = run("seal", image)
    assert {each["rule"]: each["mended"] for each in told["findings"]} == {
        "ssh-host-keys": True,
        "histories": True,
    }
    assert image.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    files = tmp_path / "restored"
    files.mkdir()
    subprocess.run(["btrfs", "restore", "-m", "-S", str(image), str(files)], check=True, capture_output=True)
    assert not (files / "etc/ssh/ssh_host_rsa_key").exists()
    wants = files / "etc/systemd/system/cloud-init.target.wants"
    assert (
        str((wants / "cloud-init-local.service").readlink()) == "/etc/systemd/system/cloud-init-local.service"
    )
    unit = (files / "etc/systemd/system/cloud-init-main.service").read_text()
    assert f"ExecStart=/{HOME}/bin/cloud-init --all-stages" in unit
    assert "distro: fedora" in (files / "etc/cloud/cloud.cfg").read_text()
    generator = files / "etc/systemd/system-generators/cloud-init-generator"
    assert os.access(generator, os.X_OK)
    assert "/usr/bin/cloud-init" not in generator.read_text()


def test_a_cloud_init_that_is_there_is_switched_off_and_stays_whole(run: Run, tmp_path: Path) -> None:
    """Ubuntu on xfs in a DOS partition, compared before and after, which is read by the helper guest too."""
    _needs("mkfs.xfs", "sfdisk")
    part = image_roots.xfs(image_roots.make("ubuntu", tmp_path / "root"), tmp_path / "part")
    image, out = image_roots.partitioned(part, tmp_path / "u.raw", "dos"), tmp_path / "out.raw"
    done = run("bake", image, "-o", out)
    assert (done["cloud_init"], done["root"]["kind"]) == ("switched off", "xfs")
    changed = {each["name"]: each for each in run("diff", image, out, "--by", "file", status=1)}
    owned_by_packages = {"/usr/bin/cloud-init", "/etc/cloud/cloud.cfg"}
    owned_by_packages |= {name for name in changed if name.startswith("/usr/lib/systemd/")}
    assert not owned_by_packages & set(changed)
    assert changed["/etc/systemd/system/cloud-init.service"]["second"].endswith("-> /dev/null")
    assert changed["/usr/bin/cloud-id"]["second"].endswith(f"-> /{HOME}/bin/cloud-init")
    assert f"/{HOME}/yaml/__init__.py" in changed, "the root had no PyYAML"
    assert {name for name, each in changed.items() if each["change"] != "added"} <= {
        "/etc/systemd", "/etc/cloud", "/usr", "/usr/bin", "/usr/lib", "/usr/share", "/etc", "/"
    }  # fmt: skip


def _base() -> Path:
    """The root of Debian 13 before any agent came into it."""
    release = next(each for each in RELEASES if each.name == "debian-13")
    return layers.bases(debian_disk.plan(release))[0] / "base.raw"


def _boot(debian: store.Image, disk: Path, host: boot.Host) -> Result:
    """The agent's result from a guest with this disk and Debian's kernel."""
    image = dataclasses.replace(debian, disk=disk)
    instance = describe("web-1", INSTANCE_ID, None, ())
    order = boot.Order(image, instance, Source.CONFIG_DRIVE, deadline_s=500)
    outcome = asyncio.run(boot.boot(order, host))
    assert outcome.result is not None, outcome.console.decode(errors="replace")[-3000:]
    assert (outcome.result.status, outcome.result.errors) == ("done", ()), outcome.result
    return outcome.result


def test_debian_gets_the_package_and_boots_from_it(run: Run, tmp_path: Path, host: boot.Host) -> None:
    debian = images.get("debian-13", lambda _: None).image
    image = tmp_path / "image.raw"
    done = run("bake", _base(), "-o", image, "--package", "--datasource", "ConfigDrive")
    assert (done["way"], done["cloud_init"]) == ("package", "none")
    status = image_roots.debugfs(image, "cat /var/lib/dpkg/status")
    assert "Package: guestling-agent\nStatus: install ok installed\n" in status
    assert "Type: regular" in image_roots.debugfs(image, "stat /usr/bin/cloud-init")
    ran = {module.name for module in _boot(debian, image, host).modules if module.result == "SUCCESS"}
    assert ran >= {"users_groups", "ssh", "set_hostname"}


def test_debian_is_baked_sealed_checked_and_boots(run: Run, tmp_path: Path, host: boot.Host) -> None:
    debian = images.get("debian-13", lambda _: None).image
    image = tmp_path / "image.raw"
    (tmp_path / "user-data").write_bytes(USER_DATA)
    done = run("bake", _base(), "-o", image, "--user-data", tmp_path / "user-data")
    assert [each["module"] for each in done["performed"]] == ["write_files", "users_groups", "timezone"]
    assert {each["module"] for each in done["left"]} == {"runcmd"}
    assert done["left_keys"] == ["runcmd"]
    assert image_roots.debugfs(image, "cat /etc/baked") == "yes\n"

    key = tmp_path / "key"
    key.write_text("HOST-KEY-OF-THE-BUILDER\n")
    subprocess.run(
        ["debugfs", "-w", "-R", f"write {key} /etc/ssh/ssh_host_rsa_key", str(image)],
        check=True,
        capture_output=True,
    )
    run("seal", "--check", image, status=1)
    run("seal", image)
    assert run("seal", "--check", image)["clean"]
    # Removed, and not to be found in the free blocks either.
    assert subprocess.run(["grep", "-c", "HOST-KEY-OF-THE-BUILDER", str(image)], check=False).returncode == 1

    result = _boot(debian, image, host)
    done_by = {module.name: module.actions for module in result.modules}
    assert not [action for action in done_by["users_groups"] if "useradd" in action]
    assert any("runcmd" in action for action in done_by["runcmd"])
