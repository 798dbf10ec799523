"""What a test sees of its guest: files, users, the agent's result, commands.

Everything about the inside is asked with commands, when it is asked for: a test sees the guest as it is now.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from image_harness.errors import GuestBroken
from image_harness.guest_facts import Package, Port, Service
from image_harness.guest_shell.protocol import OUTPUT_LIMIT_BYTES, Answer
from image_harness.timeline.spans import Timeline
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import ModuleReport, Result

COMMAND_TIMEOUT_S = 60.0


class Channel(Protocol):
    """The way to a guest that is up."""

    report: Path

    def run(self, command: str, timeout_s: float) -> Answer:
        """Carry out a command. Raises GuestBroken."""
        ...

    def result(self) -> Result | None:
        """What the agent reported; None where the image has none that does."""
        ...

    def console(self) -> bytes:
        """What the serial console showed so far."""
        ...

    def requests(self) -> tuple[AccessRecord, ...]:
        """What the guest asked the metadata service so far."""
        ...

    def timeline(self) -> Timeline:
        """When what happened in its boot."""
        ...

    def wait(self) -> None:
        """Returns when the guest has ended by itself."""
        ...


class Guest:
    """A guest that has booted. `report` is where its console and logs are put if a test fails."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.report = channel.report

    def __repr__(self) -> str:
        """As a failed test shows it: the directory that tells all about the guest."""
        return f"<guest: {self.report}>"

    def run(self, command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Answer:
        """Carry out a line of /bin/sh as root; one that takes longer is ended, with status 124 or 143.

        Raises GuestBroken when the guest is gone or does not answer.
        """
        return self._channel.run(command, timeout_s)

    def file(self, path: str) -> File:
        """The file at an absolute path, whether it is there or not."""
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f"{path!r}: not an absolute path. Begin it with /.")
        return File(path, self.run)

    def user(self, name: str) -> User:
        """The account of that name, whether it is there or not."""
        return User(name, lambda path: self.file(path).content)

    def service(self, name: str) -> Service:
        """The unit of systemd's of that name, whether it is there or not."""
        return Service(name, self.run)

    def package(self, name: str) -> Package:
        """The package of that name, whether it is installed or not."""
        return Package(name, self.run)

    def port(self, number: int) -> Port:
        """The TCP port of that number, whether somebody listens or not."""
        return Port(number, self.run)

    @property
    def timeline(self) -> Timeline:
        """When what happened in its boot, with what the guest itself knows of it."""
        return self._channel.timeline()

    def wait(self) -> None:
        """Returns when the guest has ended by itself: for who looks into it from elsewhere."""
        self._channel.wait()

    @property
    def testinfra(self) -> Any:
        """The guest as a host of pytest-testinfra, which must be installed."""
        from image_harness.testinfra_backend import host

        return host(self)

    @property
    def result(self) -> AgentResult:
        """What the agent reported, or stock cloud-init left in its files. Raises GuestBroken: neither."""
        result = self._channel.result()
        if result is None:
            raise GuestBroken("its agent has neither reported a result nor left one in /run/cloud-init")
        return AgentResult(result)

    @property
    def console(self) -> str:
        """What the serial console showed so far, with plain line ends."""
        return self._channel.console().decode(errors="replace").replace("\r\n", "\n")

    @property
    def requests(self) -> tuple[AccessRecord, ...]:
        """What the guest asked the metadata service so far; nothing where a drive was the source."""
        return self._channel.requests()


@dataclass(frozen=True)
class AgentResult:
    """The agent's result, with its modules by name."""

    agent: Result

    @property
    def status(self) -> str:
        """done, degraded or error."""
        return self.agent.status

    @property
    def datasource(self) -> str | None:
        """The agent's name for where its data came from."""
        return self.agent.datasource

    @property
    def errors(self) -> tuple[str, ...]:
        """What went wrong, in the agent's words."""
        return self.agent.errors

    def module(self, name: str) -> Module:
        """A module that ran or was skipped, as named in cloud.cfg, with `-` or `_`. Raises KeyError."""
        for report in self.agent.modules:
            if report.name.replace("-", "_") == name.replace("-", "_"):
                return Module(report)
        ran = ", ".join(report.name for report in self.agent.modules)
        raise KeyError(f"{name}: no such module ran in this guest. There were: {ran}")


