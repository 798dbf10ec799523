"""An image as one text, as Ironic takes it: base64 of gzip; also gzip alone.

Source: metadata-service CD-7 (modification time 0; the reader tells the forms apart by their first bytes).
"""

from __future__ import annotations

import binascii
import zlib

from configdrive.errors import DamagedEnvelope, DriveLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from configdrive.source import Image

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_MAGIC_IN_BASE64 = b"H4sI"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WHITE_SPACE = b" \t\r\n"
_GZIP_WINDOW = 31  # zlib's word for "a gzip header and trailer, the largest window"


def pack(image: bytes) -> bytes:
    """`base64(gzip(image))` on one line; the same bytes for the same image."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP_WINDOW)
    return binascii.b2a_base64(packer.compress(image) + packer.flush(), newline=False)


def is_packed(image: Image) -> bool:
    """Whether the first bytes are those of gzip, or of base64 of gzip."""
    head = image.read(0, min(image.size, 64), "envelope").lstrip(_WHITE_SPACE)
    return head.startswith((_GZIP_MAGIC, _GZIP_MAGIC_IN_BASE64))


def unpack(image: Image) -> tuple[bytes, tuple[str, ...]]:
    """The image inside, and notes on what was odd. Raises DamagedEnvelope, DriveLimit."""
    if image.size > 2 * image.limits.image_bytes:
        raise DriveLimit("envelope", 0, "image_bytes", image.limits.image_bytes)
    data = image.read(0, image.size, "envelope")
    if not data.startswith(_GZIP_MAGIC):
        data = _from_base64(data)
    return _inflate(data, image.limits.image_bytes)


def _from_base64(text: bytes) -> bytes:
    text = text.translate(None, _WHITE_SPACE)
    body = text.rstrip(b"=")
    strange = body.translate(None, _ALPHABET)
    if strange:
        raise DamagedEnvelope("base64 text", text.index(strange[:1]), "this character is not of base64")
    if len(text) % 4 or len(text) - len(body) > 2:
        raise DamagedEnvelope("base64 text", len(text), "its length is not that of whole base64")
    return binascii.a2b_base64(text)


def _inflate(data: bytes, most: int) -> tuple[bytes, tuple[str, ...]]:
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        image = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise DamagedEnvelope("gzip stream", 0, f"it does not inflate: {error}") from error
    if len(image) > most:
        raise DriveLimit("gzip stream", 0, "image_bytes", most)
    if not inflater.eof:
        raise DamagedEnvelope("gzip stream", len(data), "it ends in the middle")
    rest = len(inflater.unused_data)
    return image, (f"{rest} bytes follow the gzip stream and were ignored",) if rest else ()
