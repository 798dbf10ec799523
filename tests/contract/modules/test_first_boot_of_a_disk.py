"""A first boot of an image on a disk that is larger than it, with an empty data disk beside it.

The agent runs its four stages in a chroot whose `/` is a partition of a loop device: /proc/mounts, /sys, /dev
are the kernel's own, growpart, xfs_growfs, sgdisk, mkfs, mount and swapon the real ones. Then the same disk
boots again, and once more as another instance: nothing is left to do. (xfs, because ext4 grows only for a
process with CAP_SYS_RESOURCE, which containers lack.)
"""

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.contract.modules.conftest import TOOLS, debian_root

ROOT = Path(__file__).parents[3]
MIB = 1024 * 1024
USER_DATA = ROOT / "fixtures" / "disks" / "first-boot.yaml"
MODULES = ("growpart", "resizefs", "disk_setup", "mounts")
AGENT = """\
import sys
sys.path[:0] = ["/opt/guestling", "/usr/lib/python3/dist-packages"]
from guest_agent.cli import main
sys.exit(main())
"""
# Everything is looked at from inside, before the namespace goes and its mounts with it.
SCRIPT = """
set -e
mount {root_disk}p1 {place}
mount --bind {lower}/usr {place}/usr
mount -t proc proc {place}/proc
mount -t sysfs sysfs {place}/sys
mount -t devtmpfs dev {place}/dev
set +e
rm -rf {place}/run/cloud-init
for id in {instance_ids}; do
    echo "instance-id: $id" > {place}/var/lib/cloud/seed/nocloud/meta-data
    for words in "init --local" init "modules --mode=config" "modules --mode=final"; do
        chroot {place} /usr/bin/python3 -ISB /opt/guestling/agent.py $words </dev/null
    done >> {out}/console 2>&1
    cp {place}/var/lib/cloud/data/status.json {out}/status.$id
    cp {place}/var/lib/cloud/instances/$id/changes.jsonl {out}/changes.$id
    rm -rf {place}/run/cloud-init
done
cat {place}/etc/fstab > {out}/fstab
chroot {place} cat /proc/mounts > {out}/mounts
chroot {place} cat /proc/swaps > {out}/swaps
chroot {place} df --output=size -B1 / | tail -1 > {out}/size
chroot {place} swapoff /var/swap
chroot {place} umount "/srv/the second" /srv/first
"""
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]


class Disk(NamedTuple):
    """A loop device and its size."""

    device: str
    size: int


class Booted(NamedTuple):
    """What the boots left: files by name, and what each module did, by instance id and boot."""

    out: Path

    def text(self, name: str) -> str:
        return (self.out / name).read_text()

    def did(self, instance_id: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.text(f"changes.{instance_id}").splitlines()]
        return [line for line in lines if line["module"] in MODULES]


def loop(image: Path, size: int) -> Iterator[Disk]:
    with image.open("wb") as file:
        file.truncate(size)
    made = subprocess.run(
        ["losetup", "--find", "--show", "--partscan", str(image)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"loop devices cannot be had here: {made.stderr.strip()}")
    try:
        yield Disk(made.stdout.strip(), size)
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=False)


@pytest.fixture(scope="module")
def root_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    yield from loop(tmp_path_factory.mktemp("root") / "disk.img", 700 * MIB)


@pytest.fixture(scope="module")
def data_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    yield from loop(tmp_path_factory.mktemp("data") / "disk.img", 200 * MIB)


