"""Where the server listens, and how it knows there which instance is asking.

parse_listener("169.254.169.254:80", identity=Mode.SOURCE_IP)
Listener("unix:/run/guestling/web-1.sock", Mode.SOCKET, instance_id="8f0a3c1e-...")
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network

from instance_metadata.secret import Secret
from metadata_server.errors import BadListener

# The addresses under which guests know a metadata service, whatever address really answers.
WELL_KNOWN_HOSTS = frozenset(
    {"169.254.169.254", "fe80::a9fe:a9fe", "fd00:ec2::254", "instance-data", "169.254.42.42"}
)
LEAST_SECRET_BYTES = 16
MAX_UNIX_PATH = 107


class Mode(Enum):
    """The evidence a listener takes; exactly one (ID-1)."""

    SOURCE_IP = "source-ip"
    MAC = "mac"
    SOCKET = "socket"
    PROXY = "proxy"
    LB = "lb"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Listener:
    """One socket. `address` is `ADDR:PORT`, `[ADDR%IFACE]:PORT` or `unix:PATH`; `fd` an open one.

    `network` names the guest network behind it, where addresses of several networks overlap.
    """

    address: str
    mode: Mode = Mode.SOURCE_IP
    instance_id: str | None = None
    network: str = ""
    secrets: tuple[Secret, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    neutron_safe: bool = False
    fd: int | None = None
    socket_mode: int = 0o600

    def __post_init__(self) -> None:
        parse_address(self.address)
        if self.mode in (Mode.PROXY, Mode.LB):
            self._check_secrets()
        for network in self.trusted_proxies:
            _check_network(network)

    def _check_secrets(self) -> None:
        """A missing or short secret would let a guest be anybody: refuse to start (ID-3, MS-A09)."""
        if not self.secrets:
            raise BadListener(
                f"{self.address}: `{self.mode.value}` needs a shared secret. Give a file that holds it."
            )
        if any(len(secret.reveal().encode()) < LEAST_SECRET_BYTES for secret in self.secrets):
            raise BadListener(
                f"{self.address}: a shared secret has less than {LEAST_SECRET_BYTES} bytes. Use a longer one."
            )

    @property
    def is_wildcard(self) -> bool:
        """Whether it takes connections to any address of the host."""
        place = parse_address(self.address)
        return not isinstance(place, str) and ip_address(place[0]).is_unspecified

    @property
    def unix_path(self) -> str | None:
        return self.address[5:] if self.address.startswith("unix:") else None


def _check_network(text: str) -> None:
    try:
        ip_network(text, strict=False)
    except ValueError as error:
        raise BadListener(
            f"{text}: not a network. Write trusted proxies as 10.0.0.0/8 or an address."
        ) from error


def parse_address(text: str) -> tuple[str, int] | str:
    """(host, port), or the path of a unix socket. Raises BadListener."""
    if text.startswith("unix:"):
        path = text[5:]
        if not path or len(path.encode()) > MAX_UNIX_PATH:
            raise BadListener(f"{text}: not a socket path. Use 1 to {MAX_UNIX_PATH} bytes after `unix:`.")
        return path
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadListener(f"{text}: no port. Write ADDR:PORT, [IPV6%IFACE]:PORT or unix:PATH.")
    if host.startswith("[") != (":" in host):
        raise BadListener(f"{text}: an IPv6 address needs brackets. Write [ADDR%IFACE]:PORT.")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
    except ValueError as error:
        raise BadListener(
            f"{text}: not an IP address. Write ADDR:PORT, [IPV6%IFACE]:PORT or unix:PATH."
        ) from error
    return host, int(port)
