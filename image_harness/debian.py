"""Debian packages from the archive, fetched by an ordinary user through a private apt with its own state.

Nothing of the host's package state is read or changed; its mirror, proxy and archive keyring are used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from image_harness import programs
from image_harness.errors import PackageMissing, PinsNotMet, ProgramFailed, UnsupportedHost

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SECURITY_MIRROR = "http://deb.debian.org/debian-security"
SNAPSHOT_MIRROR = "http://snapshot.debian.org/archive"
SNAPSHOT_FORMAT = "%Y%m%dT%H%M%SZ"
# Suites that get their security fixes in the suite itself.
ROLLING = ("sid", "unstable", "testing")
SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable")


@dataclass(frozen=True)
class Package:
    """A package as it was fetched."""

    name: str
    version: str
    sha256: str
    deb: Path


@dataclass(frozen=True)
class Mirrors:
    """Where the archive and its security updates are."""

    main: str
    security: str
    is_snapshot: bool = False

    def sources(self, suite: str) -> tuple[str, ...]:
        """The lines of sources.list for a suite."""
        # The lists of a snapshot are older than they say they are good for.
        old = " check-valid-until=no" if self.is_snapshot else ""
        signed = f"deb [arch=amd64 signed-by={KEYRING}{old}]"
        lines = [f"{signed} {self.main} {suite} main"]
        if suite not in ROLLING:
            lines += [
                f"{signed} {self.main} {suite}-updates main",
                f"{signed} {self.security} {suite}-security main",
            ]
        return tuple(lines)


@dataclass(frozen=True)
class Pinning:
    """Which versions of packages: those of a day, those of a list, or (by default) the newest.

    `snapshot`: `20260131T000000Z`, a time of snapshot.debian.org or of GUESTLING_SNAPSHOT_MIRROR. `versions`:
    package -> version. `epoch_s`: what time it shall be while the image is made; 0 for the present.
    """

    snapshot: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    epoch_s: int = 0

    def __bool__(self) -> bool:
        return bool(self.snapshot or self.versions)

    def mirrors(self) -> Mirrors:
        """The archive of that day, else the one in use here."""
        if not self.snapshot:
            return mirrors()
        base = os.environ.get("GUESTLING_SNAPSHOT_MIRROR", SNAPSHOT_MIRROR).rstrip("/")
        return Mirrors(
            f"{base}/debian/{self.snapshot}", f"{base}/debian-security/{self.snapshot}", is_snapshot=True
        )

    def preferences(self) -> str:
        """The same for apt, as apt_preferences(5) has it: also older than what is there."""
        return "".join(
            f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n"
            for name, version in self.versions
        )

    def now_s(self) -> int:
        """The time for all files: SOURCE_DATE_EPOCH, the pinned one, that of the snapshot, the present."""
        told = os.environ.get("SOURCE_DATE_EPOCH")
        if told is not None:
            return int(told)
        if self.epoch_s:
            return self.epoch_s
        if self.snapshot:
            when = datetime.strptime(self.snapshot, SNAPSHOT_FORMAT).replace(tzinfo=UTC)
            return int(when.timestamp())
        return int(time.time())

    def check(self, installed: Mapping[str, str]) -> None:
        """Raises PinsNotMet naming each package that is not of the version asked for."""
        wrong = [
            f"{name} {version} (there is {installed.get(name, 'none')})"
            for name, version in self.versions
            if installed.get(name) != version
        ]
        if wrong:
            raise PinsNotMet(wrong, self.mirrors().main)


NEWEST = Pinning()
# What apt-get says of a version that it was asked for.
_NOT_FOUND = re.compile(r"Version '([^']+)' for '([^']+)' was not found")


def mirrors() -> Mirrors:
    """GUESTLING_DEBIAN_MIRROR, else what a Debian host itself uses, else deb.debian.org."""
    configured = _configured_mirrors()
    chosen = os.environ.get("GUESTLING_DEBIAN_MIRROR")
    main = chosen or next((uri for uri, suite in configured if suite in SUITES), DEFAULT_MIRROR)
    security = next(
        (uri for uri, suite in configured if suite.endswith("-security")), DEFAULT_SECURITY_MIRROR
    )
    return Mirrors(main.rstrip("/"), security.rstrip("/"))


def _configured_mirrors() -> list[tuple[str, str]]:
    """(URI, suite) of each Debian source of the host; Ubuntu's and other people's archives are left out."""
    try:
        text = programs.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
        )
    except ProgramFailed:
        return []
    pairs = [(line.split()[0], line.split()[1]) for line in text.splitlines() if len(line.split()) == 2]
    return [
        (uri, suite) for uri, suite in pairs if suite.removesuffix("-security") in SUITES and "/debian" in uri
    ]


class Apt:
    """apt with all its state in `home`. Raises UnsupportedHost where the archive keyring is not installed."""

    def __init__(self, home: Path, suite: str, archive: Mirrors) -> None:
        if shutil.which("apt-get") is None or not KEYRING.exists():
            raise UnsupportedHost(
                suite, f"apt-get and {KEYRING} are needed", "Install debian-archive-keyring and apt"
            )
        self._home = home
        self._archive = archive
        for part in ("state/lists/partial", "cache/archives/partial", "parts"):
            (home / part).mkdir(parents=True, exist_ok=True)
        (home / "status").touch()
        (home / "sources.list").write_text("\n".join(archive.sources(suite)) + "\n")
        (home / "apt.conf").write_text(_configuration(home) + inherited_settings())

    def update(self) -> None:
        """Fetch the package lists."""
        self._run("apt-get", "-qq", "update")

    def depends(self, name: str) -> tuple[str, ...]:
        """The names that a package depends on, its newest version's, alternatives left out."""
        text = self._run("apt-cache", "show", "--no-all-versions", name)
        found = re.search(r"^Depends: (.*)$", text, re.MULTILINE)
        if found is None:
            raise PackageMissing(name, self._archive.main)
        return tuple(part.split()[0] for part in found.group(1).split(","))

    def download(self, names: Iterable[str], into: Path) -> tuple[Package, ...]:
        """Fetch packages, `name` or `name=version`; apt has checked them against the signed list.

        Raises PinsNotMet for versions that are not there, ProgramFailed.
        """
        into.mkdir(parents=True, exist_ok=True)
        try:
            self._run("apt-get", "-qq", "download", *names, cwd=into)
        except ProgramFailed as error:
            if absent := _NOT_FOUND.findall(str(error)):
                wrong = [f"{name} {version}" for version, name in absent]
                raise PinsNotMet(wrong, self._archive.main) from error
            raise
        return tuple(_package(deb) for deb in sorted(into.glob("*.deb")))

    def _run(self, *argv: str, cwd: Path | None = None) -> str:
        return programs.run(argv, env={"APT_CONFIG": str(self._home / "apt.conf")}, cwd=cwd)


