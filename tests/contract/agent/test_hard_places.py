"""GA-S10: a boot on file systems that are full, read-only or late, without /tmp, and with little memory.

Real mounts in a mount namespace of the test's own; one process for all stages, commands recorded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.guest_agent.run.roots import HAVE, Root

ROOT = Path(__file__).parents[3]
USER_DATA = "#cloud-config\nhostname: web1\nusers: [{name: alice}]\nruncmd: [echo once]\n"
PROGRAM = """
import resource, sys
sys.path[:0] = {paths!r}
if {memory}:
    resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
from guest_agent import all_stages
from guest_agent.boot import Boot
from guest_agent.machine import Machine, Settings
machine = Machine(Settings(root={root!r}, have={have!r}, epoch_s=1700000000.0, uptime_s=12.5))
sys.exit(all_stages.run(Boot(machine), is_by_hand=True))
"""
STAGES = ("init-local", "init", "modules-config", "modules-final")


def _boot(root: Root, *mounts: str, keep: str = "", memory: int = 0) -> subprocess.CompletedProcess[str]:
    """All stages after these mounts; `keep` copies a directory of the namespace to where the test sees it."""
    paths = [str(ROOT), str(Path(yaml.__file__).parents[1])]
    program = PROGRAM.format(paths=paths, root=str(root.path), have=HAVE, memory=memory)
    keeping = f"cp -RP {root.path}/{keep} {root.path.parent}/kept" if keep else "true"
    script = "\n".join(
        ["set -e", *mounts, f'{sys.executable} -IS -c "$0" || code=$?', keeping, "exit ${code:-0}"]
    )
    argv = ["sh", "-c", script, program]
    if mounts:
        if os.geteuid() != 0:
            pytest.skip("mounts need root")
        argv = ["unshare", "--mount", *argv]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    guest = Root(tmp_path / "guest")
    guest.seed(USER_DATA)
    (guest.path / "run").mkdir()
    return guest


def _status(root: Root, kept: str) -> dict[str, dict[str, list[str]]]:
    """status.json as the guest's /run leads to it."""
    other = Root(root.path.parent / "other")
    other.put("run/cloud-init/status.json", (root.path.parent / kept).read_bytes())
    found: dict[str, dict[str, list[str]]] = other.json("run/cloud-init/status.json")["v1"]
    return found


def test_ga_s10_a_read_only_root_tells_its_reason_below_run(root: Root) -> None:
    at = root.path
    done = _boot(
        root, f"mount --bind {at} {at}", f"mount -t tmpfs none {at}/run", f"mount -o remount,bind,ro {at}",
        keep="run/cloud-init",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    status = _status(root, "kept/status.json")
    assert all("Read-only file system: '/" in status[stage]["errors"][0] for stage in ("init-local", "init"))
    assert all(status[stage]["finished"] for stage in STAGES)
    assert (root.path.parent / "kept/result.json").is_file()
    assert not (at / "var/lib/cloud/data").exists()


def test_ga_s10_status_answers_from_below_run(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    """What an earlier boot left on a disk that is now read-only must not be taken for this one."""
    root.all_stages()
    root.reboot()
    at = root.path
    (at / "run").mkdir()
    mounts = (f"mount --bind {at} {at}", f"mount -t tmpfs none {at}/run", f"mount -o remount,bind,ro {at}")
    assert _boot(root, *mounts, keep="run/cloud-init").returncode == 1
    (at / "run").rmdir()
    (at / "run").mkdir()
    (root.path.parent / "kept").rename(at / "run/cloud-init")
    capsys.readouterr()
    assert root.agent("status", "--long") == 1
    assert "Read-only file system" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["run", "var/lib/cloud", "var/log"])
def test_ga_s10_a_full_file_system_is_named_and_the_boot_goes_on(root: Root, place: str) -> None:
    at = root.path
    seed = "var/lib/cloud/seed"
    mounts = [
        f"cp -RP {at}/{seed} {at.parent}/seed",
        f"mkdir -p {at}/{place}",
        f"mount -t tmpfs -o size=64k none {at}/{place}",
        f"mkdir -p {at}/{seed}",
        f"cp -RP {at.parent}/seed/. {at}/{seed}",
        f"head -c 1m /dev/zero > {at}/{place}/ballast 2>&1 || true",
    ]
    done = _boot(root, *mounts, keep="var/lib/cloud/data" if place == "run" else "run/cloud-init")
    assert "Traceback" not in done.stderr
    # A log that cannot be written is no error of the boot; everything else is, and says where.
    if place == "var/log":
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1
    status = _status(root, "kept/status.json")
    assert f"No space left on device: '/{place}" in status["init-local"]["errors"][0]
    assert all(status[stage]["finished"] for stage in STAGES)


def test_ga_s10_128_mib_of_memory_and_no_tmp_are_enough(root: Root) -> None:
    assert not (root.path / "tmp").exists()
    done = _boot(root, memory=128 << 20)
    assert done.returncode == 0, done.stderr
    assert root.text("etc/hostname") == "web1\n"
    assert ["useradd", "alice", "-m"] in root.commands()


DRIVE = {
    "meta_data.json": json.dumps({"uuid": "i-late", "hostname": "web1"}),
    "user_data": USER_DATA,
}
# Each stage in a process of its own, or all in one; /var comes between the first and the second.
LATE = """
import os, sys
sys.path[:0] = {paths!r}
from boot_stages.stages import STAGES
from guest_agent.boot import Boot
from guest_agent.machine import Machine, Settings
def boot():
    return Boot(Machine(Settings(root={root!r}, have={have!r}, epoch_s=1700000000.0, uptime_s=12.5)))
one = boot()
for number, stage in enumerate(STAGES):
    if number == 1:
        assert os.system("mount -t tmpfs none {root}/var") == 0
    ({process}).run(stage)
"""


@pytest.mark.parametrize("process", ["one", "boot()"], ids=["one-process", "four-processes"])
def test_ga_s10_a_var_that_is_mounted_late_costs_no_instance(root: Root, process: str) -> None:
    """Its source is one that only the local stage knows; what that had kept is below the mount."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    shutil.rmtree(root.path / "var")
    (root.path / "var").mkdir()
    for name, content in DRIVE.items():
        root.put(f"config-drive/openstack/latest/{name}", content)
    paths = [str(ROOT), str(Path(yaml.__file__).parents[1])]
    program = LATE.format(paths=paths, root=str(root.path), have=HAVE, process=process)
    script = f'{sys.executable} -IS -c "$0" && cp -RP {root.path}/var {root.path.parent}/kept'
    argv = ["unshare", "--mount", "sh", "-c", script, program]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    kept = Root(root.path.parent / "other")
    (root.path.parent / "kept").rename(kept.path / "var")
    assert kept.json("var/lib/cloud/data/result.json")["v1"] == {
        "datasource": "DataSourceConfigDrive [net,ver=2][source=/config-drive]",
        "errors": [],
    }
    status = kept.status()
    assert all(status[stage]["finished"] for stage in STAGES[1:])
    warnings = status["init"]["recoverable_errors"].get("WARNING", [])
    assert [text for text in warnings if "mount it earlier" in text] == warnings
    assert len(warnings) == (process != "one")
    # What is kept of the instance is where the next boot finds it.
    assert kept.text("var/lib/cloud/data/instance-id") == "i-late\n"
    assert kept.text("var/lib/cloud/instances/i-late/boot-finished")
    assert ["useradd", "alice", "-m"] in root.commands()
