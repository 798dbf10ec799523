"""MIME read by us and by Python's `email`: the same leaves (GA-P07)."""

from __future__ import annotations

import base64
import email
from email.errors import InvalidBase64LengthDefect
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guest_agent import mime, mime_writer
from guest_agent.limits import Limits

BODIES = st.sampled_from(
    ["#cloud-config\na: 1\n", "#!/bin/sh\necho hi\n", "", "one line", "--\n--B\n", "a\r\nb\r\n", "aGVsbG8=\n"]
)
TYPES = st.sampled_from(["text/plain", "TEXT/X-Shellscript", "text/cloud-config", "application/gzip", "odd"])
PARAMETERS = st.sampled_from(
    ["", '; charset="utf-8"', '; name="n a.sh"', ";name=x", "; NAME = 'q'", "; name*=utf-8''%41b",
     '; name*0="a"; name*1=b', ";;x", '; name="a;b\\"c"', "; name=<k>", '; name=""']
)  # fmt: skip
DISPOSITIONS = st.sampled_from(
    ["", "Content-Disposition: attachment", 'Content-Disposition: attachment; filename="f.sh"',
     "Content-Disposition: attachment;\n filename=folded",
     "content-disposition: x; filename*=UTF-8'en'%20x%20",
     "Content-Disposition: attachment; filename*=klingon''x%FF"]
)  # fmt: skip
ENCODINGS = st.sampled_from(
    ["", "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: 7bit",
     "Content-Transfer-Encoding: BASE64", "Content-Transfer-Encoding: quoted-printable"]
)  # fmt: skip
ODD = st.sampled_from(["", "X: y\n cont", ":bad", " lead", "X-1:", "Launch-Index: 3"])


NOT_BASE64 = """\
Content-Type: multipart/mixed; boundary=B

--B
Content-Transfer-Encoding: base64

IyEvYmluL3NoCmVjaG8gaGkK
--B1----B00--
"""


@st.composite
def leaf_texts(draw: Any) -> str:
    declared = f"Content-Type: {draw(TYPES)}{draw(PARAMETERS)}" if draw(st.booleans()) else ""
    encoding = draw(ENCODINGS)
    kept = [header for header in (declared, draw(DISPOSITIONS), encoding, draw(ODD)) if header]
    body: str = draw(BODIES)
    if encoding.lower().endswith("base64"):
        body = base64.encodebytes(body.encode()).decode().rstrip(draw(st.sampled_from(["", "="])))
    return "\n".join(kept) + ("\n" if kept else "") + str(draw(st.sampled_from(["\n", "\n", ""]))) + body


@st.composite
def documents(draw: Any, depth: int = 0) -> str:
    boundary: str = draw(st.sampled_from(["B", "B0", "==x=="])) + str(
        draw(st.sampled_from([depth, depth, 0]))
    )
    text: str = f'Content-Type: multipart/mixed; boundary="{boundary}"\n'
    text = f"MIME-Version: 1.0\n{text}\n" if depth == 0 else f"{text}\n"
    text += draw(st.sampled_from(["", "preamble\n"]))
    for _ in range(draw(st.integers(0, 4))):
        text += f"--{boundary}{draw(st.sampled_from(['', '', ' ']))}\n"
        inner = depth < 2 and draw(st.integers(0, 4)) == 0
        text += draw(documents(depth + 1)) if inner else draw(leaf_texts())
        text += draw(st.sampled_from(["\n", "\n", "\n", ""]))
    text += draw(st.sampled_from([f"--{boundary}--\n", f"--{boundary}--", f"--{boundary}--\nepilogue\n", ""]))
    return text.replace("\n", "\r\n") if depth == 0 and draw(st.booleans()) else text


