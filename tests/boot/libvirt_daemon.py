"""Debian's libvirt daemon, the real one, with nothing of the host's: own directories, own processes.

It runs in mount and process namespaces of its own, in which libvirt's five directories are ours. Ending the
first process of the process namespace ends all that the daemon started: no guest is left whatever happens.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_MODULES = Path("/usr/lib/python3/dist-packages")
START_S = 60.0

SCRIPT = """set -e
root=$1 cache=$2
for pair in etc:/etc/libvirt lib:/var/lib/libvirt log:/var/log/libvirt run:/run/libvirt
do mkdir -p "${pair#*:}"; mount --bind "$root/${pair%%:*}" "${pair#*:}"; done
mkdir -p /var/cache/libvirt; mount --bind "$cache" /var/cache/libvirt
# The package that makes this user also starts services; here it is enough that names are found.
getent passwd libvirt-qemu >/dev/null || {
    (cat /etc/passwd; echo libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin) >"$root/passwd"
    (cat /etc/group; echo libvirt-qemu:x:64055:) >"$root/group"
    mount --bind "$root/passwd" /etc/passwd; mount --bind "$root/group" /etc/group
}
# With a KVM for root but not for QEMU's user libvirt looks at every QEMU anew at each call: here is none.
[ ! -e /dev/kvm ] || { : >"$root/kvm"; chmod 0 "$root/kvm"; mount --bind "$root/kvm" /dev/kvm; }
virtlogd --config /etc/libvirt/virtlogd.conf --pid-file "$root/virtlogd.pid" &
libvirtd --config /etc/libvirt/libvirtd.conf --pid-file "$root/libvirtd.pid" &
# As the first process of its namespace this one must take leave of every guest that ends: libvirt looks
# whether their numbers are free again.
wait
"""
CONFIGURATION = {
    # No AppArmor, control groups and device namespaces: a container has none to give. DAC stays on.
    "qemu.conf": 'security_driver = "none"\ncgroup_controllers = []\nnamespaces = []\n',
    "libvirtd.conf": 'auth_unix_rw = "none"\nunix_sock_rw_perms = "0700"\n',
    "virtlogd.conf": "max_clients = 64\n",
}


def missing() -> str:
    """What keeps the daemon from running here, or an empty text."""
    if os.geteuid() != 0:
        return "libvirt's system daemon needs root"
    lacking = [name for name in ("libvirtd", "virtlogd", "virsh") if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}; ./dev test installs them" if lacking else ""


@contextmanager
def running() -> Iterator[str]:
    """The daemon; the URI to connect to it."""
    root = Path(tempfile.mkdtemp(prefix="glv", dir="/tmp"))
    # What QEMU can do takes libvirt seconds to find out; it keeps the answer, and so do we.
    cache = ROOT / ".cache" / "libvirt"
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("etc", "lib", "log", "run"):
        (root / name).mkdir()
    root.chmod(0o711)
    for name, text in CONFIGURATION.items():
        (root / "etc" / name).write_text(text)
    with (root / "log" / "daemon").open("wb") as words:
        process = subprocess.Popen(
            [
                # Also when the tests themselves are killed.
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("--propagation", "private", "sh", "-c", SCRIPT, "sh", str(root), str(cache)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            start_new_session=True,
        )
    uri = f"qemu+unix:///system?socket={root / 'run' / 'libvirt-sock'}"
    try:
        _wait_for(root, process, uri)
        yield uri
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(root, ignore_errors=True)


def _wait_for(root: Path, process: subprocess.Popen[bytes], uri: str) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if (root / "run" / "libvirt-sock").exists() and virsh(uri, "version").returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"libvirtd does not answer: {(root / 'log' / 'daemon').read_text()}")


def virsh(uri: str, *command: str) -> subprocess.CompletedProcess[str]:
    """What libvirt's own client says."""
    return subprocess.run(
        ["virsh", "--connect", uri, *command], capture_output=True, text=True, check=False, timeout=60
    )