@dataclass(frozen=True)
class Module:
    """One module of the boot."""

    report: ModuleReport

    @property
    def result(self) -> str:
        """SUCCESS, WARN, FAIL or SKIPPED."""
        return self.report.result

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.report.took_s

    @property
    def actions(self) -> tuple[str, ...]:
        """What it changed, in words."""
        return self.report.actions


class File:
    """A file of the guest; each property asks anew."""

    def __init__(self, path: str, run: Callable[[str], Answer]) -> None:
        self.path = path
        self._run = run

    @property
    def exists(self) -> bool:
        """Whether anything is there, a dangling link too."""
        return self._stat("%a") is not None

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return (self._stat("%F") or "").startswith("regular")

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self._stat("%F") == "directory"

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self._stat("%F") == "symbolic link"

    @property
    def mode(self) -> int:
        """Its permissions, as in 0o644. Raises FileNotFoundError, as the properties below do."""
        return int(self._needed("%a"), 8)

    @property
    def owner(self) -> str:
        """The name of its user."""
        return self._needed("%U")

    @property
    def group(self) -> str:
        """The name of its group."""
        return self._needed("%G")

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return int(self._needed("%s"))

    @property
    def target(self) -> str:
        """Where a link points to, as it is written there."""
        return self._output("readlink -n --").decode()

    @property
    def sha256(self) -> str:
        """The checksum of its content, 64 hexadecimal digits; for files that are too large to be fetched."""
        return self._output("sha256sum --").decode().split()[0].lstrip("\\")

    @property
    def content(self) -> str:
        """Its content as text. Raises UnicodeDecodeError, and what `content_bytes` does."""
        return self.content_bytes.decode()

    @property
    def content_bytes(self) -> bytes:
        """Its content. Raises GuestBroken for 256 KiB and more, which a guest does not send."""
        content = self._output("cat --")
        if len(content) >= OUTPUT_LIMIT_BYTES:
            raise GuestBroken(f"{self.path} is longer than is fetched: compare its sha256")
        return content

    def _stat(self, format_: str) -> str | None:
        answer = self._run(f"stat -c {format_} -- {shlex.quote(self.path)}")
        return answer.stdout.strip() if answer.ok else None

    def _needed(self, format_: str) -> str:
        found = self._stat(format_)
        if found is None:
            raise FileNotFoundError(f"{self.path}: not in the guest")
        return found

    def _output(self, program: str) -> bytes:
        answer = self._run(f"{program} {shlex.quote(self.path)}")
        if not answer.ok:
            raise FileNotFoundError(f"{self.path}: {answer.stderr.strip()}")
        return answer.stdout_bytes


class User:
    """An account, as /etc/passwd, /etc/group and /etc/shadow have it when they are first asked."""

    def __init__(self, name: str, read: Callable[[str], str]) -> None:
        self.name = name
        self._read = read

    @property
    def exists(self) -> bool:
        """Whether there is such an account."""
        return self._rows("/etc/passwd") is not None

    @property
    def uid(self) -> int:
        """The number. Raises KeyError where there is no such account, as the properties below do."""
        return int(self._passwd[2])

    @property
    def gid(self) -> int:
        """The number of the primary group."""
        return int(self._passwd[3])

    @property
    def gecos(self) -> str:
        """The full name."""
        return self._passwd[4]

    @property
    def home(self) -> str:
        """The home directory."""
        return self._passwd[5]

    @property
    def shell(self) -> str:
        """The login shell."""
        return self._passwd[6]

    @property
    def groups(self) -> frozenset[str]:
        """The names of all groups, the primary one too."""
        primary = self._passwd[3]
        rows = [line.split(":") for line in self._read("/etc/group").splitlines() if line.count(":") == 3]
        return frozenset(row[0] for row in rows if row[2] == primary or self.name in row[3].split(","))

    @property
    def can_use_password(self) -> bool:
        """Whether there is a password that lets this user in: neither locked nor unset."""
        row = self._rows("/etc/shadow")
        return bool(row and row[1] and row[1][0] not in "!*")

    @cached_property
    def _passwd(self) -> list[str]:
        row = self._rows("/etc/passwd")
        if row is None:
            raise KeyError(f"{self.name}: no such user in the guest")
        return row

    def _rows(self, path: str) -> list[str] | None:
        rows = (line.split(":") for line in self._read(path).splitlines())
        return next((row for row in rows if row[0] == self.name), None)
