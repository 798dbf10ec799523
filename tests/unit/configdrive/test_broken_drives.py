"""`drive verify` on drives broken one way each (fixtures/drive/broken), and the table in the docs."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from configdrive import builder, reader
from configdrive.builder import Format
from configdrive.layouts import LABELS
from configdrive.verify import verify

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "fixtures/drive"
TABLE = ROOT / "docs/reference/drive-verify-messages.md"
CASES = sorted((FIXTURES / "broken").glob("*.json"))
REWRITE = os.environ.get("GUESTLING_GOLDEN") == "rewrite"
HEAD = """# What `guestling drive verify` says

One broken drive a row, and what is printed for it. Made from `fixtures/drive/broken/` by
`tests/unit/configdrive/test_broken_drives.py`; `./dev golden` writes it anew.

| the drive | what `verify` says |
|---|---|
"""


def broken_drive(case: dict[str, Any]) -> bytes:
    """The image that a case describes: a good one with one thing wrong."""
    layout = case.get("layout", "openstack")
    tree = reader.read(FIXTURES / layout)
    for path in case.get("remove", ()):
        del tree[path]
    tree.update({path: text.encode() for path, text in case.get("replace", {}).items()})
    if "writer" in case:
        return WRITERS[case["writer"]](tree)
    label = case.get("label", LABELS[layout][0])
    image = bytearray(builder.build(tree, label, Format(case.get("filesystem", "iso9660")), size_mib=1))
    if "rewrite" in case:
        _rewrite_length(image, len(tree[case["rewrite"]["length of"]]), case["rewrite"]["to"])
    if "flip" in case:
        image[case["flip"]] ^= 1
    return bytes(image[: case.get("cut")])


def _rewrite_length(image: bytearray, before: int, after: int) -> None:
    both = before.to_bytes(4, "little") + before.to_bytes(4, "big")
    while (at := image.find(both)) >= 0:
        image[at : at + 8] = after.to_bytes(4, "little") + after.to_bytes(4, "big")


def _plain(tree: dict[str, bytes]) -> bytes:
    """Without extensions, names cut to 8.3, as a careless `mkisofs` does."""
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident="config-2")
    made = {"": ""}
    for path, content in tree.items():
        *directories, name = path.split("/")
        place = ""
        for directory in directories:
            inner = f"{place}/{directory.upper().replace('-', '_')[:8]}"
            if inner not in made:
                iso.add_directory(inner)
                made[inner] = inner
            place = inner
        stem, _, extension = name.upper().replace("-", "_").partition(".")
        iso.add_fp(io.BytesIO(content), len(content), f"{place}/{stem[:8]}.{extension[:3]};1")
    return _image(iso)


def _link(_: dict[str, bytes]) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident="config-2", rock_ridge="1.09")
    iso.add_symlink("/USER.;1", rr_symlink_name="user_data", rr_path="/etc/shadow")
    return _image(iso)


def _image(iso: pycdlib.PyCdlib) -> bytes:
    image = io.BytesIO()
    iso.write_fp(image)
    return image.getvalue()


WRITERS = {"plain": _plain, "link": _link}


@pytest.fixture
def said(case: Path, tmp_path: Path) -> list[str]:
    image = tmp_path / "drive"
    image.write_bytes(broken_drive(json.loads(case.read_text())))
    return [str(finding) for finding in verify(image).findings]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_cd_09_verify_says_what_is_broken(case: Path, said: list[str]) -> None:
    document = json.loads(case.read_text())
    if REWRITE:
        document["findings"] = said
        case.write_text(json.dumps(document, indent=2) + "\n")
    assert said == document["findings"]
    assert said


@pytest.mark.parametrize("layout", ["openstack", "nocloud"])
def test_a_good_drive_has_no_findings(layout: str, tmp_path: Path) -> None:
    """The cases above are broken by what they change and nothing else."""
    tree = reader.read(FIXTURES / layout)
    for filesystem in Format:
        image = tmp_path / filesystem.value
        image.write_bytes(builder.build(tree, LABELS[layout][0], filesystem))
        assert verify(image).findings == ()
    assert verify(FIXTURES / layout).findings == ()


def test_lenient_warns_of_a_broken_optional_document(tmp_path: Path) -> None:
    tree = reader.read(FIXTURES / "openstack") | {"openstack/latest/vendor_data.json": b"<html>"}
    image = tmp_path / "drive"
    image.write_bytes(builder.build(tree))
    assert not verify(image).is_good
    report = verify(image, lenient=True)
    assert report.is_good
    assert [finding.code for finding in report.findings] == ["drive-invalid-json"]


def test_cd_06_a_joliet_tree_that_differs_is_a_warning(tmp_path: Path) -> None:
    tree = reader.read(FIXTURES / "openstack")
    image = tmp_path / "drive"
    joliet_name = "meta_data.json".encode("utf-16-be")
    image.write_bytes(builder.build(tree).replace(joliet_name, "mete_data.json".encode("utf-16-be")))
    report = verify(image)
    assert report.is_good
    assert {(finding.code, finding.path) for finding in report.findings} == {
        ("drive-joliet-differs", path) for path in tree if path.endswith("meta_data.json")
    }


def test_cd_06_a_damaged_joliet_tree_is_a_warning(tmp_path: Path) -> None:
    data = bytearray(builder.build(reader.read(FIXTURES / "openstack")))
    start = int.from_bytes(data[17 * 2048 + 158 : 17 * 2048 + 162], "little") * 2048
    first = data[start] + data[start + data[start]]  # after `.` and `..`
    data[start + first + 10] ^= 1  # a length, in one of its two byte orders
    image = tmp_path / "drive"
    image.write_bytes(data)
    report = verify(image)
    assert report.is_good
    assert "drive-joliet-differs" in [finding.code for finding in report.findings]


def test_the_table_in_the_docs_is_this_run() -> None:
    cases = [json.loads(case.read_text()) for case in CASES]
    rows = [
        f"| {case['title']} | {'<br>'.join(f'`{_cell(text)}`' for text in case['findings'])} |"
        for case in cases
    ]
    table = HEAD + "\n".join(rows) + "\n"
    if REWRITE:
        TABLE.write_text(table)
    assert TABLE.read_text() == table


def _cell(text: str) -> str:
    return text.replace("`", "'").replace("|", "\\|")
