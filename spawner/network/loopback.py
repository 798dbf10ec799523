"""The loopback interface of a fresh network namespace, by ioctl: no program is started for it.

Imported by the launcher's relay before the guest runs, hence nothing heavy.
"""

from __future__ import annotations

import fcntl
import socket
import struct

LOOPBACK = b"lo"
SIOCSIFFLAGS = 0x8914
SIOCSIFADDR = 0x8916
SIOCSIFNETMASK = 0x891C
IFF_UP = 0x1


def bring_up_loopback(address: str) -> None:
    """Set `lo` up and give it `address`/32, in the namespace of the caller. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _interface_call(control, SIOCSIFFLAGS, LOOPBACK, struct.pack("H", IFF_UP))
        _interface_call(control, SIOCSIFADDR, LOOPBACK + b":1", _address(address))
        _interface_call(control, SIOCSIFNETMASK, LOOPBACK + b":1", _address("255.255.255.255"))


def _interface_call(control: socket.socket, request: int, name: bytes, payload: bytes) -> None:
    """One ioctl with `struct ifreq`: 16 bytes of name, 24 of payload."""
    fcntl.ioctl(control, request, struct.pack("16s24s", name, payload))


def _address(text: str) -> bytes:
    """`struct sockaddr_in` with this address."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
