"""A guest with a kernel of its own, for the devices that this machine's kernel does not make (bonds, VLANs).

The same file system and the same `inside.py` as in the namespaces; one boot runs all jobs. The guest reads
them from its second disk and writes what `ip` said to the third. Emulated, so it needs no /dev/kvm.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from image_harness import debian
from tests.contract.network import applying
from tests.contract.network.tool_root import CACHE, SUITE, Unavailable

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"
MODULES = ("overlay", "veth", "bonding", "8021q", "bridge")
JOB_TIMEOUT_S = 90
DISK_MIB = 8
RESULT_MARK = "guestling-results"
# The scripts come with the jobs, so that the disk, once made, does not age.
INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
for module in MODULES; do modprobe "$module"; done
python3 -c '
import json
given = json.loads(open("/dev/nvme1n1", "rb").read().rstrip(bytes(1)))
for name, text in given.items():
    open("/tmp/" + name, "w").write(text)
'
python3 /tmp/run_jobs.py < /tmp/jobs.json > /dev/nvme2n1
sync
echo o > /proc/sysrq-trigger
sleep 60
"""
SCRIPTS = (applying.INSIDE, Path(__file__).with_name("run_jobs.py"))


def results(root: Path, jobs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What `ip` said for each job, by its name. Raises Unavailable."""
    if not shutil.which("qemu-system-x86_64"):
        raise Unavailable("qemu-system-x86_64 is not installed")
    kernel, disk = _kernel_and_disk(root)
    work = CACHE / "guest-run"
    work.mkdir(exist_ok=True)
    asked, said, console = work / "jobs", work / "results", work / "console.log"
    scripts = {path.name: path.read_text() for path in SCRIPTS}
    given = {**scripts, "set-up.sh": applying.SET_UP, "jobs.json": json.dumps(jobs)}
    asked.write_bytes(_padded(json.dumps(given).encode()))
    said.write_bytes(_padded(b""))
    with Path("/tmp/guestling-qemu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            _argv(kernel, disk, asked, said, console), check=True, timeout=120 + JOB_TIMEOUT_S * len(jobs)
        )
    text = said.read_bytes().rstrip(b"\0").decode()
    if not text.startswith(RESULT_MARK):
        raise Unavailable(f"the guest gave no results: {console.read_text(errors='replace')[-500:]}")
    found = json.loads(text.removeprefix(RESULT_MARK))
    assert isinstance(found, dict)
    return found


def _padded(content: bytes) -> bytes:
    return content.ljust(DISK_MIB << 20, b"\0")


def _argv(kernel: Path, disk: Path, asked: Path, said: Path, console: Path) -> list[str]:
    argv = [
        "qemu-system-x86_64",
        "-machine",
        "q35",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "1024",
        "-no-reboot",
    ]
    argv += ["-display", "none", "-monitor", "none", "-nic", "none", "-serial", f"file:{console}"]
    argv += ["-kernel", str(kernel), "-append"]
    argv.append("root=/dev/nvme0n1 ro init=/guest/init console=ttyS0 quiet panic=-1 mitigations=off")
    for number, (path, options) in enumerate(((disk, ",snapshot=on"), (asked, ",read-only=on"), (said, ""))):
        argv += ["-drive", f"file={path},format=raw,if=none,id=disk{number}{options}"]
        argv += ["-device", f"nvme,serial=disk{number},drive=disk{number}"]
    return argv


def _kernel_and_disk(root: Path) -> tuple[Path, Path]:
    home = CACHE / f"{SUITE}-guest"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            new = home.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            _make(root, new)
            new.rename(home)
    return home / "vmlinuz", home / "disk.img"


def _make(root: Path, home: Path) -> None:
    """The tool root with kernel modules and an init of ours, as an ext4 image."""
    apt = debian.Apt(home / "apt", SUITE, debian.mirrors())
    apt.update()
    (image,) = apt.depends(KERNEL_META_PACKAGE)
    (package,) = apt.download([image], home / "debs")
    debian.unpack(package, home / "kernel")
    (kernel,) = (home / "kernel" / "boot").glob("vmlinuz-*")
    kernel.rename(home / "vmlinuz")
    tree = home / "tree"
    _run("cp", "-a", "--reflink=auto", str(root), str(tree))
    _run("cp", "-a", f"{home}/kernel/lib/modules", f"{tree}/usr/lib/modules")
    _run("chroot", str(tree), "depmod", kernel.name.removeprefix("vmlinuz-"))
    guest = tree / "guest"
    guest.mkdir()
    (guest / "init").write_text(INIT.replace("MODULES", " ".join(MODULES)))
    (guest / "init").chmod(0o755)
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), f"{home}/disk.img", "700M")
    for leftover in ("tree", "kernel", "apt", "debs"):
        shutil.rmtree(home / leftover)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=300)
