"""Connection URIs of libvirt's QEMU driver: pure.

`qemu:///system`, `qemu:///session`, `qemu+unix:///system?socket=...`, and remote ones such as
`qemu+ssh://user@host/system`. Source: libvirt, "Connection URIs".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from spawner.errors import InvalidSpec

LOCAL_TRANSPORTS = ("", "unix")
REMOTE_TRANSPORTS = ("ssh", "libssh", "libssh2", "tls", "tcp", "ext")
_DRIVER = "qemu"


class Scope(Enum):
    """Whose guests a daemon runs: the host's, as a user of its own, or those of the user who asks."""

    SYSTEM = "system"
    SESSION = "session"


@dataclass(frozen=True)
class ConnectionUri:
    """A URI that was understood. `host` is empty on this machine."""

    text: str
    scope: Scope
    host: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the daemon runs on this machine: descriptors and sockets can be handed to it."""
        return not self.host


def parse(text: str) -> ConnectionUri:
    """A URI of libvirt's QEMU driver. Raises InvalidSpec."""
    parts = urlsplit(text)
    driver, _, transport = parts.scheme.partition("+")
    if driver != _DRIVER:
        raise _wrong(text, f"its scheme is {parts.scheme!r}, not {_DRIVER} or {_DRIVER}+TRANSPORT")
    if transport not in (*LOCAL_TRANSPORTS, *REMOTE_TRANSPORTS):
        raise _wrong(text, f"libvirt knows no transport {transport!r}")
    scopes = {f"/{scope.value}": scope for scope in Scope}
    if parts.path not in scopes:
        raise _wrong(text, f"its path is {parts.path!r}, neither /system nor /session")
    if parts.password is not None:
        raise _wrong(text, "it carries a password, which process lists and logs would show")
    host = parts.hostname or ""
    if transport in LOCAL_TRANSPORTS and transport and host:
        raise _wrong(text, f"the transport {transport} goes to no other host")
    if transport in REMOTE_TRANSPORTS and not host:
        raise _wrong(text, f"the transport {transport} needs a host")
    return ConnectionUri(text, scopes[parts.path], host)


def _wrong(text: str, why: str) -> InvalidSpec:
    # The URI itself may carry what is not for logs: only its place is named.
    shown = text if "@" not in text else text.rpartition("@")[2]
    return InvalidSpec(
        f"libvirt URI {shown!r}", why, "Write qemu:///system, qemu:///session or qemu+ssh://USER@HOST/system"
    )
