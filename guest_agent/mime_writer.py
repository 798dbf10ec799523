"""MIME documents, put together: the archive of a boot's configuration, and `devel make-mime`."""

from __future__ import annotations

import binascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def compose(leaves: Iterable[tuple[str, str, bytes, Mapping[str, str]]], boundary: str) -> bytes:
    """A multipart/mixed document of (type, filename, payload, further headers)."""
    listed = list(leaves)
    out = [
        f'Content-Type: multipart/mixed; boundary="{boundary}"\nMIME-Version: 1.0\n'
        f"Number-Attachments: {len(listed)}\n\n".encode()
    ]
    for kind, filename, payload, headers in listed:
        out.append(f"--{boundary}\nContent-Type: {kind}\nMIME-Version: 1.0\n".encode())
        out += [f"{name}: {value}\n".encode() for name, value in headers.items()]
        quoted = filename.replace("\\", "\\\\").replace('"', '\\"')
        out.append(f'Content-Disposition: attachment; filename="{quoted}"\n'.encode("utf-8", "replace"))
        if _is_plain(payload):
            out += [b"\n", payload, b"\n"]
        else:
            out += [b"Content-Transfer-Encoding: base64\n\n", _encoded(payload)]
    out.append(f"--{boundary}--\n".encode())
    return b"".join(out)


def _encoded(payload: bytes) -> bytes:
    """Base64 in lines of 76 letters."""
    return b"".join(binascii.b2a_base64(payload[at : at + 57]) for at in range(0, len(payload), 57))


def _is_plain(payload: bytes) -> bool:
    """May stand in the document as it is: ASCII lines, none of which could be taken for a boundary."""
    special = b"\0" in payload or b"\r" in payload
    return payload.isascii() and not special and not (b"\n" + payload).count(b"\n--")
