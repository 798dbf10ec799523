"""Which accelerator a guest gets: KVM where it truly works, else TCG, and why.

/dev/kvm may be there and useless (nested virtualisation that hangs), and QMP says "running" throughout. So
a boot sector that enters long mode must answer first, run as the guest's user with the guest's -cpu; then,
where a kernel is at hand, that kernel must come up (SP-03). The verdict holds until the host reboots. A
guest on KVM is watched for its first sign of life besides (`vm`). See docs/why/accelerator.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from spawner.compute.qemu import boot_sector
from spawner.compute.qemu.confinement import ENVIRONMENT, Confinement, find_qemu, launcher_argv
from spawner.compute.qemu.user import KVM_DEVICE, User, unprivileged

KVM = "kvm"
TCG = "tcg"

PROBE_S = 3.0
CONFIRM_S = 20.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Accelerator:
    """`kvm` or `tcg`, one line that says why, and the seconds it took to find out (0: known from before)."""

    name: str
    reason: str
    took_s: float


def probe(
    binary: str = "qemu-system-x86_64",
    cpu: str = "max",
    *,
    kernel: Path | None = None,
    cache_dir: Path | None = None,
    limit_s: float = PROBE_S,
    device: Path = KVM_DEVICE,
) -> Accelerator:
    """The accelerator for guests with this `cpu`.

    Raises QemuMissing. Blocks for up to `limit_s` (+ 20 s for a kernel).
    """
    qemu = find_qemu(binary)
    if not device.exists():
        return Accelerator(TCG, f"there is no {device}", 0.0)
    cache = (cache_dir or user_cache_dir(os.environ)) / "accelerator.json"
    key = _key(qemu, cpu, kernel)
    if known := _remembered(cache, key):
        return known
    started_s = time.monotonic()
    reason = _why_not_kvm(qemu, cpu, kernel, limit_s)
    took_s = time.monotonic() - started_s
    found = (
        Accelerator(TCG, f"{device} is useless: {reason}", took_s)
        if reason
        else Accelerator(KVM, "KVM works", took_s)
    )
    _remember(cache, key, found)
    return found


def shows_life(console: bytes) -> bool:
    """Whether a console holds more than what firmware and the kernel's unpacking say before it runs."""
    lines = console.replace(b"\r", b"\n").split(b"\n")
    return any(line.strip() and not line.strip().startswith(_BEFORE_THE_KERNEL) for line in lines)


_BEFORE_THE_KERNEL = (
    b"\x1b",
    b"SeaBIOS",
    b"iPXE",
    b"Booting from",
    b"BdsDxe",
    b"early console in",
    b"Probing EDD",
    b"Physical KASLR",
    b"Virtual KASLR",
    b"KASLR",
    b"Decompressing Linux",
    b"Parsing ELF",
    b"No relocation needed",
    b"Performing relocations",
    b"done.",
    b"Booting the kernel",
    b"input_data:",
    b"input_len:",
    b"output:",
    b"output_len:",
    b"kernel_total_size:",
    b"needed_size:",
    b"trampoline_32bit:",
)

_KERNEL_IS_UP = (b"Run /", b"Unable to mount root fs", b"No working init found")
"""What a kernel prints when it is done with itself: it looks for init, and has none here."""


def _why_not_kvm(qemu: str, cpu: str, kernel: Path | None, limit_s: float) -> str | None:
    user = unprivileged()
    with tempfile.TemporaryDirectory(prefix="guestling-probe") as scratch:
        sector = Path(scratch) / "sector.img"
        sector.write_bytes(boot_sector.image())
        Path(scratch).chmod(0o755)
        sector.chmod(0o644)
        if reason := _why_sector_fails(_sector_argv(qemu, cpu, sector), user, limit_s):
            return reason
        if kernel is None:
            return None
        readable = Path(shutil.copyfile(kernel, Path(scratch) / "kernel"))
        readable.chmod(0o644)
        return _why_kernel_fails(qemu, cpu, readable, user)


def _sector_argv(qemu: str, cpu: str, sector: Path) -> list[str]:
    return [
        *_bare_argv(qemu, cpu, 32),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-drive", f"file={sector},format=raw,if=ide,readonly=off,snapshot=on"),
    ]


def _bare_argv(qemu: str, cpu: str, memory_mib: int) -> list[str]:
    return [
        *(qemu, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "pc,graphics=off,accel=kvm", "-cpu", cpu, "-m", str(memory_mib)),
    ]


def _why_sector_fails(argv: list[str], user: User | None, limit_s: float) -> str | None:
    """None when the boot sector answered; else one line."""
    done = _run(argv, user, limit_s)
    if done is None:
        return f"a boot sector gave no answer within {limit_s:g} s"
    if done.returncode == boot_sector.EXIT_STATUS:
        return None
    return f"a boot sector ended with status {done.returncode}{_first_line(done.stderr)}"


def _why_kernel_fails(qemu: str, cpu: str, kernel: Path, user: User | None) -> str | None:
    """None when `kernel`, started without init, came as far as looking for one; else one line."""
    argv = [
        *_bare_argv(qemu, cpu, 256),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1 mitigations=off", "-serial", "stdio"),
    ]
    done = _run(argv, user, CONFIRM_S)
    if done is None:
        return f"a kernel did not come up within {CONFIRM_S:g} s"
    if any(mark in done.stdout for mark in _KERNEL_IS_UP):
        return None
    return f"a kernel did not come up (status {done.returncode}{_first_line(done.stderr)})"


def _run(argv: list[str], user: User | None, limit_s: float) -> subprocess.CompletedProcess[bytes] | None:
    """QEMU, confined as a guest is, to its end; None when that took too long."""
    command = launcher_argv(argv, Confinement(user=user, limits={"CORE": 0}), os.getpid())
    try:
        return subprocess.run(
            command,
            capture_output=True,
            timeout=limit_s,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def _first_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="backslashreplace").strip().splitlines()
    return f": {lines[0][:200]}" if lines else ""


def user_cache_dir(environ: Mapping[str, str]) -> Path:
    """$GUESTLING_CACHE, $XDG_CACHE_HOME/guestling or ~/.cache/guestling."""
    if chosen := environ.get("GUESTLING_CACHE"):
        return Path(chosen)
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "guestling"


def _key(qemu: str, cpu: str, kernel: Path | None) -> str:
    """What a verdict depends on: this boot of the host, this QEMU, this user, this CPU model and kernel."""
    status = Path(qemu).stat()
    # By content: an image that is packed anew has the same kernel under another path.
    content = None if kernel is None else hashlib.sha256(kernel.read_bytes()).hexdigest()
    this_qemu = (qemu, status.st_mtime_ns, status.st_size)
    parts = (BOOT_ID.read_text().strip(), *this_qemu, os.geteuid(), cpu, content)
    return " ".join(map(str, parts))


def _remembered(cache: Path, key: str) -> Accelerator | None:
    try:
        document = json.loads(cache.read_bytes())
        if document["key"] != key:
            return None
        return Accelerator(str(document["name"]), str(document["reason"]), 0.0)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no verdict, or one that somebody damaged: ask again


def _remember(cache: Path, key: str, found: Accelerator) -> None:
    """Best effort: a cache that cannot be written costs the next run some seconds, no more."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"key": key, **asdict(found)}))
        part.replace(cache)
    except OSError:
        return
