"""Packages of a day from a mirror of snapshots: real apt, signed lists, versions and bytes of that day."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from guestling.image_build import _pinning
from image_harness import debian
from image_harness.errors import PinsNotMet, ProgramFailed
from image_harness.tiny import base, recipe

KERNEL = "linux-image-6.1.0-1-cloud-amd64"
# Day -> versions of the packages that are not of version 1.
DAYS: dict[str, dict[str, str]] = {"20260110T000000Z": {}, "20260210T000000Z": {"passwd": "2", "zlib1g": "2"}}
NAMES = (recipe.KERNEL_META_PACKAGE, KERNEL, *recipe.KEPT)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree as snapshot.debian.org has it, its lists signed with a key made for this run, and that key."""
    if missing := [name for name in ("gpg", "dpkg-deb", "apt-get") if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}; ./dev test installs them")
    root = tmp_path_factory.mktemp("archive")
    gpg = ["gpg", "--homedir", str(root / "gpg"), "--batch", "--quiet", "--pinentry-mode", "loopback"]
    (root / "gpg").mkdir(mode=0o700)
    key = [*gpg, "--passphrase", "", "--quick-generate-key", "archive@localhost", "ed25519", "sign", "never"]
    try:
        subprocess.run(key, check=True, capture_output=True)
        for day, versions in DAYS.items():
            main, security = root / "debian" / day, root / "debian-security" / day
            debs = [_deb(main / "pool", name, versions.get(name, "1")) for name in NAMES]
            _lists(gpg, main, recipe.SUITE, debs)
            _lists(gpg, main, f"{recipe.SUITE}-updates", [])
            _lists(gpg, security, f"{recipe.SUITE}-security", [])
        subprocess.run([*gpg, "--output", str(root / "key.gpg"), "--export"], check=True, capture_output=True)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(root / "gpg"), "--kill", "all"], check=False)
    return root


@pytest.fixture
def mirror(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tree, served on the loopback as the mirror of snapshots; the archive's key is that of this run."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(archive))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("GUESTLING_SNAPSHOT_MIRROR", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(debian, "KEYRING", archive / "key.gpg")
        yield
        server.shutdown()
        thread.join()


def _deb(pool: Path, name: str, version: str) -> Path:
    work = pool.parent / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / "DEBIAN").mkdir(parents=True)
    needs = f"Depends: {KERNEL} (= 1)\n" if name == recipe.KERNEL_META_PACKAGE else ""
    (work / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x <x@localhost>\n"
        f"{needs}Description: x\n"
    )
    (work / "usr/share").mkdir(parents=True)
    (work / "usr/share" / name).write_text(f"{name} {version}\n")
    pool.mkdir(exist_ok=True)
    deb = pool / f"{name}_{version}_amd64.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(work), str(deb)]
    subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "0"})
    return deb


def _lists(gpg: list[str], main: Path, suite: str, debs: list[Path]) -> None:
    """Packages and InRelease of a suite. They ran out long ago, as those of a snapshot have."""
    place = main / "dists" / suite
    (place / "main/binary-amd64").mkdir(parents=True)
    stanzas = []
    for deb in debs:
        control = subprocess.run(
            ["dpkg-deb", "--field", deb], capture_output=True, text=True, check=True
        ).stdout
        content = deb.read_bytes()
        stanzas.append(
            f"{control}Filename: {deb.relative_to(main)}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
    packages = "\n".join(stanzas).encode()
    (place / "main/binary-amd64/Packages").write_bytes(packages)
    release = place / "Release"
    release.write_text(
        f"Suite: {suite}\nCodename: {suite}\nDate: Sat, 10 Jan 2026 00:00:00 UTC\n"
        "Valid-Until: Sat, 17 Jan 2026 00:00:00 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-amd64/Packages\n"
    )
    sign = [*gpg, "--passphrase", "", "--clearsign", "--output", str(place / "InRelease"), str(release)]
    subprocess.run(sign, check=True, capture_output=True)


def _fetched(work: Path, pinning: debian.Pinning) -> tuple[Mapping[str, str], dict[str, bytes]]:
    """Package -> version, and all bytes fetched and unpacked, for the packages of the tiny guest."""
    packages = base.fetch(work, pinning)
    assert {package.name for package in packages} == {KERNEL, *recipe.KEPT}
    content = {
        str(path.relative_to(work)): path.read_bytes()
        for folder in ("debs", "unpacked")
        for path in (work / folder).rglob("*")
        if path.is_file()
    }
    return {package.name: package.version for package in packages}, content


@pytest.mark.usefixtures("mirror")
def test_a_day_gives_its_packages_and_the_same_bytes_again(tmp_path: Path) -> None:
    before, after = (_pinning(day, None) for day in ("2026-01-10", "2026-02-10"))
    first = _fetched(tmp_path / "1", before)
    again = _fetched(tmp_path / "2", before)
    later = _fetched(tmp_path / "3", after)
    assert first == again
    assert {name: version for name, version in later[0].items() if first[0][name] != version} == {
        "passwd": "2",
        "zlib1g": "2",
    }
    changed = {name for name in {*first[1], *later[1]} if first[1].get(name) != later[1].get(name)}
    assert {name.split("/")[1].split("_")[0] for name in changed} == {"passwd", "zlib1g"}


@pytest.mark.usefixtures("mirror")
def test_versions_of_a_manifest_are_met_by_their_day_and_missed_by_another(tmp_path: Path) -> None:
    versions = (("zlib1g", "2"),)
    assert _fetched(tmp_path / "1", debian.Pinning("20260210T000000Z", versions))[0]["zlib1g"] == "2"
    with pytest.raises(PinsNotMet, match="zlib1g 2"):
        base.fetch(tmp_path / "2", debian.Pinning("20260110T000000Z", versions))


@pytest.mark.usefixtures("mirror")
def test_lists_with_another_signature_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "theirs.gpg"
    shutil.copyfile("/usr/share/keyrings/debian-archive-keyring.gpg", theirs)
    monkeypatch.setattr(debian, "KEYRING", theirs)
    with pytest.raises(ProgramFailed, match=r"not signed|NO_PUBKEY|signature"):
        base.fetch(tmp_path / "1", debian.Pinning("20260110T000000Z"))


@pytest.mark.usefixtures("mirror")
def test_a_day_that_the_mirror_does_not_have_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="20250101T000000Z"):
        base.fetch(tmp_path / "1", debian.Pinning("20250101T000000Z"))
