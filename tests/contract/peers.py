"""Real peers that Debian 12 does not carry, kept in .cache/: from PyPI, and cloud-init of Debian 13."""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache/peers"
MIRROR = "http://deb.debian.org/debian"
SUITE = "trixie"
# What cloud-init imports to read a drive.
CLOUD_INIT_NEEDS = ("configobj", "jinja2", "jsonpatch", "jsonschema", "oauthlib", "pyyaml", "requests")
# pycloudlib wants the SDK of every cloud, and openstacksdk 1.4 a netifaces that needs a compiler: what its
# OpenStack part imports is this, with netifaces-plus for netifaces.
PYCLOUDLIB = ("pycloudlib==1!11.1.10", "openstacksdk==1.4.0")
PYCLOUDLIB_NEEDS = (
    "appdirs", "cryptography", "decorator", "dogpile.cache", "iso8601", "jmespath", "jsonpatch",
    "keystoneauth1", "netifaces-plus", "os-service-types", "paramiko", "pbr", "pyyaml", "requests",
    "requestsexceptions", "setuptools", "toml",
)  # fmt: skip
PATIENCE_S = 600


class PeerMissingError(Exception):
    """A peer cannot be had here; the text says why."""


def nova() -> Path:
    """Python of an environment with Nova, and uwsgi to serve its metadata. Raises PeerMissingError."""
    return _environment("nova", ("nova", "pyuwsgi"))


def pycloudlib() -> Path:
    """Python of an environment with pycloudlib's OpenStack part. Raises PeerMissingError."""
    return _environment("pycloudlib", PYCLOUDLIB_NEEDS, without_needs=PYCLOUDLIB)


def cloud_init() -> tuple[Path, Path]:
    """(Python, directory to put on its path) of the cloud-init in Debian 13. Raises PeerMissingError."""
    unpacked = CACHE / f"cloud-init-{SUITE}"
    with _one_at_a_time():
        if not unpacked.is_dir():
            try:
                _unpack(_debian_package("cloud-init"), unpacked)
            except (urllib.error.URLError, TimeoutError) as error:
                raise PeerMissingError(f"cloud-init of Debian {SUITE} cannot be fetched: {error}") from error
    return _environment("cloud-init", CLOUD_INIT_NEEDS), unpacked / "usr/lib/python3/dist-packages"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Test processes beside each other share the cache: one fills it, the others wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _environment(name: str, packages: tuple[str, ...], without_needs: tuple[str, ...] = ()) -> Path:
    python = CACHE / f"{name}-environment/bin/python"
    ready = python.parents[1] / "ready"
    with _one_at_a_time():
        if not ready.exists():
            _make_environment(name, python, packages, without_needs)
            ready.touch()
    return python


def _make_environment(
    name: str, python: Path, packages: tuple[str, ...], without_needs: tuple[str, ...]
) -> None:
    install: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    steps: list[list[str | Path]] = [
        [sys.executable, "-m", "venv", python.parents[1]],
        [*install, *packages],
    ]
    if without_needs:
        steps.append([*install, "--no-deps", *without_needs])
    for argv in steps:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=PATIENCE_S)
        if done.returncode != 0:
            raise PeerMissingError(f"{name} cannot be installed: {done.stderr.decode()[-200:]}")


def _debian_package(name: str) -> bytes:
    """The newest `name` of the suite for all architectures, its checksum compared."""
    index = lzma.decompress(_fetch(f"{MIRROR}/dists/{SUITE}/main/binary-all/Packages.xz")).decode()
    paragraph = next(part for part in index.split("\n\n") if part.startswith(f"Package: {name}\n"))
    fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
    package = _fetch(f"{MIRROR}/{fields['Filename']}")
    assert hashlib.sha256(package).hexdigest() == fields["SHA256"]
    return package


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def _unpack(package: bytes, target: Path) -> None:
    part = target.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    (part / "package.deb").write_bytes(package)
    subprocess.run(
        ["dpkg-deb", "-x", part / "package.deb", part], check=True, capture_output=True, timeout=60
    )
    part.rename(target)
