"""The QEMU driver on real guests: what they see, what they cannot reach, how they end."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from image_harness import boot, store
from image_harness.debian_disk import recipe
from image_harness.tiny.build import CMDLINE
from spawner.compute.driver import Bus, Disk, Ending, Format, Nic, Reason, Smbios
from spawner.compute.qemu.run_directory import RunDirectory, sweep
from spawner.compute.qemu.vm import Vm
from spawner.network import choose
from spawner.network.backend import Backend
from tests.boot.compute_guest import MARK, UUID_1, image, run_guest, spec

pytestmark = pytest.mark.boot

SAY = f"import json; say = lambda **what: print({MARK.decode()!r} + json.dumps(what), flush=True)\n"


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A directory whose path leaves room for sockets."""
    with tempfile.TemporaryDirectory(prefix="gt") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "run"


@pytest.fixture(params=["namespace", "guestfwd"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each rootless backend that works here."""
    found = {offer.backend.name: offer.backend for offer in choose.offers(boot.QEMU) if offer.backend}
    if request.param not in found:
        pytest.skip(f"the backend {request.param} does not work on this machine")
    return found[request.param]


FETCH = (
    SAY
    + """
import concurrent.futures, time, urllib.request
def get(path, host="169.254.169.254"):
    return urllib.request.urlopen(f"http://{host}/{path}", timeout=20).read()
start = time.monotonic()
one_by_one = [get(f"{n}").decode() for n in range(20)]
took_s = time.monotonic() - start
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    at_once = [body.decode() for body in pool.map(get, map(str, range(16)))]
big = get("big")
say(one_by_one=one_by_one, at_once=at_once, big=len(big), took_s=took_s)
"""
)


def test_the_metadata_address_leads_to_the_instances_socket(
    tiny: store.Image, host: boot.Host, backend: Backend
) -> None:
    def answer(head: bytes) -> bytes:
        path = head.split()[1]
        return b"x" * (1 << 20) if path == b"/big" else path

    seen = run_guest(tiny, host.accelerator, FETCH, backend, answer)
    assert seen.said.pop("took_s", None), seen.console.decode(errors="replace")[-2000:]
    assert seen.said == {
        "one_by_one": [f"/{n}" for n in range(20)],
        "at_once": [f"/{n}" for n in range(16)],
        "big": 1 << 20,
    }


FETCH_V6 = (
    SAY
    + """
import socket, time
answer = b""
for _ in range(50):
    try:
        with socket.create_connection(("fe80::a9fe:a9fe%eth0", 80), timeout=5) as s:
            s.sendall(b"GET /v6 HTTP/1.0\\r\\n\\r\\n")
            answer = b"".join(iter(lambda: s.recv(4096), b""))
            break
    except OSError as error:
        time.sleep(0.1)  # the guest's own address is tentative for a second or two
say(body=answer.rpartition(b"\\r\\n\\r\\n")[2].decode())
"""
)


def test_the_ipv6_metadata_address_works_in_a_namespace(tiny: store.Image, host: boot.Host) -> None:
    choice = choose.probe(boot.QEMU)
    if choice.backend.name != "namespace":
        pytest.skip(f"only the namespace backend has IPv6: {choice.refused}")
    seen = run_guest(tiny, host.accelerator, FETCH_V6, choice.backend, lambda _: b"over six")
    assert seen.said == {"body": "over six"}


SCAN = (
    SAY
    + """
import socket
PORT, ADDRESSES = {port}, {addresses}
reached = []
for address in ADDRESSES:
    for port in (PORT, 22, 53, 80, 443):
        s = socket.socket(); s.settimeout(0.5)
        if s.connect_ex((address, port)) == 0:
            # slirp may accept before it knows: only an answer counts.
            try:
                s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                if s.recv(1): reached.append(f"{{address}}:{{port}}")
            except OSError: pass
        s.close()
say(reached=reached)
"""
)


def test_sp_22_a_guest_reaches_no_service_of_the_host(
    tiny: store.Image, host: boot.Host, backend: Backend
) -> None:
    accepted: list[object] = []
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen(50)
        threading.Thread(target=_count, args=(listener, accepted), daemon=True).start()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as ours:  # the listener does answer
            assert ours.recv(1) == b"!"
        addresses = ["10.0.2.2", "10.0.2.3", "169.254.2.2", "169.254.169.254", _own_address()]
        seen = run_guest(
            tiny,
            host.accelerator,
            SCAN.format(port=port, addresses=addresses),
            backend,
            lambda _: b"metadata",
        )
        listener.shutdown(socket.SHUT_RDWR)
    reached = seen.said["reached"]
    assert isinstance(reached, list)
    # In a namespace the gateway is the namespace's own loopback, where only the relay listens.
    assert set(reached) <= {"169.254.169.254:80", "10.0.2.2:80"}
    assert "169.254.169.254:80" in reached
    assert len(accepted) == 1


def _count(listener: socket.socket, accepted: list[object]) -> None:
    while True:
        try:
            connection, peer = listener.accept()
        except OSError:
            return
        accepted.append(peer)
        with connection:
            connection.sendall(b"!")


def _own_address() -> str:
    """An address of this host that is not loopback, where there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


IDENTITY = (
    SAY
    + """
import os, pathlib
dmi = pathlib.Path("/sys/class/dmi/id")
read = lambda name: (dmi / name).read_text().rstrip("\\n")
disk = pathlib.Path("/sys/block/vda")
content = open("/dev/vda", "rb").read(8).decode()
try:
    with open("/dev/vda", "r+b") as device: device.write(b"overwritten"); device.flush(); os.fsync(device)
    written = True
except OSError: written = False
say(uuid=read("product_uuid"), product=read("product_name"), vendor=read("sys_vendor"),
    serial=read("product_serial"), cmdline=open("/proc/cmdline").read().split("|")[1],
    disk_serial=(disk / "serial").read_text().strip(),
    read_only=(disk / "ro").read_text().strip(), content=content, written=written,
    ports=[p.read_text().strip() for p in pathlib.Path("/sys/class/virtio-ports").glob("*/name")],
    rng=open("/sys/class/misc/hw_random/rng_available").read().split())
"""
)


def test_sp_12_a_guest_sees_exactly_what_was_asked_for(
    tiny: store.Image, host: boot.Host, tmp_path: Path
) -> None:
    disk = tmp_path / "a, file=json:{} name"
    disk.write_bytes(b"contents" + bytes(1 << 20))
    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    seen = run_guest(
        tiny,
        host.accelerator,
        IDENTITY,
        smbios=Smbios("guest,ling", 'OpenStack, Nova=x "q" ,uuid=0', "ds=nocloud;a,,b"),
        cmdline=tiny.manifest.cmdline + " |a,b=c,,d|",
        disks=(Disk(disk, read_only=True, serial="seed=1"),),
    )
    assert seen.said == {
        "uuid": str(UUID_1),
        "product": 'OpenStack, Nova=x "q" ,uuid=0',
        "vendor": "guest,ling",
        "serial": "ds=nocloud;a,,b",
        "cmdline": "a,b=c,,d",
        "disk_serial": "seed=1",
        "read_only": "1",
        "content": "contents",
        "written": False,
        "ports": ["org.guestling.agent.0"],
        "rng": ["virtio_rng.0"],
    }, seen.console.decode(errors="replace")[-2000:]
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == before
    assert seen.ending.reason is Reason.POWERED_OFF


WRITE = (
    SAY
    + """
import os
with open("/dev/vda", "r+b") as device:
    old = device.read(8).decode()
    device.seek(0)
    device.write(b"from the guest")
    device.flush()
    os.fsync(device)
say(old=old)
"""
)


def test_sp_08_an_overlay_takes_the_writes_and_its_base_stays_as_it_was(
    tiny: store.Image, host: boot.Host, tmp_path: Path
) -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed; ./dev test installs it")
    base, overlay = tmp_path / "base.raw", tmp_path / "overlay.qcow2"
    base.write_bytes(b"contents" + bytes((1 << 20) - 8))
    base.chmod(0o600)
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay], check=True
    )  # fmt: skip
    disk = Disk(overlay, Format.QCOW2, backing=Disk(base))
    seen = run_guest(tiny, host.accelerator, WRITE, disks=(disk,))
    assert seen.said == {"old": "contents"}, seen.console.decode(errors="replace")[-2000:]
    assert base.read_bytes() == b"contents" + bytes((1 << 20) - 8)
    flat = tmp_path / "flat"
    subprocess.run(["qemu-img", "convert", "-O", "raw", overlay, flat], check=True)
    assert flat.read_bytes().startswith(b"from the guest")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import subprocess; subprocess.run(['reboot', '-f'])", Reason.REBOOTED),
        ("import time; time.sleep(600)", Reason.TIMEOUT),
        ("open('/proc/sysrq-trigger', 'w').write('c')", Reason.REBOOTED),  # panic=-1 reboots
    ],
    ids=["reboots", "never-ends", "panics"],
)
def test_sp_14_a_guest_that_does_not_power_off_is_ended(
    tiny: store.Image, host: boot.Host, program: str, reason: Reason
) -> None:
    seen = run_guest(tiny, host.accelerator, f"print('here', flush=True)\n{program}", deadline_s=15.0)
    assert seen.ending.reason is reason
    assert b"here" in seen.console
    assert seen.ending.took_s < 25


