"""gzip and base64 around an image, as Ironic takes it (CD-7, metadata-service 13.3)."""

from __future__ import annotations

import base64
import gzip

import pytest

from configdrive import builder, envelope, reader
from configdrive.errors import DamagedEnvelope, DriveError, DriveLimit, UnknownFormat
from configdrive.source import MIB
from tests.unit.configdrive.trees import TREE

IMAGE = builder.build(TREE)
PACKED = envelope.pack(IMAGE)


def test_cd_7_the_text_is_the_same_on_any_day_and_any_tool_unpacks_it() -> None:
    assert envelope.pack(IMAGE) == PACKED
    packed = base64.b64decode(PACKED, validate=True)
    assert gzip.decompress(packed) == IMAGE
    assert packed[4:8] == b"\0\0\0\0"  # no modification time


@pytest.mark.parametrize(
    "text",
    [PACKED, PACKED + b"\n", base64.encodebytes(base64.b64decode(PACKED)), gzip.compress(IMAGE)],
    ids=["one line", "with a newline", "in lines", "gzip alone"],
)
def test_all_forms_are_read(text: bytes) -> None:
    drive = reader.read_bytes(text)
    assert (drive.tree, drive.is_packed, drive.notes) == (TREE, True, ())


def test_what_follows_the_stream_is_noted_and_ignored() -> None:
    drive = reader.read_bytes(gzip.compress(IMAGE) + b"rest")
    assert drive.tree == TREE
    assert drive.notes == ("4 bytes follow the gzip stream and were ignored",)


def test_a_bomb_is_refused_at_the_limit() -> None:
    with pytest.raises(DriveLimit, match="gzip stream at offset 0: the limit `image_bytes` is 67,108,864"):
        reader.read_bytes(gzip.compress(bytes(65 * MIB)))


@pytest.mark.parametrize("cut", [20, 100, 1000])
def test_a_stream_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(DriveError, match=r"gzip stream at offset \d+: it ends in the middle"):
        reader.read_bytes(gzip.compress(IMAGE)[:-cut])


def test_a_wrong_checksum_is_refused() -> None:
    packed = bytearray(gzip.compress(IMAGE))
    packed[-8] ^= 1
    with pytest.raises(DamagedEnvelope, match="it does not inflate"):
        reader.read_bytes(bytes(packed))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PACKED[:100] + b"!" + PACKED[101:], "base64 text at offset 100: this character is not of base64"),
        (PACKED[:-3], "its length is not that of whole base64"),
        (PACKED[:100] + b"=" + PACKED[101:], "this character is not of base64"),
    ],
)
def test_bad_base64_is_refused(text: bytes, problem: str) -> None:
    with pytest.raises(DamagedEnvelope, match=problem):
        reader.read_bytes(text)


def test_an_envelope_holds_an_image_not_another_envelope() -> None:
    """Without this a text that unpacks to itself would be unpacked for ever."""
    with pytest.raises(UnknownFormat):
        reader.read_bytes(gzip.compress(gzip.compress(IMAGE)))