def partitioned(disk: Disk, lower: Path, place: Path) -> None:
    """The image as it was built: a root partition of 320 MiB and its file system; /usr is mounted later."""
    subprocess.run(
        ["sfdisk", "--quiet", disk.device], input="label: gpt\nsize=320MiB\n", text=True, check=True
    )
    # A kernel that reads no tables itself is told.
    subprocess.run(["partx", "--update", disk.device], check=False, capture_output=True)
    if not Path(f"{disk.device}p1").exists():
        pytest.skip("the kernel here makes no partitions of loop devices")
    mounts = f"mount --bind /dev {lower}/dev && mount -t proc proc {lower}/proc"
    make = f"{mounts} && chroot {lower} mkfs.xfs -q -L root {disk.device}p1"
    subprocess.run(["unshare", "--mount", "sh", "-c", make], check=True)
    subprocess.run(["mount", f"{disk.device}p1", str(place)], check=True)
    try:
        for each in lower.iterdir():
            target = place / each.name
            if each.name in {"usr", "proc", "sys", "dev", "var", "run", "tmp"} and not each.is_symlink():
                target.mkdir(exist_ok=True)
            else:
                subprocess.run(["cp", "-a", str(each), str(target)], check=True)
        for package in ("boot_stages", "guest_agent", "configdrive"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, place / "opt/guestling" / package, ignore=ignored)
        (place / "opt/guestling/agent.py").write_text(AGENT)
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module")
def booted(root_disk: Disk, data_disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> Booted:
    """Three boots: the first, the next one, and one as another instance."""
    lower = debian_root("trixie", TOOLS)
    place, out = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("out")
    partitioned(root_disk, lower, place)
    subprocess.run(["mount", f"{root_disk.device}p1", str(place)], check=True)
    seed = place / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "user-data").write_text(USER_DATA.read_text().replace("DATA", data_disk.device))
    (place / "etc/cloud/cloud.cfg.d").mkdir(parents=True)
    (place / "etc/cloud/cloud.cfg.d/90.cfg").write_text("datasource_list: [NoCloud]\nusers: []\n")
    subprocess.run(["umount", str(place)], check=True)
    script = SCRIPT.format(
        root_disk=root_disk.device, lower=lower, place=place, out=out, instance_ids="i-one i-one i-two"
    )
    argv = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert (out / "swaps").exists(), done.stderr
    return Booted(out)


def test_the_root_partition_and_its_file_system_fill_the_disk(booted: Booted, root_disk: Disk) -> None:
    name = Path(f"{root_disk.device}p1").name
    partition = int(Path("/sys/class/block", name, "size").read_text()) * 512
    assert partition > root_disk.size - 4 * MIB
    assert int(booted.text("size")) > 0.9 * partition
    did = {each["module"]: each["did"] for each in booted.did("i-one")[: len(MODULES)]}
    assert did["growpart"] == [f"run growpart {root_disk.device} 1"]
    assert did["resizefs"] == ["run xfs_growfs /"]


def test_the_data_disk_is_partitioned_formatted_and_mounted(booted: Booted, data_disk: Disk) -> None:
    mounted = [line.split()[:4] for line in booted.text("mounts").splitlines()]
    kinds = {line[1]: (line[0], line[2]) for line in mounted}
    assert kinds["/srv/first"] == (f"{data_disk.device}p1", "ext4")
    assert kinds["/srv/the\\040second"] == (f"{data_disk.device}p2", "ext2")
    assert any(line[1] == "/srv/first" and "noatime" in line[3] for line in mounted)


def test_the_swap_file_is_in_use(booted: Booted) -> None:
    lines = [line.split() for line in booted.text("swaps").splitlines()]
    assert [line[0] for line in lines if line[0].endswith("/var/swap")] == ["/var/swap"]


def test_d22_each_line_of_fstab_stands_there_once(booted: Booted, data_disk: Disk) -> None:
    lines = [line.split("\t") for line in booted.text("fstab").splitlines() if "\t" in line]
    assert [line[:3] for line in lines] == [
        [f"{data_disk.device}p1", "/srv/first", "ext4"],
        [f"{data_disk.device}p2", "/srv/the\\040second", "auto"],
        ["/var/swap", "none", "swap"],
    ]


def test_no_module_failed_and_each_command_ended_well(booted: Booted) -> None:
    for instance_id in ("i-one", "i-two"):
        assert [
            (each["module"], each["why"]) for each in booted.did(instance_id) if each["result"] != "SUCCESS"
        ] == []
        commands = [command for each in booted.did(instance_id) for command in each["commands"]]
        assert [command for command in commands if command["status"] != 0] == []


def test_the_next_boot_and_another_instance_find_nothing_to_do(booted: Booted) -> None:
    first, *again = [each for each in booted.did("i-one") if each["module"] == "growpart"]
    assert first["did"]
    assert [each["did"] for each in again] == [[]]
    for each in booted.did("i-two"):
        assert (each["module"], each["did"]) == (each["module"], [])
        assert each["why"]


def test_the_swap_file_is_for_root_alone(booted: Booted, root_disk: Disk, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "ro", f"{root_disk.device}p1", str(tmp_path)], check=True)
    try:
        found = (tmp_path / "var/swap").stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode), found.st_size) == (0, 0o600, 16 * MIB)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
