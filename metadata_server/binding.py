"""Opening the sockets of listeners: TCP on IPv4 and IPv6, unix, or one that systemd opened."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from metadata_server.errors import CannotListen
from metadata_server.listener import Listener, parse_address

# systemd hands over its sockets from this number on (sd_listen_fds).
SYSTEMD_FIRST_FD = 3


def inherited_address(fd: int) -> str:
    """The address of a socket that is open already. Raises CannotListen."""
    try:
        with socket.socket(fileno=os.dup(fd)) as inherited:
            return shown_address(inherited)
    except OSError as error:
        raise CannotListen(f"file descriptor {fd}", error.strerror or str(error)) from error


def bind(listener: Listener, *, reuse_port: bool = False) -> socket.socket:
    """The listener's socket, bound and non-blocking. Raises CannotListen."""
    try:
        if listener.fd is not None:
            bound = socket.socket(fileno=listener.fd)
        else:
            place = parse_address(listener.address)
            bound = (
                _unix(Path(place), listener.socket_mode)
                if isinstance(place, str)
                else _tcp(place, reuse_port)
            )
    except OSError as error:
        raise CannotListen(listener.address, _reason(listener, error)) from error
    bound.setblocking(False)
    return bound


def _reason(listener: Listener, error: OSError) -> str:
    place = parse_address(listener.address)
    if error.errno == errno.EADDRNOTAVAIL and not isinstance(place, str):
        from metadata_server.interfaces import addresses, why_unavailable

        return why_unavailable(place[0], addresses())
    return error.strerror or str(error)


def shown_address(bound: socket.socket) -> str:
    """The address in the form that `Listener` takes."""
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if bound.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def _tcp(place: tuple[str, int], reuse_port: bool) -> socket.socket:
    found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _unix(path: Path, mode: int) -> socket.socket:
    """A socket that nobody can reach before it has its mode; a stale one of an ended server is replaced."""
    _remove_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o777 & ~mode)
    try:
        made.bind(str(path))
    except OSError:
        made.close()
        raise
    finally:
        os.umask(old)
    return made


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