def test_sp_15_a_flood_on_the_console_leaves_host_and_guest_alone(tiny: store.Image, host: boot.Host) -> None:
    program = (
        SAY
        + "import os, time\n"
        + "os.write(1, b'the first line\\n'); end = time.monotonic() + 8; n = 0\n"
        + "while time.monotonic() < end: n += os.write(1, b'\\x1b[31mflood\\0' * 400)\n"
        + "print(); say(wrote=n)"
    )
    before_kib = _own_memory_kib()
    seen = run_guest(tiny, host.accelerator, program)
    wrote = seen.said["wrote"]
    assert isinstance(wrote, int)
    assert wrote > 200_000, "the guest was held up"
    assert b"the first line" in seen.console
    assert _own_memory_kib() - before_kib < 64 << 10


def _own_memory_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_sp_20_the_running_qemu_has_no_rights(tiny: store.Image, host: boot.Host, backend: Backend) -> None:
    with image(tiny, "import time; time.sleep(60)", network=True) as initrd:
        status, limits, children = asyncio.run(_inspect(tiny, host, backend, initrd))
    assert "0" not in status["Uid"].split()
    assert "0" not in status["Gid"].split()
    assert status["CapEff"] == status["CapPrm"] == status["CapInh"] == "0" * 16
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["1024", "1024"]
    assert all("0" not in uid.split() for uid in children.values()), children


