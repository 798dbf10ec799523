"""Debian's libvirt daemon, the real one, with nothing of the host's: own directories, own processes.

It runs in mount and process namespaces of its own, in which libvirt's five directories are ours. Ending the
first process of the process namespace ends all that the daemon started: no guest is left whatever happens.

It listens on a unix socket, and on loopback as another host would: by TLS, to whoever has a certificate of
this run. A port without that would be root's for everybody on a developer's machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_MODULES = Path("/usr/lib/python3/dist-packages")
START_S = 60.0
LOOPBACK = IPv4Address("127.0.0.1")
PEERS = ("server", "client")

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
libvirtd --listen --config /etc/libvirt/libvirtd.conf --pid-file "$root/libvirtd.pid" &
# As the first process of its namespace this one must take leave of every guest that ends: libvirt looks
# whether their numbers are free again.
wait
"""
CONFIGURATION = {
    # No AppArmor, control groups and device namespaces: a container has none to give. DAC stays on.
    "qemu.conf": 'security_driver = "none"\ncgroup_controllers = []\nnamespaces = []\n',
    "libvirtd.conf": """auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
listen_tls = 1
listen_tcp = 0
listen_addr = "127.0.0.1"
tls_port = "{port}"
auth_tls = "none"
key_file = "{pki}/serverkey.pem"
cert_file = "{pki}/servercert.pem"
ca_file = "{pki}/cacert.pem"
""",
    "virtlogd.conf": "max_clients = 64\n",
}


@dataclass(frozen=True)
class Daemon:
    """Where a daemon is reached: on this machine, and as if it were another's."""

    local: str
    remote: str


def missing() -> str:
    """What keeps the daemon from running here, or an empty text."""
    if os.geteuid() != 0:
        return "libvirt's system daemon needs root"
    lacking = [name for name in ("libvirtd", "virtlogd", "virsh") if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}; ./dev test installs them" if lacking else ""


@contextmanager
def running() -> Iterator[Daemon]:
    """The daemon; the URIs to connect to it."""
    root = Path(tempfile.mkdtemp(prefix="glv", dir="/tmp"))
    # What QEMU can do takes libvirt seconds to find out; it keeps the answer, and so do we.
    cache = ROOT / ".cache" / "libvirt"
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("etc", "lib", "log", "run"):
        (root / name).mkdir()
    root.chmod(0o711)
    pki = root / "pki"
    certify(pki)
    port = _free_port()
    for name, text in CONFIGURATION.items():
        (root / "etc" / name).write_text(text.replace("{port}", str(port)).replace("{pki}", str(pki)))
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
        yield Daemon(uri, f"qemu+tls://127.0.0.1:{port}/system?pkipath={pki}")
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


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def certify(pki: Path) -> None:
    """A certificate authority of this run alone, and what it vouches for: a server and a client."""
    pki.mkdir(mode=0o700)
    authority = ec.generate_private_key(ec.SECP256R1())
    for name, key in (("ca", authority), *((who, ec.generate_private_key(ec.SECP256R1())) for who in PEERS)):
        now = datetime.now(UTC)
        is_authority = key is authority
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named("ca"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(_usage(is_authority), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
            .sign(authority, hashes.SHA256())
        )
        (pki / f"{name}cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (pki / f"{name}key.pem").write_bytes(secret)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        content_commitment=False,
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
