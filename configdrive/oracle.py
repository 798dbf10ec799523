"""A second opinion: pycdlib reads the same ISO 9660 image in a process of its own and must see the same.

pycdlib can loop or raise anything on odd images; the process has a deadline, and its failure is a finding.
Source: faults-and-threats CD-02, CD-13.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configdrive.findings import warning

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from configdrive.findings import Finding

DEADLINE_S = 10.0
_REMEDY = "Build the drive again; readers differ on what it holds"


def compare(path: str | os.PathLike[str], tree: Mapping[str, bytes]) -> Iterator[Finding]:
    """A finding where pycdlib does not read `tree` from the image at `path`."""
    argv = [sys.executable, "-I", "-m", "configdrive.oracle"]
    try:
        with Path(path).open("rb") as image:
            answer = subprocess.run(argv, stdin=image, capture_output=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        yield warning(
            "drive-readers-disagree", "", f"pycdlib had not read it after {DEADLINE_S:g} s", _REMEDY
        )
        return
    if answer.returncode != 0:
        reason = answer.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        yield warning("drive-readers-disagree", "", f"pycdlib refuses it: {reason}", _REMEDY)
        return
    theirs: dict[str, str] = json.loads(answer.stdout)
    ours = {name: hashlib.sha256(content).hexdigest() for name, content in tree.items()}
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            yield warning("drive-readers-disagree", name, "pycdlib reads it differently", _REMEDY)


def read(image: BinaryIO) -> dict[str, bytes]:
    """The tree as pycdlib sees it: Rock Ridge names, else Joliet's. Raises whatever pycdlib raises."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.open_fp(image)
    kind = "rr_path" if iso.has_rock_ridge() else "joliet_path" if iso.has_joliet() else "iso_path"
    tree: dict[str, bytes] = {}
    for directory, _, names in iso.walk(**{kind: "/"}):
        for name in names:
            path = f"{directory.rstrip('/')}/{name}"
            tree[_shown(path, kind)] = _content(iso, kind, path)
    iso.close()
    return tree


def _content(iso: Any, kind: str, path: str) -> bytes:
    content = io.BytesIO()
    iso.get_file_from_iso_fp(content, **{kind: path})
    # pycdlib gives fewer bytes where an extent leaves the image, and says nothing.
    if len(content.getvalue()) != iso.get_record(**{kind: path}).get_data_length():
        raise ValueError(f"short data for {path}")
    return content.getvalue()


def _shown(path: str, kind: str) -> str:
    path = path.lstrip("/")
    if kind == "rr_path":
        return path
    path = path.removesuffix(";1")
    return path if kind == "joliet_path" else path.rstrip(".").lower()


if __name__ == "__main__":
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in read(sys.stdin.buffer).items()}
    json.dump(hashes, sys.stdout)