async def _inspect(
    tiny: store.Image, host: boot.Host, backend: Backend, initrd: Path
) -> tuple[dict[str, str], dict[str, list[str]], dict[int, str]]:
    run = RunDirectory.create()
    guest = spec(tiny, initrd, nics=(Nic("52:54:00:12:34:56"),))
    async with Vm(guest, run, host.accelerator, [backend.attach(run.metadata_socket, run.path)]) as vm:
        await asyncio.sleep(0.5)
        status = _status(vm.pid)
        lines = Path(f"/proc/{vm.pid}/limits").read_text().splitlines()
        children = {pid: _status(pid)["Uid"] for pid in _descendants(vm.pid)}
    return status, {line[:26].strip(): line[26:].split()[:2] for line in lines}, children


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}


def _descendants(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [deeper for child in found for deeper in _descendants(child)]


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


SPAWNER = """
import asyncio, sys
from pathlib import Path
from uuid import uuid4
from spawner.compute.driver import Nic, VmSpec
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Vm
from spawner.network import choose

async def main(kernel, initrd, cmdline, where, backend):
    run = RunDirectory.create(Path(where))
    offers = choose.offers("qemu-system-x86_64")
    found = {offer.backend.name: offer.backend for offer in offers if offer.backend}
    network = found[backend].attach(run.metadata_socket, run.path)
    guest = VmSpec("orphan", uuid4(), Path(kernel), Path(initrd), cmdline, nics=(Nic("52:54:00:12:34:56"),))
    async with Vm(guest, run, Accelerator("tcg", "", 0.0), [network]) as vm:
        print(vm.pid, run.path, flush=True)
        await vm.wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.3, 3.0])
def test_sp_06_nothing_outlives_a_killed_spawner(
    tiny: store.Image, backend: Backend, short_tmp: Path, delay_s: float
) -> None:
    with image(tiny, "import time; time.sleep(60)", network=True) as initrd:
        command = [sys.executable, "-c", SPAWNER]
        command += map(str, (tiny.kernel, initrd, tiny.manifest.cmdline, short_tmp, backend.name))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as spawner:
            assert spawner.stdout is not None
            pid, run_path = spawner.stdout.readline().split()
            time.sleep(delay_s)
            family = [int(pid), *_descendants(int(pid))]
            spawner.send_signal(signal.SIGKILL)
    end_s = time.monotonic() + 5
    while (left := [one for one in family if _running(one)]) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert left == []
    assert len(family) > 1 or backend.name == "guestfwd"  # the relay was there to be orphaned
    assert sweep(short_tmp) == [Path(run_path)]


def test_a_guest_is_stopped_early_and_leaves_nothing(tiny: store.Image, host: boot.Host) -> None:
    with image(tiny, "import time; time.sleep(60)") as initrd:
        pid, run_path, ending = asyncio.run(_stop_early(tiny, host, initrd))
    assert ending.reason is Reason.STOPPED
    assert not _running(pid)
    assert not run_path.exists()


async def _stop_early(tiny: store.Image, host: boot.Host, initrd: Path) -> tuple[int, Path, Ending]:
    vm = Vm(spec(tiny, initrd), RunDirectory.create(), host.accelerator)
    await vm.start()
    return vm.pid, vm.run.path, await vm.stop(grace_s=0.5)


ROOT_NOT_FOUND = b"VFS: Unable to mount root fs"


@pytest.mark.parametrize("image_line", [CMDLINE, recipe.CMDLINE], ids=["tiny", "debian"])
def test_the_kernels_of_our_images_reset_after_a_panic(image_line: str) -> None:
    assert "panic=-1" in image_line.split()


async def test_a_server_whose_kernel_found_no_root_is_started_again(
    tiny: store.Image, host: boot.Host
) -> None:
    """Of two NVMe disks either may be the first one (decision 0111): the panic resets the machine."""
    line = f"{tiny.manifest.cmdline} root=/dev/none"
    guest = replace(spec(tiny, Path("/initrd"), cmdline=line, reboots=True), initrd=None)
    seen, twice = b"", asyncio.Event()

    def look(chunk: bytes) -> None:
        nonlocal seen
        seen += chunk
        if seen.count(ROOT_NOT_FOUND) >= 2:
            twice.set()

    run = RunDirectory.create()
    try:
        async with Vm(guest, run, host.accelerator, on_console=look):
            await asyncio.wait_for(twice.wait(), 100)
    finally:
        run.remove()


@pytest.mark.parametrize("machine", ["pc", "q35"])
async def test_qemu_has_every_bus_of_ours(
    tiny: store.Image, host: boot.Host, tmp_path: Path, machine: str
) -> None:
    """One disk on each at once; QEMU itself says what is plugged in."""
    buses = [bus for bus in Bus if machine == "pc" or bus not in {Bus.IDE, Bus.IDE_CD}]
    paths = [tmp_path / bus.value for bus in buses]
    for path in paths:
        path.write_bytes(bytes(1 << 20))
    disks = tuple(
        Disk(path, bus=bus, read_only=bus.value.endswith("-cd"), serial=bus.value)
        for path, bus in zip(paths, buses, strict=True)
    )
    # IDE has room for four, by their places.
    disks = tuple(sorted(disks, key=lambda disk: disk.bus not in {Bus.IDE, Bus.IDE_CD}))
    guest = replace(spec(tiny, Path("/initrd"), disks=disks, machine=machine), initrd=None)
    run = RunDirectory.create()
    try:
        async with Vm(guest, run, host.accelerator) as vm:
            blocks = await vm.execute("query-block")
    finally:
        run.remove()
    assert isinstance(blocks, list)
    assert len([block for block in blocks if "disk-" in block["qdev"]]) == len(buses)
