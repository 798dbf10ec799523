"""More that a test asks of a guest: services, packages, ports. Each property asks anew."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Iterator

from image_harness.errors import GuestBroken
from image_harness.guest_shell.protocol import Answer

Run = Callable[[str], Answer]

_NOT_FOUND = 127
# What asks a package manager for a package's version; the first one that the guest has is used.
_VERSIONS = (
    ("dpkg-query", "dpkg-query -W -f '${{db:Status-Status}} ${{Version}}' {name}", "installed "),
    ("rpm", "rpm -q --qf '%{{VERSION}}-%{{RELEASE}}' {name}", ""),
    ("apk", "apk list -I {name} | cut -d ' ' -f 1", ""),
)
_LISTEN = "0A"
_ANY = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not bound to


class Service:
    """A unit of systemd's. Its properties raise GuestBroken in a guest without systemd."""

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self._run = run

    @property
    def exists(self) -> bool:
        """Whether systemd knows such a unit."""
        return self._shown("LoadState") == "loaded"

    @property
    def is_active(self) -> bool:
        """Whether it is up; for a oneshot unit, whether it ran and remains."""
        return self._shown("ActiveState") == "active"

    @property
    def is_enabled(self) -> bool:
        """Whether it is started at boot, as `systemctl is-enabled` says."""
        answer = self._run(f"systemctl is-enabled -- {shlex.quote(self.name)}")
        _need_systemd(answer)
        return answer.ok

    @property
    def result(self) -> str:
        """How its last run ended: `success`, `exit-code`, `timeout` and so on."""
        return self._shown("Result")

    def _shown(self, name: str) -> str:
        answer = self._run(f"systemctl show -P {name} -- {shlex.quote(self.name)}")
        _need_systemd(answer)
        return answer.stdout.strip()


def _need_systemd(answer: Answer) -> None:
    if answer.status == _NOT_FOUND:
        raise GuestBroken("it has no systemd, so that it has no services")


class Package:
    """A package as the guest's own package manager has it: dpkg, rpm or apk."""

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self._run = run

    @property
    def is_installed(self) -> bool:
        """Whether it is there, unpacked and configured."""
        return self._version() is not None

    @property
    def version(self) -> str:
        """As the package manager writes it. Raises KeyError where it is not installed."""
        version = self._version()
        if version is None:
            raise KeyError(f"{self.name}: not installed in the guest")
        return version

    def _version(self) -> str | None:
        """Raises GuestBroken in a guest that has none of the package managers."""
        for program, command, prefix in _VERSIONS:
            if self._run(f"command -v {program}").ok:
                answer = self._run(command.format(name=shlex.quote(self.name)))
                found = answer.stdout.strip()
                return (
                    found.removeprefix(prefix) if answer.ok and found and found.startswith(prefix) else None
                )
        raise GuestBroken("it has no package manager that is known here: dpkg, rpm, apk")


class Port:
    """A TCP port of the guest."""

    def __init__(self, number: int, run: Run) -> None:
        self.number = number
        self._run = run

    @property
    def addresses(self) -> frozenset[str]:
        """The guest's own addresses on which somebody listens; `0.0.0.0` and `::` are all of a family."""
        # Tables of the kernel: every guest has them, whatever programs it has.
        rows = self._run("cat /proc/net/tcp /proc/net/tcp6 2>/dev/null").stdout
        return frozenset(address for address, port in listening(rows) if port == self.number)

    @property
    def is_listening(self) -> bool:
        """Whether anybody does, on any address."""
        return bool(self.addresses)

    def is_open_to(self, address: str) -> bool:
        """Whether somebody listens on this address of the guest's, or on all of its family."""
        wanted = ipaddress.ip_address(address)
        return bool(
            self.addresses & {str(wanted), *(any_ for any_ in _ANY if ("." in any_) == (wanted.version == 4))}
        )


def listening(rows: str) -> Iterator[tuple[str, int]]:
    """Address and port of each socket that listens, from /proc/net/tcp and tcp6 of a little-endian guest."""
    for row in rows.splitlines():
        words = row.split()
        if len(words) > 3 and words[3] == _LISTEN and ":" in words[1]:
            address, _, port = words[1].partition(":")
            packed = bytes.fromhex(address)
            swapped = b"".join(packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
            yield str(ipaddress.ip_address(swapped)), int(port, 16)