def _configuration(home: Path) -> str:
    # /dev/null is apt's own word for "no such file or folder".
    settings = {
        "Dir::State": home / "state", "Dir::State::status": home / "status", "Dir::Cache": home / "cache",
        "Dir::Etc::sourcelist": home / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::main": "/dev/null", "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::trusted": "/dev/null", "Dir::Etc::trustedparts": "/dev/null",
        "APT::Architecture": "amd64", "APT::Architectures": "amd64", "Acquire::Languages": "none",
        "APT::Sandbox::User": "root", "Acquire::Retries": "3",
    }  # fmt: skip
    return "".join(f'{name} "{value}";\n' for name, value in settings.items())


def inherited_settings() -> str:
    """How the host reaches an archive: proxies, certificates, and whether old lists are accepted."""
    wanted = re.compile(r"Acquire::(https?::|ftp::|Check-|Max-ValidTime|ForceIPv)")
    return "".join(
        f"{line}\n" for line in programs.run(["apt-config", "dump"]).splitlines() if wanted.match(line)
    )


def _package(deb: Path) -> Package:
    name, version = programs.run(
        ["dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(deb)]
    ).split()
    return Package(name, version, hashlib.sha256(deb.read_bytes()).hexdigest(), deb)


def unpack(package: Package, into: Path) -> None:
    """Lay the files of a package below a directory, owned by whoever calls."""
    into.mkdir(parents=True, exist_ok=True)
    programs.run(["dpkg-deb", "--extract", str(package.deb), str(into)])