@given(documents())
@example(NOT_BASE64)
def test_ga_p07_the_leaves_are_those_of_the_standard_library(text: str) -> None:
    ours = [
        (leaf.content_type, leaf.filename if leaf.filename is not None else leaf.type_name, leaf.payload)
        for leaf in mime.read(text.encode(), "x").leaves
    ]
    theirs = [
        (part.get_content_type(), part.get_filename(), payload)
        for part in email.message_from_string(text).walk()
        if part.get_content_maintype() != "multipart"
        for payload in [part.get_payload(decode=True)]
        if not any(isinstance(defect, InvalidBase64LengthDefect) for defect in part.defects)
    ]
    # What is not the base64 that its header says is a problem to us; there it is handed out as it stands.
    assert ours == theirs


@given(st.binary(max_size=300))
def test_ga_p07_reading_never_raises(data: bytes) -> None:
    mime.read(data, "x")
    mime.read(b'Content-Type: multipart/mixed; boundary="B"\n\n--B\n' + data, "x")


SMALL = Limits(mime_parts=3, mime_headers=2, mime_depth=2)


def parts_document(count: int) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=B\n\n" + b"--B\n\nx\n" * count + b"--B--\n"


def test_ga_p07_limits_hold_exactly() -> None:
    assert len(mime.read(parts_document(3), "x", SMALL).leaves) == 3
    full = mime.read(parts_document(4), "x", SMALL)
    assert len(full.leaves) == 3
    assert full.problems == ("x: more than 3 parts (mime_parts)",)
    assert not mime.read(b"A: 1\nB: 2\n\nbody", "x", SMALL).problems
    assert mime.read(b"A: 1\nB: 2\nC: 3\n\nbody", "x", SMALL).problems == (
        "x part 1: more than 2 headers (mime_headers)",
    )
    nested = [
        b"".join(b"Content-Type: multipart/mixed; boundary=B%d\n\n--B%d\n" % (i, i) for i in range(depth))
        for depth in (2, 3)
    ]
    assert len(mime.read(nested[0] + b"\nx", "x", SMALL).leaves) == 1
    assert mime.read(nested[1] + b"\nx", "x", SMALL).problems == (
        "x part 1: more than 2 containers deep (mime_depth)",
    )


def test_ga_p07_only_the_bad_part_is_lost() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Transfer-Encoding: base64\n\nabcde\n"
        b"--B\n\ngood\n--B--\n"
    )
    message = mime.read(data, "x")
    assert [leaf.payload for leaf in message.leaves] == [b"good"]
    assert message.problems == ("x part 1: the content is not the base64 its header says",)


NAMES = st.text(alphabet='abc "\\;ü./', min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.lists(st.tuples(TYPES.filter(lambda kind: "/" in kind), NAMES, st.binary(max_size=60)), max_size=4))
def test_what_is_composed_reads_back(leaves: list[tuple[str, str, bytes]]) -> None:
    """Both by us and by the standard library: other tools read the .i files."""
    document = mime_writer.compose([(kind, name, payload, {}) for kind, name, payload in leaves], "BOUND")
    wanted = [(kind.lower(), payload) for kind, _, payload in leaves]
    assert [(leaf.content_type, leaf.payload) for leaf in mime.read(document, "x").leaves] == wanted
    theirs = [part for part in email.message_from_bytes(document).walk() if not part.is_multipart()]
    if leaves:
        assert [(part.get_content_type(), part.get_payload(decode=True)) for part in theirs] == wanted
    assert [leaf.filename for leaf in mime.read(document, "x").leaves] == [name for _, name, _ in leaves]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('text/x; a="b;c"; D=e', {"a": "b;c", "d": "e"}),
        ("x; f*0*=utf-8''a%20; f*1=b", {"f": "a b"}),
        ("x; f=1; f=2", {"f": "1"}),
        ("x; f*=%FF", {"f": "\ufffd"}),
        ("x; f*=a\0b''%41", {"f": "A"}),
    ],
)
def test_parameters(value: str, found: dict[str, str]) -> None:
    assert mime.parameters(value) == found
